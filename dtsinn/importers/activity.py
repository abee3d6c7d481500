"""From the voxels of a file to activity actually present in kBq/mL: unit and decay correction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import decay_correction
from dtsinn.core.plausibility import (
    ask,
    check_decay,
    check_dose,
    check_half_life,
    check_other_unit,
)
from dtsinn.importers.decay import FACTOR_SHARE, half_life_of_factors, refuse_other_nuclide
from dtsinn.importers.frames import Frames, check_frames, split_at_ends
from dtsinn.importers.nifti.sidecar import Sidecar
from dtsinn.importers.plan import MixturePlan, SinglePlan
from dtsinn.importers.source import Given

T = TypeVar("T")

SUV_REFERENCE_S = 1.0
"""How far from the injection a SUV image may have its decay reference, s (uncited): the dose is
the one at the injection."""
SUV_UNITS = ("suv", "g/ml", "gml")
UNITS = dict.fromkeys(("bq/ml", "bqml", "bq/cc", "bq/cm3"), 1e-3) | dict.fromkeys(
    ("kbq/ml", "kbqml", "kbq/cc", "kbq/cm3"), 1.0
)
"""kBq/mL of one unit, by its names in lower case; DICOM writes BQML and GML."""
TABLES_SHARE = 0.005
"""Up to which tables of half-lives differ, as a share (uncited): 1218 to 1224 s of 11C."""
MOST_DECAY_BEFORE = 1e3
"""By how much a tracer may have decayed from the reference to the first frame (uncited)."""
SCAN_START_S = 1.0
"""Up to which the first frame may come before ScanStart, s (uncited): it is noted by hand."""
EARLY_REFERENCE = 1.0
"""Half-lives before scan and injection, up to which a reference that only factors give may lie
(uncited): a dose is calibrated some time before it is given."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What plan and sidecar together say of a scan; None where neither does.

    Attributes:
        frames: On the scan's clock.
        injection_time: s on the scan's clock; of a mixture, what the sidecar says.
        injections: s, all that plan and sidecar tell, in no order.
        half_life: With which the scanner decay-corrected, s.
        administered: Half-life and time of injection of each tracer that the sidecar lists.
        units: Of the voxels.
        decay_corrected: Whether the images are.
        decay_reference: Time to which they are, s on the scan's clock.
        planned_reference: Whether that is the user's word.
        planned: Whether that, or the half-life, is the user's word.
        decay_factor: [T] by which the scanner multiplied.
        given: Body weight in kg and dose in MBq.
        mixture: Whether two tracers are in it.
        accepted: What the plan says yes to of what is unusual.
    """

    frames: Frames
    injection_time: float | None
    injections: tuple[float, ...]
    half_life: float | None
    administered: tuple[tuple[float | None, float | None], ...]
    units: str | None
    decay_corrected: bool
    decay_reference: float | None
    planned_reference: bool
    planned: bool
    decay_factor: tuple[float, ...] | None
    given: tuple[float | None, float | None]
    mixture: bool
    accepted: frozenset[str]


def merge(plan: SinglePlan | MixturePlan, sidecar: Sidecar, where: str) -> Known:
    """What is known of a scan: the plan wins over the sidecar.

    Args:
        plan: The user's word.
        sidecar: The file's.
        where: Place of the scan in the plan, for messages.

    Raises:
        InputError: The frames are none, begin before the scan or are in another unit, nothing
            says whether the images are decay-corrected, or numbers cannot be.
    """
    read_frames = split_at_ends if plan.frame_end_times else check_frames
    corrected = _first(plan.decay_corrected, sidecar.decay_corrected)
    if corrected is None:
        raise InputError(
            f"{where}: nothing says whether the images are decay-corrected",
            wanted="ImageDecayCorrected in the sidecar",
            hint="decay_corrected: true in the plan"
            if _differs_from_one(sidecar.decay_factor)
            else "decay_corrected: true, or decay_corrected: false, in the plan",
        )
    if plan.decay_corrected is False and _differs_from_one(sidecar.decay_factor):
        ask(
            plan.accepted,
            "unusual_decay",
            f"{where}: decay_corrected and DecayCorrectionFactor contradict each other",
            got="false in the plan, and factors other than 1 in the sidecar",
            wanted="one account of the decay correction",
            hint="decay_corrected: true",
        )
    half_life = _half_life(plan, sidecar, where)
    frames = read_frames(where, sidecar.frame_start, sidecar.frame_duration)
    stated = plan.injection_time is not None and not (corrected and plan.decay_reference is None)
    if not stated:
        _refuse_frames_before_scan(frames, sidecar, where)
    mixture = isinstance(plan, MixturePlan)
    times, nuclides = sidecar.injection_times, sidecar.nuclides
    if not mixture and max(len(times), len(nuclides)) > 1:
        raise InputError(
            f"{where}.sidecar: two tracers in a scan of one",
            wanted="one TracerRadionuclide and one InjectionStart",
        )
    said = times[0] if len(times) == 1 else None
    planned_times: tuple[float | None, ...] = ()
    if isinstance(plan, MixturePlan):
        injection_time, planned_times = said, plan.injection_time or ()
    else:
        injection_time, planned_times = _first(plan.injection_time, said), (plan.injection_time,)
    return Known(
        frames=frames,
        injection_time=injection_time,
        injections=tuple(time for time in (*times, *planned_times) if time is not None),
        half_life=half_life,
        administered=tuple(itertools.zip_longest(nuclides or (sidecar.half_life,), times)),
        units=_first(plan.units, sidecar.units),
        decay_corrected=corrected,
        decay_reference=_first(plan.decay_reference, sidecar.decay_reference),
        planned_reference=plan.decay_reference is not None,
        planned=plan.decay_reference is not None or plan.half_life is not None,
        decay_factor=None if plan.decay_corrected is False else sidecar.decay_factor,
        given=merge_given(
            (plan.weight_kg, plan.dose_MBq),
            (sidecar.weight_kg, sidecar.dose_MBq),
            plan.accepted,
            where,
        ),
        mixture=mixture,
        accepted=plan.accepted,
    )


def merge_given(planned: Given, said: Given, accepted: frozenset[str], where: str) -> Given:
    """Body weight and dose: the plan's, else the header's.

    Args:
        planned: By the plan.
        said: By the header.
        accepted: What the plan says yes to of what is unusual.
        where: Place of the scan in the plan, for messages.

    Raises:
        InputError: What the plan says cannot be, or is the header's in another unit.
    """
    weight_kg, dose_MBq = planned
    check_dose(where, weight_kg, dose_MBq, accepted)
    check_other_unit(f"{where}.weight_kg: weights", weight_kg, said[0], accepted)
    check_other_unit(f"{where}.dose_MBq: doses", dose_MBq, said[1], accepted)
    return _first(weight_kg, said[0]), _first(dose_MBq, said[1])


def _half_life(plan: SinglePlan | MixturePlan, sidecar: Sidecar, where: str) -> float | None:
    """With which the scanner decay-corrected, s: by the plan, the sidecar's number or nuclide."""
    nuclides = [one for one in sidecar.nuclides if one is not None]
    nuclide = nuclides[0] if len(sidecar.nuclides) == len(nuclides) == 1 else None
    half_life = _first(plan.half_life, sidecar.half_life, nuclide)
    if half_life is not None:
        check_half_life(f"{where}: half-life", half_life, plan.accepted)
    all_known = len(nuclides) == len(sidecar.nuclides)
    if sidecar.half_life is not None and plan.half_life is None and all_known:
        refuse_other_nuclide(f"{where}.sidecar", sidecar.half_life, nuclides)
    return half_life


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
    scale = _unit(known, where)
    factor_T, reference = np.ones(len(known.frames.start)), None
    if known.decay_corrected:
        factor_T, reference = _correction(known, half_life, where)
    elif _differs_from_one(known.decay_factor):
        raise InputError(
            f"{where}.sidecar: ImageDecayCorrected and DecayCorrectionFactor contradict each other",
            got="false and factors other than 1",
            wanted="one account of the decay correction",
            hint="decay_corrected: true in the plan, if the scanner did correct",
        )
    return (_suv(known, reference, where) if scale is None else scale) / factor_T


