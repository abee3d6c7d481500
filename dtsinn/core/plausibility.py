"""What numbers of a PET study can be: times, half-lives, doses, voxels and activity.

A wrong unit makes a number wrong by a factor (ms, minutes, Bq, cm, g), and everything after it
wrong without a sign. What cannot be is refused. What is only strange is asked for: it is refused
until a key such as ``unusual_times: yes`` says that it is so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import isotope_of

DAY_S = 86400.0
LONGEST_SCAN_S = DAY_S
"""Longest scan of frames without a gap: nobody lies in a scanner for a day."""
USUAL_SCAN_S = 6 * 3600.0
"""Longest usual scan (uncited): published dynamic scans take up to some two hours."""
USUAL_FRAME_S = 7200.0
"""Longest usual frame (uncited); a frame of 10 s is above, where it stands in ms."""
SHORT_SCAN_S, SHORT_FRAME_S = 300.0, 20.0
"""A scan below, all of whose frames are at most so long, is what a table in minutes looks like
(uncited): scans of 300 min and frames of 20 min are the longest of their kind."""
MOST_HALF_LIVES = 10.0
"""Half-lives that a scan may take (uncited): 62Cu in 90 min has 9, so 4 min of 15O are no hours."""
LEAST_DELAY_S = 60.0
"""Between two injections, where there is a delay (uncited): the shortest studied is 5 min, and
delays in minutes are numbers up to 60."""
USUAL_HALF_LIFE_S = (60.0, 20 * DAY_S)
"""Half-lives of nuclides of PET: 14O has 71 s and 74As 18 d (uncited)."""
OTHER_UNITS = {
    60.0: "minutes",
    3600.0: "hours",
    1e-3: "milliseconds",
    1 / 60: "sixtieths of seconds",
}
"""s of one unit in which a half-life may have been written, and how messages name it."""
MOST_DECAY = 1e4
"""By what a scan is decay-corrected at most (uncited): 13 half-lives; 62Cu in 90 min has 9."""
VOXEL_MM, USUAL_VOXEL_MM = (0.01, 100.0), (0.35, 15.0)
"""Side of a voxel (uncited): scanners of mice have 0.4 mm, and no PET resolves 0.01 mm."""
WEIGHT_KG, USUAL_WEIGHT_KG = (0.005, 700.0), (0.01, 250.0)
"""Body weights of mice and of people (uncited)."""
DOSE_MBQ, USUAL_DOSE_MBQ = (0.1, 1e4), (0.5, 3000.0)
"""Doses of mice and of people (uncited); 82Rb is given with up to 2 GBq."""
USUAL_DOSE_MBQ_PER_KG = (0.5, 5000.0)
"""Doses per weight from total-body scanners to those of mice (uncited)."""
WRONG_RATIOS = (2.2046, 37.0, 1e3, 1e6)
"""By what a plan differs from its header where one of them took pounds, mCi, g, kBq or Bq."""
HOTTEST = 1e5
"""kBq/mL that no tissue has: 1 GBq in a syringe of 10 mL."""
USUAL_ACTIVITY = (0.1, 2000.0)
"""kBq/mL of what is hot in a scan (uncited): 7 MBq in 70 kg, and 5 times 10 MBq in 25 g."""
USUAL_SUV = (0.03, 100.0)
"""g/mL of what is hot in a scan (uncited), decayed."""
MOST_OF_DOSE = 1.5
"""Share of the dose that a frame may hold (uncited): calibrations of dose and scanner differ."""
PEAK_PERCENTILE = 99.9
"""Percentile of a frame's voxels that stands for its maximum (uncited): a few voxels are hot by
noise, and a mouse takes more than a thousandth of its scanner's field."""
BODY_SHARE = 0.1
"""Share of that maximum from which voxels are of the body (uncited); around it there is air."""
EARLY_SHARE = 0.1
"""Share of the brightest frame that frames before an injection may have (uncited)."""

Answer = Literal["yes", "Yes", "YES", "no", "No", "NO", True, False]
"""What YAML 1.1 takes for a truth, and YAML 1.2 for a word."""
FloatArray = npt.NDArray[np.floating[Any]]


