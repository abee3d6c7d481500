"""Frame tables: checked as headers give them, and activity brought from one table to another.

Array axes: T frame of the source, U frame of the target.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import DAY_S
from dtsinn.core.protocol import CONTIGUITY_S, MOST_FRAMES

JITTER_S = 0.02
"""Up to which the ends and starts of neighbouring frames are one, s (uncited): clocks and headers
round them."""
MOST_SPLIT = 8
"""Into how many frames of the target a frame of the source may be split (uncited): activity inside
a frame is taken to be constant but for decay, so that the split frames show no kinetics."""

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Contiguous frames on any clock; made by :func:`check_frames` or :func:`split_at_ends`.

    Attributes:
        start: [T] s.
        duration: [T] s.
    """

    start: tuple[float, ...]
    duration: tuple[float, ...]

    @property
    def end(self) -> tuple[float, ...]:
        """[T] s."""
        return tuple(
            start + seconds for start, seconds in zip(self.start, self.duration, strict=True)
        )

    def since(self, time: float) -> Frames:
        """The same frames on a clock that starts at ``time``, s."""
        return Frames(start=tuple(start - time for start in self.start), duration=self.duration)


def check_frames(where: str, start: Sequence[float], duration: Sequence[float]) -> Frames:
    """Frames as a header gives them, as start and duration.

    Where a frame ends up to :data:`JITTER_S` beside the start of the next, that start is its end.

    Args:
        where: The place of the scan in the user's plan, for messages.
        start: [T] s.
        duration: [T] s.

    Raises:
        InputError: They are no contiguous frames. Where the durations look like end times, as in
            the official PET-BIDS examples pet001, pet003 and pet004, the message says so.
    """
    _check_numbers(where, start, duration)
    frames = Frames(start=tuple(map(float, start)), duration=tuple(map(float, duration)))
    problem = _first_gap(frames)
    if problem is None:
        return _snap(frames)
    if problem.overlap and _are_ends(start, duration):
        raise InputError(
            f"{where}: frames {problem.frame} and {problem.frame + 1} overlap, because "
            "FrameDuration holds the end times of the frames",
            got=f"a duration of {duration[problem.frame]:g} s in frame {problem.frame}, which "
            f"frame {problem.frame + 1} follows at {start[problem.frame + 1]:g} s",
            hint="frame_end_times: true in the plan, if that reading is right",
        )
    raise problem.error(where)


def split_at_ends(where: str, start: Sequence[float], end: Sequence[float]) -> Frames:
    """Frames of a header that gives start and **end**, as the user's plan says.

    Args:
        where: The place of the scan in the user's plan, for messages.
        start: [T] s.
        end: [T] s, where a header should have durations.

    Raises:
        InputError: They are no contiguous frames when they are read so.
    """
    _check_numbers(where, start, end)
    frames = Frames(
        start=tuple(map(float, start)),
        duration=tuple(float(e) - float(s) for s, e in zip(start, end, strict=True)),
    )
    if min(frames.duration) <= 0 or _first_gap(frames) is not None:
        raise InputError(
            f"{where}: FrameDuration holds no end times",
            got=f"{end[0]:g} s for the frame that starts at {start[0]:g} s",
            wanted="the start of the next frame",
            hint="the plan without frame_end_times",
        )
    return _snap(frames)


def resampling_weights(
    what: str, source: Frames, target: Frames, half_life: float
) -> npt.NDArray[np.float64]:
    """Weights that turn averages over the source's frames into averages over the target's.

    Both are averages of activity actually present. Inside a frame of the source, that activity is
    taken to be ``c e^(-λt)`` after the injection and 0 before it: its decay-corrected value is
    constant in each frame, and the frame's average fixes c. This is integrated exactly over each
    frame of the target, so that

    * the integral over time is kept, equal tables give the identity and frames are merged
      exactly, whatever the half-life;
    * activity that only decays comes out exact, also where a long frame of a short-lived tracer
      is split.

    Refused: a constant activity *present* in each frame is wrong by the decay within it (11C in
    a frame of 10 min loses 29 %); linear interpolation between middles of frames keeps no
    integral; splines overshoot, and are negative beside the first pass.

    Args:
        what: Tracer and place of the scan, for messages.
        source: Frames of the scan, on the clock of its own injection: that is at 0 s.
        target: Frames wanted, on the same clock.
        half_life: Of the tracer, s.

    Returns:
        [U, T]; multiply by averages [T] (:func:`resample`). Rows of frames that end at the
        injection or before are 0; in a frame that holds the injection the time before counts
        as 0.

    Raises:
        InputError: The source does not cover the target after the injection.
    """
    _check_cover(what, source, target)
    rate = math.log(2.0) / half_life
    start_T, end_T = np.array(source.start), np.array(source.end)
    start_U, end_U = np.array(target.start)[:, None], np.array(target.end)[:, None]
    active_T = np.maximum(start_T, 0.0)
    low_UT = np.maximum(np.maximum(start_U, 0.0), active_T)
    high_UT = np.minimum(end_U, end_T)
    # Shares of the activity of a source frame: ∫ e^(-λt) over the overlap, relative to its start.
    overlap_UT = np.maximum(high_UT - low_UT, 0.0)
    late_UT = np.where(overlap_UT > 0, low_UT - active_T, 0.0)
    part_UT = np.exp(-rate * late_UT) * -np.expm1(-rate * overlap_UT)
    whole_T = -np.expm1(-rate * np.maximum(end_T - active_T, 0.0))
    share_UT = np.divide(part_UT, whole_T, out=np.zeros_like(part_UT), where=whole_T > 0)
    return np.asarray(share_UT * np.array(source.duration) / np.array(target.duration)[:, None])