def _correction(
    known: Known, half_life: float | None, where: str
) -> tuple[npt.NDArray[np.float64], float]:
    """[T] by what the scanner multiplied, and the time to which it corrected, s.

    The scanner's own factors are used, once they are what the half-life and the frames give: how
    they grow from frame to frame needs no reference, which follows from them.
    """
    frames, reference = known.frames, known.decay_reference
    half_life = _first(known.half_life, half_life)
    factor_T = None
    if known.decay_factor is not None:
        factor_T = _factors(known, known.decay_factor, where)
    if factor_T is not None:
        if half_life is None:
            half_life = half_life_of_factors(frames, factor_T, f"{where}.sidecar")
            check_half_life(
                f"{where}.sidecar: half-life by DecayCorrectionFactor", half_life, known.accepted
            )
        if reference is None:
            reference = _reference_of_factors(known, factor_T, half_life, where)
    if reference is None:
        raise InputError(
            f"{where}: nothing says to which time the images are decay-corrected",
            wanted="ImageDecayCorrectionTime in the sidecar",
            hint="decay_reference: SECONDS on the scan's clock, in the plan",
        )
    if half_life is None:
        raise InputError(
            f"{where}: nothing says with which half-life the images are decay-corrected",
            wanted="TracerRadionuclide in the sidecar",
            hint="half_life: SECONDS in the plan",
        )
    if not known.planned_reference:
        _refuse_far_reference(frames, half_life, reference, where)
    expected_T = decay_correction(frames.start, frames.duration, half_life, reference)
    check_decay(f"{where}: frames", expected_T, known.accepted)
    if factor_T is None or not _check_factors(known, factor_T, expected_T, where):
        return expected_T, reference
    return factor_T, reference


