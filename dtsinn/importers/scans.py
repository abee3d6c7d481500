"""Opening a plan: every scan's header is read, and all are made one study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path
from dtsinn.importers.measured import MeasuredStudy
from dtsinn.importers.nifti.scan import open_nifti
from dtsinn.importers.plan import MixturePlan, MixturesPlan, ScanPlan, SinglePlan, read_plan
from dtsinn.importers.plan_file import PlannedTracer
from dtsinn.importers.scan import Scan
from dtsinn.importers.semi_real import SemiRealStudy
from dtsinn.importers.source import Source

Kind = Literal["nifti", "dicom"]


def open_plan(plan_path: Path, kind: Kind) -> Source:
    """Open all scans of a plan; images stay on disk.

    Args:
        plan_path: A YAML file as :mod:`dtsinn.importers.plan` reads it; paths in it are
            relative to it.
        kind: What the ``image`` of every scan is: a NIfTI file or a DICOM folder.

    Raises:
        InputError: The plan or a header is wrong, or the scans do not make one store. The message
            names the place in the plan, never a path or a subject.
    """
    plan = read_plan(plan_path)
    attributes: dict[str, Any] = {"source_format": kind, "noise": {"model": "measured"}}
    if isinstance(plan, MixturesPlan):
        scans = [
            _open(subject.mixture, plan.folder, f"{subject.where}.mixture", kind, plan.tracers)
            for subject in plan.subjects
        ]
        return MeasuredStudy(plan, scans, attributes)
    first, second = plan.tracers[:1], plan.tracers[1:]
    pairs = [
        (
            _open(subject.first, plan.folder, f"{subject.where}.first", kind, first),
            _open(subject.second, plan.folder, f"{subject.where}.second", kind, second),
        )
        for subject in plan.subjects
    ]
    return SemiRealStudy(plan, pairs, attributes)


def _open(
    plan: SinglePlan | MixturePlan,
    folder: Path,
    where: str,
    kind: Kind,
    tracers: Sequence[PlannedTracer],
) -> Scan:
    longest = max(tracer.half_life for tracer in tracers)
    if kind == "nifti":
        single = longest if len(tracers) == 1 else None
        return open_nifti(plan, folder, where, single, longest)
    from dtsinn.importers.dicom.activity import Quantity
    from dtsinn.importers.dicom.scan import open_dicom  # pydicom is an extra

    _refuse_for_dicom(plan, where)
    return open_dicom(
        folder / home_path(plan.image),
        where,
        half_life=plan.half_life,
        longest_half_life=longest,
        injection_time=plan.injection_time if isinstance(plan, SinglePlan) else None,
        quantity=Quantity(weight_kg=plan.weight_kg, dose_MBq=plan.dose_MBq),
        accepted=plan.accepted,
    )


def _refuse_for_dicom(plan: ScanPlan, where: str) -> None:
    """Refuse what DICOM headers always say: the plan cannot overrule it."""
    for name in ("sidecar", "units", "frame_end_times", "decay_corrected", "decay_reference"):
        if getattr(plan, name) is not getattr(ScanPlan, name):  # its default
            raise InputError(
                f"{where}.{name} is not for DICOM, whose headers say it",
                hint=f"the plan without {name}",
            )
