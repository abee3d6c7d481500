"""The clock of a dynamic PET series: its frames and its injection, as offsets without a date."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import DAY_S
from dtsinn.importers.dicom.moment import Moment
from dtsinn.importers.dicom.series import Series, require_shared
from dtsinn.importers.frames import JITTER_S, Frames, check_frames

REFERENCE_SLACK_S = 1.0
REFERENCE_SLACK_SHARE = 0.05
"""Up to which FrameReferenceTime may miss the expected place in its frame: seconds, or a share of
the frame, whichever is more (uncited). A share of 0.05 takes in the middle of the frame, which
DICOM names for long-lived nuclides, and leaves out its start and its end."""
CLOCK_CHANGE_S = 3600.0
"""By multiples of this a clock is put forward or back."""
TODAY_HALF_LIFE_S = 6 * 3600.0
"""Half-life up to which a time of injection without a date means the nearest one (uncited):
nothing is left of such a nuclide half a day later, so the nearest is the only one possible."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Clock:
    """Frames of a series from the start of its first one.

    Attributes:
        frames: The first starts at 0 s.
        zero: When that was; None where no header says it.
        series_start: Series time on this clock, s: the reference of FrameReferenceTime.
    """

    frames: Frames
    zero: Moment | None
    series_start: float | None


def series_clock(series: Series, half_life: float | None) -> Clock:
    """The clock of a series.

    A frame starts at its AcquisitionDate and AcquisitionTime and lasts ActualFrameDuration.
    FrameReferenceTime is no start: it is when the activity equals the frame's average, counted
    from the series time (DICOM PS3.3 C.8.9.4.1.5). It must fall where the decay puts it,
    or in the middle of the frame. Without acquisition times (de-identified data), or where they
    are the same in all frames, the frames follow from it.

    Args:
        series: Every frame and slice once.
        half_life: s; None puts the average in the middle of a frame.

    Raises:
        InputError: Times are missing, contradict each other, or leave a gap.
    """
    durations = np.array([_duration(series, frame) for frame in range(series.frames)])
    average_T = _time_of_average(durations, half_life)
    reference_T = _frame_references(series)
    series_moment = require_shared(series, lambda header: header.series_start, "SeriesTime")
    acquired = [header.acquired for header in series.first if header.acquired is not None]
    if 0 < len(acquired) < series.frames:
        raise InputError(
            f"{series.where}: AcquisitionTime is missing in some frames", wanted="all or none"
        )
    if len({(moment.day, moment.seconds) for moment in acquired}) < min(series.frames, 2):
        if acquired and reference_T is None:
            raise InputError(
                f"{series.where}: all frames have one AcquisitionTime, and no FrameReferenceTime",
                wanted="AcquisitionTime or FrameReferenceTime of each frame",
                hint="the series as the scanner wrote it",
            )
        begin = series_moment
        if acquired and begin is None:
            begin = acquired[0]
        elif acquired and begin is not None and abs(acquired[0].since(begin)) > REFERENCE_SLACK_S:
            begin = None  # of two, nothing tells from which the reference times count
        return _clock_of_references(series, durations, average_T, reference_T, begin)
    confirmed = reference_T is not None
    starts_T, zero = _elapsed(acquired, durations, series.where, confirmed=confirmed)
    in_whole_seconds = all(moment.seconds % 1 == 0 for moment in acquired)
    frames = _contiguous(series, starts_T, durations, 1.0 if in_whole_seconds else JITTER_S)
    since_zero = None if series_moment is None else series_moment.since(zero)
    if reference_T is not None:
        since_zero = _check_references(
            series, reference_T - starts_T - average_T, durations, since_zero
        )
    return Clock(frames=frames, zero=zero, series_start=since_zero)