def _factors(known: Known, said: Sequence[float], where: str) -> npt.NDArray[np.float64] | None:
    """[T] the sidecar's factors; None where they are none and the plan overrules them."""
    factor_T, frames = np.array(said), len(known.frames.start)
    if factor_T.size == frames and factor_T.min() > 0:
        return factor_T
    got = f"{factor_T.size} numbers, the smallest {factor_T.min():g}"
    wanted = f"{frames} numbers above 0"
    _overrule_factors(known, f"{where}.sidecar: DecayCorrectionFactor", got, wanted)
    return None


def _reference_of_factors(
    known: Known, factor_T: npt.NDArray[np.float64], half_life: float, where: str
) -> float:
    """The time to which factors correct: near the injection or the start of the scan, s."""
    frames = known.frames
    ratio_T = decay_correction(frames.start, frames.duration, half_life, 0.0) / factor_T
    reference = float(np.median(np.log2(ratio_T)) * half_life)
    begin = frames.start[0]
    earliest = min([begin, *known.injections])
    slack = max(SCAN_START_S, frames.duration[0], TABLES_SHARE * half_life)
    if not earliest - EARLY_REFERENCE * half_life - slack <= reference <= begin + slack:
        expected_T = decay_correction(frames.start, frames.duration, half_life, reference)
        _check_factors(known, factor_T, expected_T, where)
        ask(
            known.accepted,
            "unusual_decay",
            f"{where}.sidecar: DecayCorrectionFactor",
            got=f"factors from {factor_T[0]:.5g} on, which correct to {reference:.5g} s",
            wanted="a time near the injection or the start of the scan",
            hint="decay_reference: SECONDS in the plan, as the scanner used it",
        )
    return reference


