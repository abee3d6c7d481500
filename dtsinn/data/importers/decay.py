"""Decay correction as scanners apply it, so that it can be undone; half-lives of nuclides."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt

from dtsinn.data.importers.frames import Frames

HALF_LIVES = {
    "C-11": 1224.0,
    "N-13": 599.0,
    "O-15": 123.0,
    "F-18": 6588.0,
    "Cu-62": 582.0,
    "Cu-64": 45721.1,
    "Ga-68": 4080.0,
    "Br-76": 58700.0,
    "Rb-82": 75.0,
    "Zr-89": 282240.0,
    "I-124": 360806.4,
}
"""s, as dynamicpet and PETPAL take them from Turku PET Centre (Lederer 1967)."""


def nuclide_half_life(name: str) -> float | None:
    """Half-life of ``C11``, ``11C``, ``[11C]``, ``F-18`` and the like, s; None where unknown."""
    match = re.fullmatch(r"\W*(\d*)\W*([A-Za-z]{1,2})\W*(\d*)\W*", name.strip())
    if match is None:
        return None
    before, element, after = match.groups()
    return HALF_LIVES.get(f"{element.capitalize()}-{before or after}")


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