def injection_on(clock: Clock, series: Series, half_life: float | None) -> float | None:
    """Injection of the radiopharmaceutical, s on the clock of the series.

    RadiopharmaceuticalStartTime has no date: it means the one nearest to the scan, so also the
    evening before a scan after midnight.

    Returns:
        None where the header does not say: no time, several radiopharmaceuticals, or a time of
        day for a nuclide that may have been given on an earlier day.

    Raises:
        InputError: It would be after the scan.
    """
    drugs = require_shared(series, lambda header: header.drugs, "radiopharmaceutical")
    starts = {drug.start for drug in drugs}
    injection = _since_zero(starts.pop(), clock, half_life) if len(starts) == 1 else None
    if injection is not None and injection >= clock.frames.end[-1]:
        raise InputError(
            f"{series.where}: the radiopharmaceutical was given after the scan",
            got=f"{injection:g} s after the start of the first frame",
            wanted=f"below {clock.frames.end[-1]:g} s",
            hint="injection_time in the plan",
        )
    return injection


def header_half_life(series: Series) -> float | None:
    """RadionuclideHalfLife, s; None where it is missing or several nuclides are named."""
    drugs = require_shared(series, lambda header: header.drugs, "radiopharmaceutical")
    values = {drug.nuclide if drug.half_life is None else drug.half_life for drug in drugs}
    return values.pop() if len(values) == 1 else None


def read_administrations(
    series: Series, clock: Clock
) -> tuple[tuple[float | None, float | None], ...]:
    """Half-life, s, and injection, s on the clock of the series, of each radiopharmaceutical."""
    drugs = require_shared(series, lambda header: header.drugs, "radiopharmaceutical")
    half_lives = [drug.nuclide if drug.half_life is None else drug.half_life for drug in drugs]
    return tuple(
        (half_life, _since_zero(drug.start, clock, half_life))
        for drug, half_life in zip(drugs, half_lives, strict=True)
    )


def _since_zero(start: Moment | None, clock: Clock, half_life: float | None) -> float | None:
    """An administration on the clock of a series, s; None where a time of day is too little."""
    if start is None or clock.zero is None:
        return None
    dated = start.day is not None and clock.zero.day is not None
    if not dated and (half_life is None or half_life > TODAY_HALF_LIFE_S):
        return None
    return start.since(clock.zero)


def _time_of_average(
    durations: npt.NDArray[np.float64], half_life: float | None
) -> npt.NDArray[np.float64]:
    """When decaying activity equals its average over a frame, s from the frame's start.

    ``ln(λT / (1 - e^(-λT))) / λ`` (DICOM PS3.3 C.8.9.4.1.5, example 2).
    """
    if half_life is None:
        return durations / 2
    rate = math.log(2.0) / half_life
    decay = np.maximum(rate * durations, 1e-6)  # below, rounding is worse than the middle
    return np.where(
        decay > 1e-6, np.log(decay / -np.expm1(-decay)) / decay * durations, durations / 2
    )


def _duration(series: Series, frame: int) -> float:
    values = {header.duration for header in series.images[frame]}
    value = values.pop()
    if values or value is None or value <= 0:
        raise InputError(
            f"{series.where}: ActualFrameDuration of frame {frame}",
            got="several values" if values else "none" if value is None else f"{value:g} s",
            wanted="one for all its slices, above 0 ms",
        )
    return value


def _frame_references(series: Series) -> npt.NDArray[np.float64] | None:
    """[T] FrameReferenceTime, s; None where no image has it, or all frames the same."""
    values = [header.reference for header in series.first]
    found = [value for value in values if value is not None]
    if len(values) > 1 and len(found) == len(values) and len(set(found)) == 1:
        return None
    if found and len(found) < len(values):
        raise InputError(
            f"{series.where}: FrameReferenceTime is missing in some frames", wanted="all or none"
        )
    return np.array(found) if found else None


