"""The read-outs of a subject's regions, from an answer's images and from the true ones alike.

Shape letters: N sample (slice), K tracer (2), R region, T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import InputError
from dtsinn.core.readout import Readout
from dtsinn.core.tracer import Tracer, load_tracer, tracer_names
from dtsinn.data.inputs import SubjectInputs
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.kinetics.compartments import (
    FIRST_PASS_S,
    LONGEST_FRAME_S,
    ModelInput,
    fit_regions,
)
from dtsinn.kinetics.curves import FloatArray, Regions, TracerFrames, tracer_frames
from dtsinn.kinetics.graphical import (
    InputMeans,
    input_means,
    logan,
    patlak,
    reference_logan,
    uptake_ratio,
)

Images = NDArray[np.floating[Any]]
ByRegion = dict[str, float]
FEWEST_FRAMES = 3
"""Points of a plot from which a line is laid through it (uncited)."""
NO_INPUT = "the store has no input functions"


@dataclass(frozen=True, kw_only=True)
class SubjectReadouts:
    """What was read from one subject; plain data."""

    quantity: dict[str, str] = field(default_factory=dict)
    """Tracer -> the quantity that it is judged by; without those that have none."""
    values: dict[str, dict[str, dict[str, tuple[float, float]]]] = field(default_factory=dict)
    """Tracer -> quantity -> region -> answer and truth."""
    small: dict[str, list[str]] = field(default_factory=dict)
    """Tracer -> read-out regions that the subject has too few pixels of."""
    curves: dict[str, dict[str, tuple[list[float], list[float]]]] = field(default_factory=dict)
    """Tracer -> region -> answer and truth by frame from the injection on, kBq/mL, decay-corrected
    to the injection."""


@dataclass(frozen=True, kw_only=True)
class TracerPlan:
    """What can be read of one tracer of a store."""

    name: str
    quantity: str
    """The one that it is judged by; empty where there is none."""
    reason: str
    """Why there is none."""
    regions: tuple[str, ...]
    reference: str
    """Region without specific binding, where tracer and store have it."""
    readout: Readout | None
    frames: TracerFrames | None
    tissues: int
    """Compartments of the tracer's model where frames allow a fit, else 0."""


class ReadoutMeter:
    """Reads regions of a store's subjects; true values are computed once and kept.

    Args:
        header: Of the store.
        inputs: Input functions by subject; None where the store has none.
    """

    def __init__(self, header: StoreHeader, inputs: Mapping[str, SubjectInputs] | None) -> None:
        self._header, self._inputs = header, inputs
        self.plans = tuple(plan_tracer(header, k, inputs is not None) for k in (0, 1))
        self._truth: dict[str, tuple[list[dict[str, ByRegion]], list[FloatArray]]] = {}

    @property
    def lacking(self) -> dict[str, str]:
        """Tracer -> why it has no read-out, of those without."""
        return {plan.name: plan.reason for plan in self.plans if not plan.quantity}

    @property
    def tells(self) -> bool:
        """Whether any tracer has a read-out."""
        return any(plan.quantity for plan in self.plans)

    def measure(
        self, samples: Samples, predicted_NKTYX: Images, *, judged_only: bool = False
    ) -> SubjectReadouts:
        """Read an answer and the truth of one subject.

        Args:
            samples: All slices of the subject, with truth and regions.
            predicted_NKTYX: The answer, kBq/mL.
            judged_only: Only the quantity that each tracer is judged by, without ratios and fits
                beside it.
        """
        if samples.regions_NYX is None or samples.tracers_NKTYX is None:
            return SubjectReadouts()
        subject = str(samples.subject_N[0])
        regions = Regions.of(samples.regions_NYX, self._header.region_names)
        key = f"{subject} {judged_only}"
        if key not in self._truth:
            self._truth[key] = self._read(subject, regions, samples.tracers_NKTYX, judged_only)
        truth, true_curves = self._truth[key]
        found, curves = self._read(subject, regions, predicted_NKTYX, judged_only)
        names = [plan.name for plan in self.plans]
        return SubjectReadouts(
            quantity={plan.name: plan.quantity for plan in self.plans if plan.quantity},
            values={
                name: {
                    quantity: {
                        region: (value, true[quantity][region]) for region, value in values.items()
                    }
                    for quantity, values in own.items()
                }
                for name, own, true in zip(names, found, truth, strict=True)
            },
            small={
                plan.name: [region for region in plan.regions if region in regions.small]
                for plan in self.plans
            },
            curves={
                name: {
                    region: (own[r].tolist(), true[r].tolist())
                    for r, region in enumerate(regions.names)
                }
                for name, own, true in zip(names, curves, true_curves, strict=True)
            }
            if not judged_only
            else {},
        )

    def _read(
        self, subject: str, regions: Regions, images_NKTYX: Images, judged_only: bool
    ) -> tuple[list[dict[str, ByRegion]], list[FloatArray]]:
        """Quantities of both tracers, and their decay-corrected curves [R, T]."""
        curves_KRT = regions.means(images_NKTYX)
        quantities: list[dict[str, ByRegion]] = []
        curves: list[FloatArray] = []
        for k, plan in enumerate(self.plans):
            if plan.frames is None:
                quantities.append({})
                curves.append(curves_KRT[k][:, :0])
                continue
            inputs = None if self._inputs is None else self._inputs.get(subject)
            curve_RT = plan.frames.correct(curves_KRT[k])
            curves.append(curve_RT)
            quantities.append(
                _quantities(self._header, k, plan, inputs, regions.names, curve_RT, judged_only)
            )
        return quantities, curves


