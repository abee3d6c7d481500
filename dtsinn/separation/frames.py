"""The frames of a scan against those of a model: equal, resampled where that can be, or refused."""

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
from dtsinn.separation.scan import WHERE

FloatArray = npt.NDArray[np.floating[Any]]

SPLIT_ERROR = 0.02
"""Part by which a frame of 10 min that is split may miss, from kinetics inside it: frames of
import's pairs miss by up to that (measured); longer and shorter ones in proportion (uncited)."""
SPLIT_S = 600.0
"""Length of the frames that this was measured of, s."""


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """How a scan's frames become the model's.

    Attributes:
        begin: Start of the first frame of the model on the scan's clock, s.
        weights: [2, U, T], by the half-life of either tracer; None where frames are the model's.
        error: Part by which a resampled frame may miss; 0 where frames are only joined.
        words: What was done, a line.
    """

    begin: float
    weights: npt.NDArray[np.float64] | None = None
    error: float = 0.0
    words: str = "the model's own"

    def apply(self, images_STYX: FloatArray) -> FloatArray:
        """Images [S, T, Y, X] on the scan's frames as [S, U, Y, X] on the model's.

        Nothing tells how much of a frame's activity is of which tracer: what either half-life
        gives is averaged.
        """
        if self.weights is None:
            return images_STYX
        return resample(images_STYX, self.weights.mean(axis=0))


def fit_frames(
    frames: Frames, model: Protocol, half_life: tuple[float, float], *, resampling: bool
) -> FrameFit:
    """Hold the frames of a scan against the model's.

    Args:
        frames: Of the scan, on its clock.
        model: Frames and injections of the model.
        half_life: Of its tracers, s.
        resampling: Whether other frames may be resampled.

    Raises:
        InputError: They are others and are not to be, or cannot be, resampled; it lists both.
    """
    begin = frames.start[0]
    wanted = Frames(start=model.frame_start, duration=model.frame_duration)
    own = frames.since(begin)
    if _are_equal(own, wanted):
        return FrameFit(begin=begin)
    try:
        fit = _resample(own, wanted, model, half_life, begin)
    except InputError as error:
        raise InputError(
            f"{WHERE} has other frames than the model, and they cannot be resampled "
            f"({error.what.partition(': ')[2] or error.what}: {error.got})",
            got=frames_text(own),
            wanted=frames_text(wanted),
            hint="a reconstruction with the model's frames, or a model of these",
        ) from None
    if not resampling:
        raise InputError(
            f"{WHERE} has other frames than the model",
            got=frames_text(own),
            wanted=frames_text(wanted),
            hint=f"a reconstruction with the model's frames, or --resample ({fit.words})",
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
    model: Protocol,
    half_life: Sequence[float],
    begin: float,
) -> FrameFit:
    """The weights, or a refusal that says why there are none."""
    first = model.injection_time[0]
    source, target = own.since(first), wanted.since(first)
    refuse_coarse(WHERE, source, target)
    weights = np.stack(
        [resampling_weights(WHERE, source, target, seconds) for seconds in half_life]
    )
    split = _split_frames(own, wanted)
    for injected in model.injection_time:
        inside = [
            frame
            for frame in split
            if own.start[frame] + INJECTION_S < injected < own.end[frame] - INJECTION_S
        ]
        if inside:
            frame = inside[0]
            raise InputError(
                f"{WHERE}: a tracer is injected inside a frame that would be split",
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
    """Frames of the scan with an edge of the model's inside."""
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
