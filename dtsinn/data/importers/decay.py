"""Decay correction as scanners apply it, so that it can be undone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dtsinn.data.importers.frames import Frames


def decay_correction(frames: Frames, half_life: float, reference: float) -> npt.NDArray[np.float64]:
    """The factors by which a decay correction multiplies the frames' averages.

    For a frame from t0 to t1 and a reference time r:
    ``λ (t1 - t0) / (e^(-λ (t0 - r)) - e^(-λ (t1 - r)))``: the average of ``e^(-λ (t - r))`` over
    the frame, inverted (Turku PET Centre, "Decay correction").

    Args:
        frames: On any clock.
        half_life: With which the scanner corrected, s.
        reference: Time to which it corrected, s on the same clock.

    Returns:
        [T] factors; divide by them to undo the correction.
    """
    rate = math.log(2.0) / half_life
    start, duration = np.array(frames.start), np.array(frames.duration)
    return np.asarray(
        rate * duration * np.exp(rate * (start - reference)) / -np.expm1(-rate * duration)
    )
