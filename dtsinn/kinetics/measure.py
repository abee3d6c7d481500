"""All that is measured of a subject beyond its pixels: read-outs, conservation, lesions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dtsinn.data.inputs import lacks_inputs, subject_inputs
from dtsinn.data.store import Samples, Store, StoreHeader
from dtsinn.kinetics.conservation import (
    Images,
    NoiseLaw,
    SubjectConservation,
    measure_conservation,
    noise_law,
)
from dtsinn.kinetics.lesions import LesionScore, score_lesions
from dtsinn.kinetics.readouts import ReadoutMeter, SubjectReadouts
from dtsinn.simulation.scanner.noise import load_image_noise


@dataclass(frozen=True, kw_only=True)
class SubjectMeasures:
    """What was measured of one subject; plain data."""

    readouts: SubjectReadouts
    conservation: SubjectConservation
    lesions: dict[str, LesionScore] = field(default_factory=dict)
    """Tracer -> score, where the subject has lesions."""


class SubjectMeter:
    """Measures subjects of one store.

    Args:
        header: Of the store.
        readouts: Reads regions.
        law: Noise of the mixtures, where it is known.
    """

    def __init__(self, header: StoreHeader, readouts: ReadoutMeter, law: NoiseLaw | None) -> None:
        self._header, self.readouts, self._law = header, readouts, law

    @classmethod
    def of(cls, store: Store) -> SubjectMeter:
        """Make the meter of a store: its input functions and its noise law, where it has them.

        Raises:
            StoreError: Input functions are damaged.
        """
        inputs = None if lacks_inputs(store) else subject_inputs(store)
        attributes: dict[str, Any] = dict(store.group.attrs)
        noise, request = attributes.get("noise"), attributes.get("request", {})
        law = None
        if isinstance(noise, Mapping) and store.header.labels == "truth":
            fwhm = load_image_noise().noise_fwhm_mm
            law = noise_law(noise, fwhm, store.header.voxel_size[0], request.get("slice_spacing"))
        return cls(store.header, ReadoutMeter(store.header, inputs), law)

    @property
    def lacking(self) -> dict[str, str]:
        """What cannot be told of this store -> why."""
        found = {f"read-out of {name}": why for name, why in self.readouts.lacking.items()}
        if self._law is None:
            found["z of the regions"] = "the noise law of the mixtures is not known"
        return found

    @property
    def untold(self) -> str:
        """Why no kinetic error can be told of this store, or "" where one can."""
        return "" if self.readouts.tells else "; ".join(self.readouts.lacking.values())

    def measure_judged(self, samples: Samples, predicted_NKTYX: Images) -> SubjectMeasures:
        """Measure one subject quickly: what each tracer is judged by, and conservation without z.

        Arguments are those of :meth:`measure`.
        """
        protocol, names = self._header.protocol, self._header.region_names
        return SubjectMeasures(
            readouts=self.readouts.measure(samples, predicted_NKTYX, judged_only=True),
            conservation=measure_conservation(samples, predicted_NKTYX, protocol, names),
        )

    def measure(self, samples: Samples, predicted_NKTYX: Images) -> SubjectMeasures:
        """Measure one subject.

        Args:
            samples: All its slices, with the truth.
            predicted_NKTYX: The answer, kBq/mL.
        """
        plans, protocol = self.readouts.plans, self._header.protocol
        starts = [0.0 if plan.readout is None else plan.readout.start_min for plan in plans]
        names = self._header.region_names
        lesions = score_lesions(
            samples, predicted_NKTYX, [plan.frames for plan in plans], starts, names
        )
        return SubjectMeasures(
            readouts=self.readouts.measure(samples, predicted_NKTYX),
            conservation=measure_conservation(samples, predicted_NKTYX, protocol, names, self._law),
            lesions={
                plan.name: score
                for plan, score in zip(plans, lesions, strict=True)
                if score is not None
            },
        )
