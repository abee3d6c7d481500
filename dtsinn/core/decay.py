"""Decay correction of frame averages."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def decay_correction(
    start: npt.ArrayLike, duration: npt.ArrayLike, half_life: float, reference: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """The factors by which a decay correction multiplies the frames' averages.

    For a frame from t0 to t1 and a reference time r:
    ``λ (t1 - t0) / (e^(-λ (t0 - r)) - e^(-λ (t1 - r)))``: the average of ``e^(-λ (t - r))`` over
    the frame, inverted (Turku PET Centre, "Decay correction").

    Args:
        start: [T] s on any clock.
        duration: [T] s.
        half_life: s.
        reference: Time to which it corrects, s on the same clock.

    Returns:
        [T] factors; divide by them to undo the correction.
    """
    rate = math.log(2.0) / half_life
    start, duration, reference = (np.asarray(x, np.float64) for x in (start, duration, reference))
    return np.asarray(
        rate * duration * np.exp(rate * (start - reference)) / -np.expm1(-rate * duration)
    )
