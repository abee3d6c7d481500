"""From the voxels of a file to activity actually present in kBq/mL: unit and decay correction."""

from __future__ import annotations

import math
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
SUV_UNITS = ("suv", "g/ml", "gml")
UNITS = dict.fromkeys(("bq/ml", "bqml", "bq/cc", "bq/cm3"), 1e-3) | dict.fromkeys(
    ("kbq/ml", "kbqml", "kbq/cc", "kbq/cm3"), 1.0
)
"""kBq/mL of one unit, by its names in lower case; DICOM writes BQML and GML."""
FACTOR_SHARE = 0.01
"""Up to which DecayCorrectionFactor may miss what follows from the times, as a share (uncited)."""
HALF_LIFE_SHARE = 0.005
"""Up to which tables of half-lives differ, as a share (uncited): 1218 to 1224 s of 11C."""
MOST_DECAY = 1e3
"""By how much a tracer may have decayed from the reference to the first frame (uncited)."""
SCAN_START_S = 1.0
"""Up to which the first frame may come before ScanStart, s (uncited): it is noted by hand."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What plan and sidecar together say of a scan; None where neither does.

    Attributes:
        frames: On the scan's clock.
        injection_time: s on the scan's clock; of a mixture, what the sidecar says.
        half_life: With which the scanner decay-corrected, s.
        units: Of the voxels.
        decay_corrected: Whether the images are.
        decay_reference: Time to which they are, s on the scan's clock.
        planned_reference: Whether that is the user's word.
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
    planned_reference: bool
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
        InputError: The frames are none or begin before the scan, or nothing says whether the
            images are decay-corrected.
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
    stated = plan.decay_reference is not None or plan.half_life is not None
    overruled = stated or plan.decay_corrected is False
    frames = read_frames(where, sidecar.frame_start, sidecar.frame_duration)
    told = plan.injection_time is not None and not (corrected and plan.decay_reference is None)
    if not told:
        _refuse_frames_before_scan(frames, sidecar, where)
    return Known(
        frames=frames,
        injection_time=(
            sidecar.injection_time
            if isinstance(plan, MixturePlan)
            else _first(plan.injection_time, sidecar.injection_time)
        ),
        half_life=half_life,
        units=_first(plan.units, sidecar.units),
        decay_corrected=corrected,
        decay_reference=_first(plan.decay_reference, sidecar.decay_reference),
        planned_reference=plan.decay_reference is not None,
        decay_factor=None if overruled else sidecar.decay_factor,
        suv=(plan.weight_kg, plan.dose_MBq),
        mixture=mixture,
    )


def _refuse_frames_before_scan(frames: Frames, sidecar: Sidecar, where: str) -> None:
    """Frames that are counted from the scan, beside times that are counted from another zero."""
    begin = sidecar.scan_start
    if begin is not None and frames.start[0] < begin - SCAN_START_S:
        raise InputError(
            f"{where}.sidecar: frames begin before the scan",
            got=f"FrameTimesStart {frames.start[0]:g} s and ScanStart {begin:g} s",
            wanted="both counted from TimeZero",
            hint="injection_time (and decay_reference, of corrected images) in the plan, on the "
            "clock of FrameTimesStart",
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
            SUV, or contradicts itself.
    """
    factor_T = np.full(len(known.frames.start), _unit(known, where))
    if known.decay_corrected:
        factor_T /= _correction(known, half_life, where)
    elif set(known.decay_factor or ()) - {1.0}:
        raise InputError(
            f"{where}.sidecar: ImageDecayCorrected and DecayCorrectionFactor contradict each other",
            got="false and factors other than 1",
            wanted="one account of the decay correction",
            hint="decay_corrected in the plan",
        )
    return factor_T


def _correction(known: Known, half_life: float | None, where: str) -> npt.NDArray[np.float64]:
    """[T] by what the scanner multiplied: its own factors, or what follows from its times."""
    frames = len(known.frames.start)
    half_life = _first(known.half_life, half_life)
    expected_T = None
    if known.decay_reference is not None and half_life is not None:
        if not known.planned_reference:
            _refuse_far_reference(known.frames, half_life, known.decay_reference, where)
        expected_T = decay_correction(known.frames, half_life, known.decay_reference)
    if known.decay_factor is not None:
        factor_T = np.array(known.decay_factor)
        if factor_T.size != frames or factor_T.min() <= 0:
            raise InputError(
                f"{where}.sidecar: DecayCorrectionFactor",
                got=f"{factor_T.size} numbers, the smallest {min(known.decay_factor, default=0):g}",
                wanted=f"{frames} numbers above 0",
            )
        if expected_T is not None:
            _refuse_other_factors(factor_T, expected_T, where)
        return factor_T
    if expected_T is not None:
        return expected_T
    if known.decay_reference is None:
        raise InputError(
            f"{where}: nothing says to which time the images are decay-corrected",
            wanted="ImageDecayCorrectionTime in the sidecar",
            hint="decay_reference: SECONDS on the scan's clock, in the plan",
        )
    raise InputError(
        f"{where}: nothing says with which half-life the images are decay-corrected",
        wanted="TracerRadionuclide in the sidecar",
        hint="half_life: SECONDS in the plan",
    )


def _refuse_far_reference(frames: Frames, half_life: float, reference: float, where: str) -> None:
    """Refuse a reference after the scan, or so long before it that nothing would be left."""
    before = frames.start[0] - reference
    if reference >= frames.end[-1] or before > math.log2(MOST_DECAY) * half_life:
        raise InputError(
            f"{where}.sidecar: ImageDecayCorrectionTime",
            got=f"{reference:g} s, for frames from {frames.start[0]:g} to {frames.end[-1]:g} s",
            wanted="a time on the clock of the frames, near the injection or the scan's start",
            hint="decay_reference: SECONDS in the plan",
        )


def _refuse_other_factors(
    said_T: npt.NDArray[np.float64], expected_T: npt.NDArray[np.float64], where: str
) -> None:
    """Refuse factors that are not what the sidecar's times and the half-life give."""
    miss_T = np.abs(said_T / expected_T - 1)
    allowed_T = FACTOR_SHARE + HALF_LIFE_SHARE * np.abs(np.log(expected_T))
    if (miss_T > allowed_T).any():
        frame = int(np.argmax(miss_T - allowed_T))
        raise InputError(
            f"{where}.sidecar: DecayCorrectionFactor of frame {frame}",
            got=f"{said_T[frame]:.5g}",
            wanted=f"{expected_T[frame]:.5g}, as ImageDecayCorrectionTime and the half-life give",
            hint="decay_reference and half_life in the plan, as the scanner used them",
        )


def _unit(known: Known, where: str) -> float:
    """kBq/mL of one unit of the voxels."""
    if known.units is None:
        raise InputError(
            f"{where}: units are missing",
            wanted="Units in the sidecar",
            hint="units: Bq/mL, kBq/mL or SUV, in the plan",
        )
    unit = known.units.strip().lower()
    if unit in SUV_UNITS:
        return _suv(known, where)
    if unit not in UNITS:
        raise InputError(
            f"{where}: unknown unit",
            got=repr(known.units[:16]),
            wanted="Bq/mL, kBq/mL or SUV",
            hint="units: Bq/mL, kBq/mL or SUV, in the plan",
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
    if known.decay_factor is not None and set(known.decay_factor) == {1.0}:
        raise InputError(
            f"{where}: SUV that was not decay-corrected",
            got="a DecayCorrectionFactor of 1 in all frames",
            wanted="a decay correction to the injection",
            hint="decay_reference in the plan, if it was",
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