def is_yes(answer: Answer) -> bool:
    """Whether an answer accepts what is unusual."""
    return answer is True or str(answer).lower() == "yes"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a plan may say to a question: that something unusual is so.

    Attributes:
        unusual_times: Length of the scan, its frames, the delay between injections.
        unusual_half_life: Of a nuclide that is not in the table.
        unusual_activity: How much there is, and when.
        unusual_voxels: Their size.
        unusual_dose: Dose and body weight.
        unusual_decay: Time to which the scanner decay-corrected.
    """

    __pydantic_config__ = STRICT

    unusual_times: Answer = False
    unusual_half_life: Answer = False
    unusual_activity: Answer = False
    unusual_voxels: Answer = False
    unusual_dose: Answer = False
    unusual_decay: Answer = False

    @property
    def accepted(self) -> frozenset[str]:
        """Names of the questions that are answered with yes."""
        names = Answers.__dataclass_fields__
        return frozenset(name for name in names if is_yes(getattr(self, name)))


Accepted = Collection[str]
"""Names of fields of :class:`Answers` to which the user said yes."""


def ask(
    accepted: Accepted,
    key: str,
    what: str,
    *,
    got: object,
    wanted: object,
    hint: str = "",
    place: str = "the plan",
) -> None:
    """Refuse what is strange until the user says that it is so.

    Args:
        accepted: What the user said yes to.
        key: A field of :class:`Answers`.
        what: What is strange, and where.
        got: As in :class:`InputError`.
        wanted: As in :class:`InputError`.
        hint: What else to try.
        place: Where the key belongs.

    Raises:
        InputError: It is not accepted.
    """
    if key not in accepted:
        so = f"{key}: yes in {place}, if it is so"
        raise InputError(what, got=got, wanted=wanted, hint=f"{hint}, or {so}" if hint else so)


def check_half_life(what: str, seconds: float, accepted: Accepted = ()) -> None:
    """Refuse a half-life of no nuclide, and ask for one that is a nuclide's in another unit.

    Raises:
        InputError: It is not above 0, far from all nuclides of PET, or no nuclide's of the table
            but one's in another unit than seconds.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(what, got=f"{seconds:g}", wanted="seconds above 0")
    if isotope_of(seconds) is not None:
        return
    for factor, unit in OTHER_UNITS.items():
        nuclide = isotope_of(seconds * factor)
        if nuclide is not None:
            ask(
                accepted,
                "unusual_half_life",
                what,
                got=f"{seconds:g} s, as {nuclide} has it in {unit}",
                wanted="seconds",
                hint=f"seconds, not {unit}",
            )
    bounds = USUAL_HALF_LIFE_S
    _usual(what, seconds, "s", bounds, accepted, "unusual_half_life", "seconds, not minutes")


def check_times(
    where: str,
    durations: Sequence[float],
    injections: Sequence[float] = (),
    accepted: Accepted = (),
    *,
    half_life: float | None = None,
    place: str = "the plan",
) -> None:
    """Refuse a scan of days, and ask for one whose times look like another unit.

    Short frames are no minutes where nothing of the tracer would be left after so many.

    Args:
        where: For messages.
        durations: [T] s, of contiguous frames.
        injections: s, ascending, where they are known.
        accepted: What the user said yes to.
        half_life: s, the longest of the scan's tracers; None where it is not known.
        place: Where keys belong.

    Raises:
        InputError: The scan, a frame or the delay is too long or short.
    """
    total, longest = math.fsum(durations), max(durations)
    if total > LONGEST_SCAN_S:
        raise InputError(
            f"{where}: frames",
            got=f"a scan of {total:g} s, {total / DAY_S:.1f} days",
            wanted=f"at most {LONGEST_SCAN_S:g} s: a day",
            hint="frame times in seconds, not milliseconds",
        )
    lasting = half_life is None or total * 60 <= MOST_HALF_LIVES * half_life
    got = ""
    if total > USUAL_SCAN_S or longest > USUAL_FRAME_S:
        got, hint = f"a scan of {total:g} s with a frame of {longest:g} s", "milliseconds"
    elif lasting and total < SHORT_SCAN_S and longest <= SHORT_FRAME_S:
        got, hint = f"a scan of {total:g} s with no frame above {longest:g} s", "minutes"
    if got:
        ask(
            accepted,
            "unusual_times",
            f"{where}: frames",
            got=got,
            wanted="seconds of a dynamic scan",
            hint=f"frame times in seconds, not {hint}",
            place=place,
        )
    delay = injections[-1] - injections[0] if injections else 0.0
    if 0 < delay < LEAST_DELAY_S:
        ask(
            accepted,
            "unusual_times",
            f"{where}: injections",
            got=f"{delay:g} s between them",
            wanted=f"0 s, or at least {LEAST_DELAY_S:g} s",
            hint="injections in seconds, not minutes",
            place=place,
        )


