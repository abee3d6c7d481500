"""From the voxels of a file to activity actually present in kBq/mL: unit and decay correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.data.importers.decay import decay_correction
from dtsinn.data.importers.frames import Frames, check_frames, split_at_ends
from dtsinn.data.importers.nifti.sidecar import Sidecar
from dtsinn.data.importers.plan import MixturePlan, SinglePlan

T = TypeVar("T")

SUV_REFERENCE_S = 1.0
"""How far from the injection a SUV image may have its decay reference, s (uncited): the dose is
the one at the injection."""
UNITS = {"bq/ml": 1e-3, "kbq/ml": 1.0}
"""kBq/mL of one unit, by its name in lower case."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What plan and sidecar together say of a scan; None where neither does.

    Attributes:
        frames: On the scan's clock.
        injection_time: s on the scan's clock; None for a mixture.
        half_life: With which the scanner decay-corrected, s.
        units: Of the voxels.
        decay_corrected: Whether the images are.
        decay_reference: Time to which they are, s on the scan's clock.
        decay_factor: [T] by which the scanner multiplied.
        suv: Body weight in kg and dose in MBq.
        mixture: Whether two tracers are in it.
    """

    frames: Frames
    injection_time: float | None
    half_life: float | None
    units: str | None
    decay_corrected: bool
    decay_reference: float | None
    decay_factor: tuple[float, ...] | None
    suv: tuple[float | None, float | None]
    mixture: bool


def merge(plan: SinglePlan | MixturePlan, sidecar: Sidecar, where: str) -> Known:
    """What is known of a scan: the plan wins over the sidecar.

    Args:
        plan: The user's word.
        sidecar: The file's.
        where: Place of the scan in the plan, for messages.

    Raises:
        InputError: The frames are none, or nothing says whether the images are decay-corrected.
    """
    read_frames = split_at_ends if plan.frame_end_times else check_frames
    corrected = _first(plan.decay_corrected, sidecar.decay_corrected)
    if corrected is None:
        raise InputError(
            f"{where}: nothing says whether the images are decay-corrected",
            wanted="ImageDecayCorrected in the sidecar",
            hint="decay_corrected: true, or decay_corrected: false, in the plan",
        )
    mixture = isinstance(plan, MixturePlan)
    half_life = _first(plan.half_life, sidecar.half_life)
    if half_life is not None and half_life <= 0:
        raise InputError(f"{where}: half-life", got=f"{half_life:g}", wanted="seconds above 0")
    overruled = plan.decay_reference is not None or plan.half_life is not None
    return Known(
        frames=read_frames(where, sidecar.frame_start, sidecar.frame_duration),
        injection_time=(
            None
            if isinstance(plan, MixturePlan)
            else _first(plan.injection_time, sidecar.injection_time)
        ),
        half_life=half_life,
        units=_first(plan.units, sidecar.units),
        decay_corrected=corrected,
        decay_reference=_first(plan.decay_reference, sidecar.decay_reference),
        decay_factor=None if overruled else sidecar.decay_factor,
        suv=(plan.weight_kg, plan.dose_MBq),
        mixture=mixture,
    )


def to_present_activity(
    known: Known, half_life: float | None, where: str
) -> npt.NDArray[np.float64]:
    """By what the voxels of each frame are multiplied to be kBq/mL, not decay-corrected.

    Args:
        known: What plan and sidecar say.
        half_life: Of the tracer, s, where they name none; None for a mixture.
        where: Place of the scan in the plan, for messages.

    Returns:
        [T] factors.

    Raises:
        InputError: The unit is unknown, or something is missing to undo a decay correction or
            SUV.
    """
    factor_T = np.full(len(known.frames.start), _unit(known, where))
    if known.decay_corrected:
        factor_T /= _correction(known, half_life, where)
    return factor_T


def _correction(known: Known, half_life: float | None, where: str) -> npt.NDArray[np.float64]:
    """[T] by what the scanner multiplied: its own factors, or what follows from its times."""
    frames = len(known.frames.start)
    if known.decay_factor is not None:
        factor_T = np.array(known.decay_factor)
        if factor_T.size != frames or factor_T.min() <= 0:
            raise InputError(
                f"{where}.sidecar: DecayCorrectionFactor",
                got=f"{factor_T.size} numbers, the smallest {min(known.decay_factor, default=0):g}",
                wanted=f"{frames} numbers above 0",
            )
        return factor_T
    if known.decay_reference is None:
        raise InputError(
            f"{where}: nothing says to which time the images are decay-corrected",
            wanted="ImageDecayCorrectionTime in the sidecar",
            hint="decay_reference: SECONDS on the scan's clock, in the plan",
        )
    half_life = _first(known.half_life, half_life)
    if half_life is None:
        raise InputError(
            f"{where}: nothing says with which half-life the images are decay-corrected",
            wanted="TracerRadionuclide in the sidecar",
            hint="half_life: SECONDS in the plan",
        )
    return decay_correction(known.frames, half_life, known.decay_reference)


def _unit(known: Known, where: str) -> float:
    """kBq/mL of one unit of the voxels."""
    if known.units is None:
        raise InputError(
            f"{where}: units are missing",
            wanted="Units in the sidecar",
            hint="units: Bq/mL, kBq/mL or SUV, in the plan",
        )
    unit = known.units.strip().lower()
    if unit == "suv":
        return _suv(known, where)
    if unit not in UNITS:
        raise InputError(
            f"{where}: unknown unit", got=repr(known.units[:16]), wanted="Bq/mL, kBq/mL or SUV"
        )
    return UNITS[unit]


def _suv(known: Known, where: str) -> float:
    """SUV = C / (dose / weight), both at the injection: C in kBq/mL is SUV x MBq / kg.

    A mL of the body is taken to weigh 1 g: the common definition, by body weight.
    """
    if known.mixture:
        raise InputError(
            f"{where}: a mixture in SUV",
            wanted="Bq/mL or kBq/mL, because SUV has one dose of one tracer",
        )
    weight_kg, dose_MBq = known.suv
    if weight_kg is None or dose_MBq is None or min(weight_kg, dose_MBq) <= 0:
        raise InputError(
            f"{where}: SUV without body weight and dose",
            wanted="weight_kg and dose_MBq in the plan, both above 0",
        )
    to, injected = known.decay_reference, known.injection_time
    told = known.decay_corrected and to is not None and injected is not None
    if not told or abs((to or 0.0) - (injected or 0.0)) > SUV_REFERENCE_S:
        raise InputError(
            f"{where}: SUV that is not decay-corrected to the injection",
            wanted="decay_corrected: true, and a decay_reference that is the injection_time",
        )
    return dose_MBq / weight_kg


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