def _refuse_far_reference(frames: Frames, half_life: float, reference: float, where: str) -> None:
    """Refuse a reference after the scan, or so long before it that nothing would be left."""
    before = frames.start[0] - reference
    if reference >= frames.end[-1] or before > math.log2(MOST_DECAY_BEFORE) * half_life:
        raise InputError(
            f"{where}.sidecar: ImageDecayCorrectionTime",
            got=f"{reference:g} s, for frames from {frames.start[0]:g} to {frames.end[-1]:g} s",
            wanted="a time on the clock of the frames, near the injection or the scan's start",
            hint="decay_reference: SECONDS in the plan",
        )


def _check_factors(
    known: Known,
    said_T: npt.NDArray[np.float64],
    expected_T: npt.NDArray[np.float64],
    where: str,
) -> bool:
    """Whether the sidecar's factors are what times and half-life give.

    Raises:
        InputError: They are not, and the user has not said that the plan's are right.
    """
    miss_T = np.abs(said_T / expected_T - 1)
    allowed_T = FACTOR_SHARE + TABLES_SHARE * np.abs(np.log(expected_T))
    if (miss_T <= allowed_T).all():
        return True
    frame = int(np.argmax(miss_T - allowed_T))
    what = f"{where}.sidecar: DecayCorrectionFactor of frame {frame}"
    wanted = f"{expected_T[frame]:.5g}, as the half-life and the times give"
    _overrule_factors(known, what, f"{said_T[frame]:.5g}", wanted)
    return False


def _overrule_factors(known: Known, what: str, got: str, wanted: str) -> None:
    """Refuse factors, or ask where the plan says how the scanner corrected."""
    hint = "decay_reference and half_life in the plan, as the scanner used them"
    if known.planned:
        ask(known.accepted, "unusual_decay", what, got=got, wanted=wanted, hint=hint)
        return
    if not _differs_from_one(known.decay_factor):
        hint += ", or decay_corrected: false if it did not correct"
    raise InputError(what, got=got, wanted=wanted, hint=hint)


def _differs_from_one(factors: Iterable[float] | None) -> bool:
    """Whether factors of frames, 0 where one is not told, correct anything."""
    return bool(set(factors or ()) - {0.0, 1.0})


def _unit(known: Known, where: str) -> float | None:
    """kBq/mL of one unit of the voxels; None of SUV."""
    if known.units is None:
        raise InputError(
            f"{where}: units are missing",
            wanted="Units in the sidecar",
            hint="units: Bq/mL, kBq/mL or SUV, in the plan",
        )
    unit = known.units.strip().lower()
    if unit in SUV_UNITS:
        if known.mixture:
            raise InputError(
                f"{where}: a mixture in SUV",
                wanted="Bq/mL or kBq/mL, because SUV has one dose of one tracer",
            )
        return None
    if unit not in UNITS:
        raise InputError(
            f"{where}: unknown unit",
            got=repr(known.units[:16]),
            wanted="Bq/mL, kBq/mL or SUV",
            hint="units: Bq/mL, kBq/mL or SUV, in the plan",
        )
    return UNITS[unit]


def _suv(known: Known, reference: float | None, where: str) -> float:
    """SUV = C / (dose / weight), both at the injection: C in kBq/mL is SUV x MBq / kg.

    A mL of the body is taken to weigh 1 g: the common definition, by body weight.
    """
    weight_kg, dose_MBq = known.given
    if weight_kg is None or dose_MBq is None:
        missing = "body weight" if weight_kg is None else "dose"
        if weight_kg is None and dose_MBq is None:
            missing = "body weight and dose"
        raise InputError(
            f"{where}: SUV without {missing}",
            wanted="BodyWeight in kg, and InjectedRadioactivity with its Units, in the sidecar",
            hint="weight_kg and dose_MBq in the plan",
        )
    check_dose(where, weight_kg, dose_MBq, known.accepted)
    injected = known.injection_time
    if reference is None or injected is None or abs(reference - injected) > SUV_REFERENCE_S:
        raise InputError(
            f"{where}: SUV that is not decay-corrected to the injection",
            wanted="decay_corrected: true, and a decay_reference that is the injection_time",
        )
    return dose_MBq / weight_kg


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)