def refuse_coarse(what: str, source: Frames, target: Frames) -> None:
    """Refuse a source that tells too little of the time course that the target asks for.

    Args:
        what: Tracer and place of the scan, for messages.
        source: Frames of the scan, on the clock of its own injection.
        target: Frames wanted, on the same clock.

    Raises:
        InputError: The source is one frame, or one of its frames reaches into more than
            :data:`MOST_SPLIT` frames of the target after the injection.
    """
    if len(source.start) == 1:
        raise InputError(
            f"{what}: the scan has one frame", wanted="a dynamic scan", hint="another scan"
        )
    end_U = np.array(target.end)
    start_U = np.maximum(np.array(target.start), 0.0)
    for frame, (start, end) in enumerate(zip(source.start, source.end, strict=True)):
        shared = np.minimum(end_U, end) - np.maximum(start_U, start)
        parts = int((shared > JITTER_S).sum())
        if parts > MOST_SPLIT:
            raise InputError(
                f"{what}: the scan is too coarse for the protocol",
                got=f"frame {frame} of {end - start:g} s over {parts} frames of the protocol",
                wanted=f"at most {MOST_SPLIT}",
                hint="a protocol with longer frames",
            )


def resample(images: FloatArray, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Images [S, T, Y, X] on the source's frames as [S, U, Y, X] on the target's.

    Args:
        images: kBq/mL, frame-averaged, not decay-corrected.
        weights: [U, T] of :func:`resampling_weights`.
    """
    slices, frames, *pixels = images.shape
    flat = np.asarray(images, dtype=np.float64).reshape(slices, frames, -1)
    return np.asarray((weights @ flat).reshape(slices, weights.shape[0], *pixels))


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """Two frames that do not meet."""

    frame: int
    end: float
    next_start: float

    @property
    def overlap(self) -> bool:
        return self.next_start < self.end

    def error(self, where: str) -> InputError:
        kind = "overlap" if self.overlap else "have a gap between them"
        return InputError(
            f"{where}: frames {self.frame} and {self.frame + 1} {kind}",
            got=f"an end at {self.end:g} s and a start at {self.next_start:g} s",
            wanted="contiguous frames",
            hint=f"frame times that meet within {JITTER_S:g} s",
        )


def _first_gap(frames: Frames) -> _Gap | None:
    for frame, (end, start) in enumerate(zip(frames.end[:-1], frames.start[1:], strict=True)):
        if abs(start - end) > JITTER_S:
            return _Gap(frame=frame, end=end, next_start=start)
    return None


def _snap(frames: Frames) -> Frames:
    """Each frame up to the start of the next."""
    last = frames.end[-1]
    ends = (*frames.start[1:], last)
    meet = all(abs(e - s) <= CONTIGUITY_S for e, s in zip(frames.end, ends, strict=True))
    if meet:
        return frames
    return Frames(
        start=frames.start,
        duration=tuple(round(e - s, 6) for s, e in zip(frames.start, ends, strict=True)),
    )


def _are_ends(start: Sequence[float], duration: Sequence[float]) -> bool:
    """Whether each duration is the start of the next frame."""
    return (
        all(
            abs(end - following) <= JITTER_S
            for end, following in zip(duration[:-1], start[1:], strict=True)
        )
        and duration[-1] > start[-1]
    )


def _check_numbers(where: str, start: Sequence[float], duration: Sequence[float]) -> None:
    if len(start) != len(duration) or not 1 <= len(start) <= MOST_FRAMES:
        raise InputError(
            f"{where}: frames",
            got=f"{len(start)} starts and {len(duration)} durations",
            wanted=f"one of each per frame, and 1 to {MOST_FRAMES} frames",
        )
    for frame, (begin, seconds) in enumerate(zip(start, duration, strict=True)):
        if not math.isfinite(begin):
            raise InputError(f"{where}: start of frame {frame}", got=begin, wanted="seconds")
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(
                f"{where}: duration of frame {frame}", got=seconds, wanted="seconds above 0"
            )
    for frame, (one, two) in enumerate(itertools.pairwise(start)):
        if two <= one:
            raise InputError(
                f"{where}: start of frame {frame + 1}", got=f"{two:g} s", wanted=f"above {one:g} s"
            )


def _check_cover(what: str, source: Frames, target: Frames) -> None:
    first, last = max(target.start[0], 0.0), target.end[-1]
    missing = []
    late = source.start[0] > first + JITTER_S
    if last > first and late:
        missing.append((first, min(source.start[0], last)))
    if last > first and source.end[-1] < last - JITTER_S:
        missing.append((max(source.end[-1], first), last))
    if missing:
        times = " and ".join(f"{one:g} to {two:g} s" for one, two in missing)
        hint = f"a protocol without {times} after this injection"
        if max(abs(source.start[0]), abs(source.end[-1])) > DAY_S:
            hint = "the right injection_time in the plan"
        elif late:
            hint = f"injection_time in the plan, if it was when the scan began, or {hint}"
        begin = " begins too late and" if late else ""
        raise InputError(
            f"{what}: the scan{begin} does not cover the protocol",
            got=f"frames from {source.start[0]:g} to {source.end[-1]:g} s after the injection",
            wanted=f"{first:g} to {last:g} s",
            hint=hint,
        )
