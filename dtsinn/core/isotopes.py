"""Half-lives of the isotopes that tracers are labelled with, and what decays during a frame."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt

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
    "Tc-94m": 3120.0,
}
"""s, as dynamicpet and PETPAL take them from Turku PET Centre (Lederer 1967); Tc-94m uncited."""
HALF_LIFE_SHARE = 0.02
"""Part by which a stated half-life may differ from that of its isotope (uncited)."""
ELEMENTS = {
    "carbon": "C",
    "nitrogen": "N",
    "oxygen": "O",
    "fluorine": "F",
    "fluor": "F",
    "copper": "Cu",
    "gallium": "Ga",
    "bromine": "Br",
    "rubidium": "Rb",
    "zirconium": "Zr",
    "iodine": "I",
    "technetium": "Tc",
}
"""Symbols by name: DICOM writes ``^18^Fluorine``."""


def isotope_half_life(name: str) -> float | None:
    """Half-life of ``C11``, ``[11C]``, ``F-18``, ``^18^Fluorine``, ``Fluorine F^18^``, s.

    Returns:
        None where the isotope is unknown, or the name says anything else beside it.
    """
    masses = set(re.findall(r"[0-9]+m?", name))
    words = set(re.findall(r"[A-Za-z]+", re.sub(r"[0-9]+m?", " ", name)))
    symbols = {ELEMENTS.get(word.lower(), word.capitalize()) for word in words}
    if len(masses) != 1 or len(symbols) != 1:
        return None
    return HALF_LIVES.get(f"{symbols.pop()}-{masses.pop()}")


def is_same_nuclide(half_life: float, other: float) -> bool:
    """Whether two half-lives, s, are within 2 % of each other: measured and rounded ones differ."""
    return abs(half_life / other - 1) <= HALF_LIFE_SHARE


def isotope_of(half_life: float) -> str | None:
    """The isotope of the table whose half-life, s, this is within 2 %; None where there is none."""
    for name, known in HALF_LIVES.items():
        if is_same_nuclide(half_life, known):
            return name
    return None


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