def check_decay(what: str, factor_T: FloatArray, accepted: Accepted = ()) -> None:
    """Ask for a decay correction of an unusual size: [T] by what a scanner multiplied.

    Raises:
        InputError: It is so large, or small, that reference, half-life or frames are in another
            unit.
    """
    largest, smallest = float(np.max(factor_T)), float(np.min(factor_T))
    if largest > MOST_DECAY or smallest < 1 / MOST_DECAY:
        ask(
            accepted,
            "unusual_decay",
            what,
            got=f"a decay correction by {smallest:.3g} to {largest:.3g}",
            wanted=f"{1 / MOST_DECAY:g} to {MOST_DECAY:g}",
            hint="half-life, decay reference and frames in seconds",
        )


def check_voxels(what: str, sides: Sequence[float], accepted: Accepted = ()) -> None:
    """Refuse voxels that no scanner makes: [N] sides, mm.

    Raises:
        InputError: A side is in another unit than mm, or is not said to be so.
    """
    for side in sides:
        _possible(what, side, "mm", VOXEL_MM)
        _usual(what, side, "mm", USUAL_VOXEL_MM, accepted, "unusual_voxels", "mm, not cm")


def check_dose(
    where: str, weight_kg: float | None, dose_MBq: float | None, accepted: Accepted = ()
) -> None:
    """Refuse weights and doses in other units than kg and MBq; None is not known.

    Raises:
        InputError: They cannot be, or are not said to be so.
    """
    key = "unusual_dose"
    if weight_kg is not None:
        _possible(f"{where}: body weight", weight_kg, "kg", WEIGHT_KG)
        bounds = USUAL_WEIGHT_KG
        _usual(f"{where}: body weight", weight_kg, "kg", bounds, accepted, key, "weight_kg: KG")
    if dose_MBq is not None:
        _possible(f"{where}: dose", dose_MBq, "MBq", DOSE_MBQ)
        _usual(f"{where}: dose", dose_MBq, "MBq", USUAL_DOSE_MBQ, accepted, key, "dose_MBq: MBQ")
    if weight_kg is not None and dose_MBq is not None:
        ratio, bounds = dose_MBq / weight_kg, USUAL_DOSE_MBQ_PER_KG
        _usual(f"{where}: dose by weight", ratio, "MBq/kg", bounds, accepted, key, "kg and MBq")


def usable_dose(
    weight_kg: float | None, dose_MBq: float | None, accepted: Accepted = ()
) -> tuple[float | None, float | None]:
    """Body weight and dose as a measure of activity: none where :func:`check_dose` refuses them."""
    try:
        check_dose("", weight_kg, dose_MBq, accepted)
    except InputError:
        return None, None
    return weight_kg, dose_MBq


def check_other_unit(
    what: str, planned: float | None, said: float | None, accepted: Accepted = ()
) -> None:
    """Ask where a plan differs from its header by what two units differ.

    Raises:
        InputError: It does.
    """
    if planned is None or said is None or said <= 0:
        return
    for ratio in WRONG_RATIOS:
        if min(abs(planned / said / ratio - 1), abs(planned / said * ratio - 1)) < 0.01:
            ask(
                accepted,
                "unusual_dose",
                f"{what} in two units",
                got=f"{planned:g} in the plan and {said:g} in the header",
                wanted="kg and MBq",
                hint="the right one, in kg or MBq, in the plan",
            )