def plan_tracer(header: StoreHeader, tracer: int, has_inputs: bool) -> TracerPlan:
    """Decide what can be read of a tracer.

    Without input functions V_T becomes DVR and Ki SUVR where there is a reference region.

    Args:
        header: Of the store.
        tracer: 0 or 1.
        has_inputs: The store has input functions.
    """
    name = header.tracers[tracer]
    known: Tracer | None = load_tracer(name) if name in tracer_names() else None
    readout = None if known is None else known.readout
    frames: TracerFrames | None = None
    quantity, reason, tissues, reference = "", "", 0, ""
    try:
        frames = tracer_frames(header.protocol, tracer, header.half_life[tracer])
    except InputError as error:
        reason = str(error)
    if readout is None:
        reason = reason or f"no read-out of tracer {name} is known"
    if not header.region_names:
        reason = reason or "the store has no regions"
    if readout is not None and frames is not None and known is not None and not reason:
        reference = readout.reference if readout.reference in header.region_names else ""
        first_pass = frames.covers_first_pass(LONGEST_FRAME_S, FIRST_PASS_S)
        tissues = known.model_order if first_pass and has_inputs else 0
        late = frames.late(readout.start_min)
        if readout.method == "one_tissue":
            if not has_inputs:
                reason = NO_INPUT
            elif not first_pass:
                reason = no_first_pass(name)
        elif late.stop - late.start < FEWEST_FRAMES:
            reason = (
                f"{late.stop - late.start} frames start at or after {readout.start_min:g} min from "
                f"the injection of {name}, and a plot needs {FEWEST_FRAMES}"
            )
        elif not has_inputs and not reference:
            reason = f"{NO_INPUT}, and {name} no reference region here"
        if not reason:
            ratio = {"logan": "DVR", "patlak": "SUVR"}
            quantity = readout.quantity if has_inputs else ratio[readout.method]
    return TracerPlan(
        name=name,
        quantity=quantity,
        reason=reason,
        regions=known.readout_regions if known is not None else (),
        reference=reference,
        readout=readout,
        frames=frames,
        tissues=tissues,
    )


def no_first_pass(tracer: str) -> str:
    """Why the frames allow no fit of compartments."""
    return (
        f"no frames of at most {LONGEST_FRAME_S:g} s cover the first {FIRST_PASS_S / 60:g} min "
        f"after the injection of {tracer}"
    )


def _quantities(
    header: StoreHeader,
    tracer: int,
    plan: TracerPlan,
    inputs: SubjectInputs | None,
    names: tuple[str, ...],
    curve_RT: FloatArray,
    judged_only: bool,
) -> dict[str, ByRegion]:
    """Quantity -> region -> value, of the read-out regions."""
    readout, frames = plan.readout, plan.frames
    kept = [r for r, name in enumerate(names) if name in plan.regions]
    if readout is None or frames is None or not kept or not plan.quantity:
        return {}
    kept_RT = curve_RT[kept]
    fits: dict[str, Callable[[], FloatArray]] = {}
    since_I = (
        np.empty(0) if inputs is None else inputs.time_I - header.protocol.injection_time[tracer]
    )
    if inputs is not None and readout.method in ("logan", "patlak"):
        plot = logan if readout.method == "logan" else patlak
        plasma: InputMeans = input_means(since_I, inputs.plasma_KI[tracer], frames)
        fits[readout.quantity] = lambda: plot(kept_RT, plasma, frames, readout.start_min)
    if plan.reference in names and readout.method != "one_tissue":
        reference_T = curve_RT[names.index(plan.reference)]
        start = readout.start_min
        fits["SUVR"] = lambda: uptake_ratio(kept_RT, reference_T, frames, start)
        if readout.method == "logan":
            fits["DVR"] = lambda: reference_logan(kept_RT, reference_T, frames, start)
    if inputs is not None and plan.tissues:
        given = ModelInput(
            time_I=since_I,
            plasma_I=inputs.plasma_KI[tracer],
            blood_I=inputs.blood_KI[tracer],
            frames=frames,
        )
        tissues = 1 if readout.method == "one_tissue" else plan.tissues
        fits["K1"] = lambda: fit_regions(kept_RT, given, tissues=tissues).K1
    values: dict[str, ByRegion] = {}
    for quantity, fit in fits.items():
        if judged_only and quantity != plan.quantity:
            continue
        own = zip(kept, fit().tolist(), strict=True)
        ratio = quantity in ("DVR", "SUVR")
        values[quantity] = {
            names[r]: value for r, value in own if not (ratio and names[r] == plan.reference)
        }
    return values
