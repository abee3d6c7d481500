"""Regional curves and kinetic parameters of a separated scan, as tables.

Shape letters: K tracer (2), R region, T frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.core.tracer import NOT_READ, load_tracer, tracer_names
from dtsinn.kinetics.compartments import (
    FIRST_PASS_S,
    LONGEST_FRAME_S,
    ModelInput,
    fit_regions,
)
from dtsinn.kinetics.curves import FEWEST_PIXELS, TracerFrames, tracer_frames
from dtsinn.kinetics.graphical import (
    input_means,
    logan,
    patlak,
    reference_logan,
    uptake_ratio,
)
from dtsinn.kinetics.readouts import FEWEST_FRAMES, no_first_pass
from dtsinn.kinetics.tables import ABSENT, MODELS, TAC_COLUMNS, TAC_FACTS, label, write_table
from dtsinn.separation.inputs import Inputs
from dtsinn.separation.regions import Rois
from dtsinn.separation.run import Totals

FloatArray = npt.NDArray[np.float64]
RATES = {
    "k2": {"Description": "Rate from tissue to plasma", "Units": "1/min"},
    "k3": {"Description": "Rate into the second tissue compartment", "Units": "1/min"},
    "k4": {"Description": "Rate out of the second tissue compartment", "Units": "1/min"},
    "vB": {"Description": "Fraction of blood, taken to be as the parent in plasma", "Units": "1"},
}
"""Columns of what a fit of compartments gives beside K1, which alone has an interval."""


@dataclass(frozen=True, kw_only=True)
class TracerCurves:
    """What is read of one tracer.

    Attributes:
        name: Of the tracer.
        regions: Names, in the order of the rows of ``curve_RT``.
        volume_R: mm3.
        frames: Counted from its injection; None where no frame ends after it.
        curve_RT: kBq/mL, decay-corrected to the injection.
        values: Quantity -> region -> value.
        rates: Of :data:`RATES` -> region -> value, where compartments were fitted.
        lacking: Why there is no quantity; empty where there is one.
        lower_RT: Lower ends of 90 % intervals of ``curve_RT``; None where there are no intervals,
            NaN of regions without one.
        upper_RT: Their upper ends.
        bounds: Quantity -> region -> ends of its interval.
    """

    name: str
    regions: tuple[str, ...]
    volume_R: FloatArray
    frames: TracerFrames | None
    curve_RT: FloatArray
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    lacking: str = ""
    lower_RT: FloatArray | None = None
    upper_RT: FloatArray | None = None
    bounds: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)


def read_curves(
    totals: Totals,
    rois: Rois,
    tracers: Sequence[str],
    half_life: Sequence[float],
    protocol: Protocol,
    voxel_mm3: float,
    inputs: Inputs | None,
) -> list[TracerCurves]:
    """Curves of both tracers, and what can be read from them.

    Args:
        totals: Of the answer.
        rois: In which it was summed up.
        tracers: Names, by order of injection.
        half_life: Of each, s.
        protocol: Frames and injections.
        voxel_mm3: Volume of a voxel.
        inputs: Input functions, where there are some.
    """
    regions = tuple(rois.name(int(label)) for label in totals.regions_R)
    found = []
    for k, name in enumerate(tracers):
        volume_R = np.asarray(totals.voxels_R * voxel_mm3, np.float64)
        try:
            frames = tracer_frames(protocol, k, half_life[k])
        except InputError as error:
            found.append(
                TracerCurves(
                    name=name,
                    regions=regions,
                    volume_R=volume_R,
                    frames=None,
                    curve_RT=np.zeros((len(regions), 0)),
                    lacking=str(error),
                )
            )
            continue
        curve_RT = frames.correct(totals.tracers_KRT[k])
        values, lacking = _read_values(
            name, regions, totals.voxels_R, curve_RT, frames, inputs, given=rois.given
        )
        rates = {rate: values.pop(rate) for rate in RATES if rate in values}
        found.append(
            TracerCurves(
                name=name,
                regions=regions,
                volume_R=volume_R,
                frames=frames,
                curve_RT=curve_RT,
                values=values,
                rates=rates,
                lacking=lacking,
            )
        )
    return found


def _read_values(
    name: str,
    regions: tuple[str, ...],
    voxels_R: npt.NDArray[np.intp],
    curve_RT: FloatArray,
    frames: TracerFrames,
    inputs: Inputs | None,
    *,
    given: bool,
) -> tuple[dict[str, dict[str, float]], str]:
    """Quantity -> region -> value of one tracer; and why there are none."""
    tracer = load_tracer(name) if name in tracer_names() else None
    if tracer is None or (readout := tracer.readout) is None:
        return {}, f"no read-out of tracer {name} is known"
    if not given:
        return {}, "no regions were given (--rois)"
    first_pass = frames.covers_first_pass(LONGEST_FRAME_S, FIRST_PASS_S)
    if readout.method == "one_tissue" and not first_pass:
        return {}, no_first_pass(name)
    late = frames.late(readout.start_min)
    if readout.method != "one_tissue" and late.stop - late.start < FEWEST_FRAMES:
        return {}, (
            f"{late.stop - late.start} frames start at or after {readout.start_min:g} min from the "
            f"injection of {name}, and a plot needs {FEWEST_FRAMES}"
        )
    kept = [
        r
        for r, region in enumerate(regions)
        if region not in NOT_READ and voxels_R[r] >= FEWEST_PIXELS
    ]
    if not kept:
        return {}, f"no region has {FEWEST_PIXELS} voxels"
    kept_RT, start = curve_RT[kept], readout.start_min
    found: dict[str, FloatArray] = {}
    if inputs is not None and readout.method in ("logan", "patlak"):
        plot = logan if readout.method == "logan" else patlak
        plasma = input_means(*inputs.curves[name], frames)
        found[readout.quantity] = plot(kept_RT, plasma, frames, start)
    if readout.reference in regions and readout.method != "one_tissue":
        reference_T = curve_RT[regions.index(readout.reference)]
        found["SUVR"] = uptake_ratio(kept_RT, reference_T, frames, start)
        if readout.method == "logan":
            found["DVR"] = reference_logan(kept_RT, reference_T, frames, start)
    if inputs is not None and first_pass:
        time_I, plasma_I = inputs.curves[name]
        plasma_and_blood = ModelInput(
            time_I=time_I, plasma_I=plasma_I, blood_I=plasma_I, frames=frames
        )
        tissues = 1 if readout.method == "one_tissue" else tracer.model_order
        fit = fit_regions(kept_RT, plasma_and_blood, tissues=tissues)
        own = ("K1", "k2", "vB") if tissues == 1 else ("K1", *RATES)
        found |= {quantity: getattr(fit, quantity) for quantity in own}
    if not found:
        reference = f"region {readout.reference}" if readout.reference else "reference region"
        return {}, f"there is no input function (--input), and no {reference}"
    values = {}
    for quantity, value_R in found.items():
        ratio = quantity in ("DVR", "SUVR")
        values[quantity] = {
            regions[r]: value
            for r, value in zip(kept, value_R.tolist(), strict=True)
            if np.isfinite(value) and not (ratio and regions[r] == readout.reference)
        }
    return values, ""


def write_tables(curves: Sequence[TracerCurves], folder: Path, stems: Sequence[str]) -> None:
    """Write the tables of both tracers.

    Args:
        curves: By order of injection.
        folder: Where to.
        stems: Begin the names of the files, as ``sub-01_trc-FMZ``.
    """
    for own, stem in zip(curves, stems, strict=True):
        if own.frames is not None:
            name = folder / f"{stem}_desc-combinedregions_tacs"
            ends = () if own.lower_RT is None else ("lower", "upper")
            facts = TAC_FACTS | _end_facts("TAC", ends, {"Units": "kBq/mL"})
            write_table(name, (*TAC_COLUMNS, *ends), _tac_rows(own, stem), facts)
        for quantity, values in own.values.items():
            rates = own.rates if quantity == "K1" else {}
            bounds = own.bounds.get(quantity)
            ends = () if bounds is None else ("lower", "upper")
            rows = (
                [
                    region,
                    value,
                    *(bounds or {}).get(region, (ABSENT,) * len(ends)),
                    *(rate.get(region, ABSENT) for rate in rates.values()),
                ]
                for region, value in values.items()
            )
            unit = {"Units": QUANTITY_UNITS[quantity]}
            facts = {quantity: unit} | _end_facts(quantity, ends, unit)
            write_table(
                folder / f"{stem}_model-{label(MODELS[quantity])}_kinpar",
                ("region", quantity, *ends, *rates),
                rows,
                facts | {rate: RATES[rate] for rate in rates},
            )


def _end_facts(quantity: str, ends: Sequence[str], unit: dict[str, str]) -> dict[str, Any]:
    """What the columns of an interval are."""
    return {
        end: unit
        | {
            "Description": f"{end.capitalize()} end of the 90 % interval of {quantity}, by split "
            "conformal prediction"
        }
        for end in ends
    }


def _tac_rows(own: TracerCurves, stem: str) -> Iterator[list[object]]:
    if own.frames is None:
        return
    edges = own.frames.edge_T.tolist()
    value_VRT = [own.curve_RT]
    if own.lower_RT is not None and own.upper_RT is not None:
        value_VRT += [own.lower_RT, own.upper_RT]
    for r, (region, volume) in enumerate(zip(own.regions, own.volume_R, strict=True)):
        values = np.stack([value_RT[r] for value_RT in value_VRT], axis=1).tolist()
        for start, end, found in zip(edges[:-1], edges[1:], values, strict=True):
            times = [start, end, end - start, (start + end) / 2]
            told = [value if np.isfinite(value) else ABSENT for value in found]
            yield [stem, region, round(float(volume), 3), ABSENT, ABSENT, *times, *told]