def check_activity(
    what: str,
    images_STYX: FloatArray,
    accepted: Accepted = (),
    *,
    weight_kg: float | None = None,
    dose_MBq: float | None = None,
    voxel_mL: float | None = None,
) -> None:
    """Refuse images that are not activity in kBq/mL: nothing, below 0, or of another size.

    With dose and weight the bounds are those of SUV, and with the dose no frame may hold more
    than was given; without, those that scans of mice and people have.

    Args:
        what: For messages.
        images_STYX: kBq/mL present.
        accepted: What the user said yes to.
        weight_kg: Body weight.
        dose_MBq: Of the tracer in the images.
        voxel_mL: Volume of a voxel.

    Raises:
        InputError: They cannot be activity, or are not said to be.
    """
    if not images_STYX.max() > 0:
        nothing = "0 everywhere" if not images_STYX.any() else "no voxel above 0"
        raise InputError(f"{what}: activity", got=nothing, wanted="kBq/mL above 0")
    brightest = int(np.argmax(images_STYX.mean(axis=(0, 2, 3), dtype=np.float64)))
    frame_SYX = images_STYX[:, brightest]
    hot = _typical_of_body(frame_SYX)
    got = f"{hot:.3g} kBq/mL in what is hot"
    if hot > HOTTEST:
        raise InputError(
            f"{what}: activity",
            got=got,
            wanted=f"at most {HOTTEST:g} kBq/mL, what a syringe holds",
            hint="the right units in the plan",
        )
    if dose_MBq is not None and voxel_mL is not None:
        found = float(frame_SYX.sum(dtype=np.float64)) * voxel_mL / 1000
        if found > MOST_OF_DOSE * dose_MBq:
            raise InputError(
                f"{what}: activity",
                got=f"{found:.3g} MBq in frame {brightest}",
                wanted=f"no more than the dose, {dose_MBq:g} MBq",
                hint="the right units, or dose_MBq, in the plan",
            )
    low, high = USUAL_ACTIVITY
    if dose_MBq is not None and weight_kg is not None:
        low, high = (suv * dose_MBq / weight_kg for suv in USUAL_SUV)
    if not low <= hot <= high:
        ask(
            accepted,
            "unusual_activity",
            f"{what}: activity",
            got=got,
            wanted=f"{low:.3g} to {high:.3g} kBq/mL",
            hint="the right units in the plan",
        )


def _typical_of_body(frame_SYX: FloatArray) -> float:
    """Median of the body, however little of the field of view it fills, in the frame's unit.

    Hot organs and the first pass of a bolus are a small part of the body.
    """
    peak = float(np.percentile(frame_SYX, PEAK_PERCENTILE, method="lower"))
    return peak if peak <= 0 else float(np.median(frame_SYX[frame_SYX >= BODY_SHARE * peak]))


def check_before_injection(
    what: str,
    mean_T: FloatArray,
    ends: Sequence[float],
    injected: float,
    accepted: Accepted = (),
) -> None:
    """Ask for activity before a scan's first injection, which a wrong time of it would make.

    Args:
        what: For messages.
        mean_T: [T] kBq/mL.
        ends: [T] s, of the frames.
        injected: s on the same clock.
        accepted: What the user said yes to.

    Raises:
        InputError: There is some.
    """
    early = mean_T[np.asarray(ends) <= injected]
    if early.size and early.max() > EARLY_SHARE * mean_T.max() > 0:
        ask(
            accepted,
            "unusual_activity",
            f"{what}: activity before the injection",
            got=f"{early.max() / mean_T.max():.0%} of the brightest frame in a frame that ends by "
            f"{injected:g} s",
            wanted="none",
            hint="the right injection_time, in seconds, in the plan",
        )


def _possible(what: str, value: float, unit: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise InputError(what, got=f"{value:g} {unit}", wanted=f"{low:g} to {high:g} {unit}")


def _usual(
    what: str,
    value: float,
    unit: str,
    bounds: tuple[float, float],
    accepted: Accepted,
    key: str,
    hint: str,
) -> None:
    low, high = bounds
    if not low <= value <= high:
        wanted = f"{low:g} to {high:g} {unit}, as usual"
        ask(accepted, key, what, got=f"{value:g} {unit}", wanted=wanted, hint=hint)