def _elapsed(
    moments: Sequence[Moment],
    durations: npt.NDArray[np.float64],
    where: str,
    *,
    confirmed: bool,
) -> tuple[npt.NDArray[np.float64], Moment]:
    """[T] s from the acquisition of the first frame, and when that was.

    A scan may run past midnight, with dates, without, or with a date that stays. Dates that were
    shifted from frame to frame are passed over where the times of day alone meet the durations,
    and so is a clock that is put forward or back, where reference times confirm the durations.
    """
    if len({moment.day is None for moment in moments}) > 1:
        raise InputError(
            f"{where}: AcquisitionDate is missing in some frames", wanted="all or none"
        )
    first = moments[0]
    seconds = np.array([moment.seconds for moment in moments])
    by_time = np.concatenate([[0.0], np.cumsum(np.diff(seconds) % DAY_S)])
    if len({moment.day for moment in moments}) == 1:
        given = by_time
    else:
        given = np.array([moment.since(first) for moment in moments])
    exact = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    changed = seconds - seconds[0] - exact
    by_durations = exact + changed - np.round(changed / CLOCK_CHANGE_S) * CLOCK_CHANGE_S
    candidates = (given, by_time, *([by_durations] if confirmed else []))
    near = [np.abs(starts - exact).max() <= REFERENCE_SLACK_S for starts in candidates]
    if near[0] or not any(near):
        return given, first
    return candidates[near.index(True)], Moment(day=None, seconds=first.seconds)


def _contiguous(
    series: Series,
    starts: npt.NDArray[np.float64],
    durations: npt.NDArray[np.float64],
    slack: float,
) -> Frames:
    """Frames end to end, where the time stamps are so within what they are rounded to."""
    exact = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    near = np.abs(starts - exact).max() <= slack
    return check_frames(series.where, (exact if near else starts).tolist(), durations.tolist())


def _check_references(
    series: Series,
    offset_T: npt.NDArray[np.float64],
    durations: npt.NDArray[np.float64],
    series_start: float | None,
) -> float | None:
    """Check FrameReferenceTime against the frames.

    Args:
        series: For messages.
        offset_T: [T] FrameReferenceTime less the time of the frame's average, s: how long before
            the first frame its clock began, the same in all frames.
        durations: [T] s.
        series_start: Series time on the clock of the first frame, s, or None.

    Returns:
        Where the reference lies on the clock of the first frame, s.
    """
    slack = np.maximum(REFERENCE_SLACK_S, REFERENCE_SLACK_SHARE * durations)
    # A series that was made again later may carry the time of its making, and still count
    # FrameReferenceTime from the first frame.
    origins = [0.0] if series_start is None else [-series_start, 0.0]
    if series_start is None:
        origins.append(float(np.median(offset_T)))
    misses = [np.abs(offset_T - origin) - slack for origin in origins]
    best = min(range(len(origins)), key=lambda number: float(misses[number].max()))
    if misses[best].max() > 0:
        frame = int(np.argmax(misses[best]))
        raise InputError(
            f"{series.where}: FrameReferenceTime and AcquisitionTime disagree in frame {frame}",
            got=f"{offset_T[frame] - origins[best]:+.1f} s between them",
            wanted=f"at most {slack[frame]:.1f} s",
            hint="the series as the scanner wrote it",
        )
    return -origins[best]


def _clock_of_references(
    series: Series,
    durations: npt.NDArray[np.float64],
    average_T: npt.NDArray[np.float64],
    reference_T: npt.NDArray[np.float64] | None,
    series_moment: Moment | None,
) -> Clock:
    """The clock of a series that has lost its acquisition times."""
    if reference_T is None:
        raise InputError(
            f"{series.where}: the frames have no times",
            wanted="AcquisitionTime or FrameReferenceTime",
        )
    starts_T = reference_T - average_T
    earliest = -max(JITTER_S, REFERENCE_SLACK_SHARE * float(durations[0]))
    if starts_T[0] < earliest:
        raise InputError(
            f"{series.where}: FrameReferenceTime puts the first frame before the series",
            got=f"a start {-starts_T[0]:.1f} s before the series time",
            wanted="when the activity equals the frame's average, which is no start of a frame",
            hint="the series with its acquisition times",
        )
    slack = max(REFERENCE_SLACK_S, float((REFERENCE_SLACK_SHARE * durations).max()))
    frames = _contiguous(series, starts_T - starts_T[0], durations, slack)
    # Counted from the series time, the first frame starts at starts_T[0].
    zero = None
    if series_moment is not None:
        zero = series_moment.later(float(starts_T[0]))
    return Clock(frames=frames, zero=zero, series_start=-float(starts_T[0]))
