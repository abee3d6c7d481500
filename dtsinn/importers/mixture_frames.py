"""The frames of a mixture against those that are wanted: equal, resampled, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol
from dtsinn.importers.frames import (
    JITTER_S,
    Frames,
    refuse_coarse,
    resample,
    resampling_weights,
)
from dtsinn.importers.remarks import INJECTION_S

FloatArray = npt.NDArray[np.floating[Any]]

SPLIT_ERROR = 0.02
"""Part by which a frame of 10 min that is split may miss, from kinetics inside it: frames of
import's pairs miss by up to that (measured); longer and shorter ones in proportion (uncited)."""
SPLIT_S = 600.0
"""Length of the frames that this was measured of, s."""


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """How a scan's frames become those that are wanted.

    Attributes:
        begin: Start of the first frame on the scan's clock, s.
        weights: [2, U, T], by the half-life of either tracer; None where frames are the same.
        error: Part by which a resampled frame may miss; 0 where frames are only joined.
        words: What was done, a line.
    """

    begin: float
    weights: npt.NDArray[np.float64] | None = None
    error: float = 0.0
    words: str = "as they are wanted"

    def apply(self, images_STYX: FloatArray) -> FloatArray:
        """Images [S, T, Y, X] on the scan's frames as [S, U, Y, X] on those that are wanted.

        Nothing tells how much of a frame's activity is of which tracer: what either half-life
        gives is averaged.
        """
        if self.weights is None:
            return images_STYX
        return resample(images_STYX, self.weights.mean(axis=0))


def fit_frames(
    frames: Frames,
    protocol: Protocol,
    half_life: tuple[float, float],
    *,
    where: str,
    whose: str,
    resampling: str = "",
) -> FrameFit:
    """Hold the frames of a scan against those of a protocol.

    Args:
        frames: Of the scan, on its clock.
        protocol: Frames and injections that are wanted.
        half_life: Of the tracers, s.
        where: What messages call the scan.
        whose: Whose frames are wanted, in messages: ``the model``.
        resampling: What the user has to say to have other frames resampled; "" where that was said.

    Raises:
        InputError: They are others and are not to be, or cannot be, resampled; it lists both.
    """
    begin = frames.start[0]
    wanted = Frames(start=protocol.frame_start, duration=protocol.frame_duration)
    own = frames.since(begin)
    if _are_equal(own, wanted):
        return FrameFit(begin=begin)
    try:
        fit = _resample(own, wanted, protocol, half_life, begin, where)
    except InputError as error:
        raise InputError(
            f"{where} has other frames than {whose}, and they cannot be resampled "
            f"({error.what.partition(': ')[2] or error.what}: {error.got})",
            got=frames_text(own),
            wanted=frames_text(wanted),
            hint=f"a reconstruction with the frames of {whose}",
        ) from None
    if resampling:
        raise InputError(
            f"{where} has other frames than {whose}",
            got=frames_text(own),
            wanted=frames_text(wanted),
            hint=f"a reconstruction with the frames of {whose}, or {resampling} ({fit.words})",
        )
    return fit


def frames_text(frames: Frames) -> str:
    """``18 frames (4x150, 2x300 s)``."""
    lengths = itertools.groupby(round(seconds, 3) for seconds in frames.duration)
    runs = [f"{len(list(run))}x{seconds:g}" for seconds, run in lengths]
    return f"{len(frames.start)} frames ({', '.join(runs)} s)"


def _are_equal(own: Frames, wanted: Frames) -> bool:
    if len(own.start) != len(wanted.start):
        return False
    edges = [np.array([*one.start, one.end[-1]]) for one in (own, wanted)]
    return bool(np.abs(edges[0] - edges[1]).max() <= JITTER_S)


def _resample(
    own: Frames,
    wanted: Frames,
    protocol: Protocol,
    half_life: Sequence[float],
    begin: float,
    where: str,
) -> FrameFit:
    """The weights, or a refusal that says why there are none."""
    first = protocol.injection_time[0]
    source, target = own.since(first), wanted.since(first)
    refuse_coarse(where, source, target)
    weights = np.stack(
        [resampling_weights(where, source, target, seconds) for seconds in half_life]
    )
    split = _split_frames(own, wanted)
    for injected in protocol.injection_time:
        inside = [
            frame
            for frame in split
            if own.start[frame] + INJECTION_S < injected < own.end[frame] - INJECTION_S
        ]
        if inside:
            frame = inside[0]
            raise InputError(
                f"{where}: a tracer is injected inside a frame that would be split",
                got=f"{injected:g} s, in frame {frame} from {own.start[frame]:g} to "
                f"{own.end[frame]:g} s",
            )
    if not split:
        return FrameFit(begin=begin, weights=weights, words="frames are joined, without error")
    longest = max(own.duration[frame] for frame in split)
    error = SPLIT_ERROR * longest / SPLIT_S + _disagreement(weights)
    words = (
        f"{len(split)} frames of up to {longest:g} s are split, which may be wrong by "
        f"{100 * error:.2g} %"
    )
    return FrameFit(begin=begin, weights=weights, error=error, words=words)


def _split_frames(own: Frames, wanted: Frames) -> list[int]:
    """Frames of the scan with a wanted edge inside."""
    edges = np.array([*wanted.start, wanted.end[-1]])
    return [
        frame
        for frame, (start, end) in enumerate(zip(own.start, own.end, strict=True))
        if ((edges > start + JITTER_S) & (edges < end - JITTER_S)).any()
    ]


def _disagreement(weights: npt.NDArray[np.float64]) -> float:
    """Part by which a constant curve misses at most, as it is of one tracer or of the other."""
    one, other = weights.sum(axis=2)
    half = np.abs(one - other) / 2
    return float(np.max(np.divide(half, one, out=np.zeros_like(half), where=one > 0)))
