"""The output folder as a BIDS derivative: names, PET-BIDS sidecars, and whose work it is.

::

    DIR/dataset_description.json, verdict.json, report.html
    DIR/sub-01/pet/sub-01_trc-FMZ_pet.nii.gz   and .json, and of the other tracer
    DIR/sub-01/pet/sub-01_desc-residual_pet.nii.gz
    DIR/sub-01/pet/sub-01_trc-FMZ_desc-combinedregions_tacs.tsv
    DIR/sub-01/pet/sub-01_trc-FMZ_model-Logan_kinpar.tsv
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import dtsinn
from dtsinn.core.isotopes import decay_correction, isotope_of
from dtsinn.core.protocol import Protocol
from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.deploy.facts import SeparatorFacts
from dtsinn.kinetics.tables import label
from dtsinn.separation.scan import DOSE, PER_TRACER, Entities

BIDS_VERSION = "1.10.0"
ABSENT = "n/a"
IGNORED = "*_tacs.*\n*_kinpar.*\nverdict.json\nreport.html\n"
"""Tables that PETFit reads and BIDS has no rule for yet, and what is for people."""
REQUIRED: Mapping[str, Any] = {
    "Manufacturer": "unknown",
    "ManufacturersModelName": "unknown",
    "TimeZero": "00:00:00",
    "ScanStart": 0,
    "InjectedMass": ABSENT,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": ABSENT,
    "SpecificRadioactivityUnits": "MBq/ug",
    "ModeOfAdministration": "unknown",
    "AcquisitionMode": "unknown",
    "ReconMethodName": "unknown",
    "ReconMethodParameterLabels": ["none"],
    "ReconFilterType": "none",
    "AttenuationCorrection": "unknown",
    "SkullStripped": False,
}
"""What PET-BIDS wants of every image, where the scan's sidecar does not say it. It wants the dose,
too, as a number, which nobody can make up: where the scan does not tell it, neither do the
outputs."""


class Names:
    """Names of the files of one scan, its entities in the order that BIDS wants.

    Args:
        entities: Of the scan.
        tracers: By order of injection.
    """

    def __init__(self, entities: Entities, tracers: Sequence[str]) -> None:
        self._entities = dict(entities)
        self.tracers = tuple(f"{self._stem(label(name.upper()))}" for name in tracers)
        """Stems of the tracers' files, such as ``sub-01_trc-FMZ``."""
        self.residual = f"{self._stem('')}_desc-residual"

    @property
    def folder(self) -> Path:
        """Where they lie in the output folder."""
        parts = [f"{key}-{self._entities[key]}" for key in ("sub", "ses") if key in self._entities]
        return Path(*parts, "pet")

    def _stem(self, tracer: str) -> str:
        own = self._entities | ({"trc": tracer} if tracer else {})
        order = ("sub", "ses", "task", "trc", "rec", "run")
        return "_".join(f"{key}-{own[key]}" for key in order if key in own)


def correction_factors(
    protocol: Protocol, tracer: int, half_life: float
) -> npt.NDArray[np.float64]:
    """[T] by which a tracer's images are multiplied to be decay-corrected to its injection.

    As scanners do, by the times of whole frames: below 1 before it. Whoever reads the sidecar finds
    the same by its times and half-life.

    Args:
        protocol: Frames and injections.
        tracer: 0 or 1.
        half_life: s.
    """
    injected = protocol.injection_time[tracer]
    return decay_correction(protocol.frame_start, protocol.frame_duration, half_life, injected)


def tracer_sidecar(
    facts: SeparatorFacts,
    protocol: Protocol,
    tracer: int,
    begin: float,
    units: str,
    factor_T: npt.NDArray[np.float64] | None,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The sidecar of one tracer's images.

    Args:
        facts: What the model separates.
        protocol: Frames, and injections from the start of the first frame.
        tracer: 0 or 1.
        begin: Start of the first frame on the scan's clock, s.
        units: Of the voxels.
        factor_T: Of the decay correction; None where the images are not corrected.
        fields: Technical ones of the scan.
    """
    name, half_life = facts.tracers[tracer], facts.half_life[tracer]
    injected = protocol.injection_time[tracer] + begin
    own = {key: value for key, value in fields.items() if key not in PER_TRACER}
    for key in PER_TRACER:
        told = fields.get(key)  # one number of a mixture tells nothing of either tracer
        if isinstance(told, list) and len(told) == 2 and isinstance(told[tracer], int | float):
            own[key] = told[tracer]
    known = load_tracer(name) if name in tracer_names() else None
    return {
        **REQUIRED,
        **own,
        **_frames(protocol, begin),
        "TracerName": name.upper() if known is None else known.label,
        "TracerRadionuclide": (isotope_of(half_life) or "unknown").replace("-", ""),
        "RadionuclideHalfLife": half_life,
        "InjectionStart": round(injected, 6),
        "Units": units,
        "ImageDecayCorrected": factor_T is not None,
        "ImageDecayCorrectionTime": round(injected, 6),
        **({} if factor_T is None else {"DecayCorrectionFactor": factor_T.tolist()}),
    }


def residual_sidecar(
    facts: SeparatorFacts,
    protocol: Protocol,
    begin: float,
    units: str,
    fields: Mapping[str, Any],
) -> dict[str, Any]:
    """The sidecar of what the tracers' sum leaves of the mixture; arguments as above."""
    names = " and ".join(name.upper() for name in facts.tracers)
    isotopes = [(isotope_of(one) or "unknown").replace("-", "") for one in facts.half_life]
    lists = {key for key in PER_TRACER if isinstance(fields.get(key), list)}
    own = {key: value for key, value in fields.items() if key not in lists}
    doses = fields.get(DOSE)
    if isinstance(doses, list) and all(isinstance(one, int | float) for one in doses):
        own[DOSE] = sum(doses)
    return {
        **REQUIRED,
        **own,
        **_frames(protocol, begin),
        "Description": f"The mixture less the sum of {names}",
        "TracerName": names,
        "TracerRadionuclide": " and ".join(isotopes),
        "InjectionStart": round(protocol.injection_time[0] + begin, 6),
        "Units": units,
        "ImageDecayCorrected": False,
        "ImageDecayCorrectionTime": round(protocol.injection_time[0] + begin, 6),
    }


def write_sidecar(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_dataset(folder: Path, model: str, digest: str, verdict: str, accepted: str) -> None:
    """Write what makes the output folder a BIDS derivative.

    Args:
        folder: The output folder.
        model: What the user calls the model.
        digest: Of its weights and configuration.
        verdict: In words.
        accepted: Why a scan outside is taken; empty where nobody said so.
    """
    content = {
        "Name": "Dual-tracer scan, separated",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "dtsinn",
                "Version": dtsinn.__version__,
                "Description": f"separate with model {model}, digest {digest}",
            }
        ],
        "Verdict": verdict,
        **({"VerdictAccepted": accepted} if accepted else {}),
    }
    write_sidecar(folder / "dataset_description.json", content)
    (folder / ".bidsignore").write_text(IGNORED, encoding="utf-8")


def _frames(protocol: Protocol, begin: float) -> dict[str, Any]:
    return {
        "FrameTimesStart": [round(start + begin, 6) for start in protocol.frame_start],
        "FrameDuration": list(protocol.frame_duration),
    }
