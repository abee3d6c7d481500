"""Half-lives of the isotopes that tracers are labelled with."""

from __future__ import annotations

import re

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
HALF_LIFE_SHARE = 0.02
"""Part by which a stated half-life may differ from that of its isotope (uncited)."""


def isotope_half_life(name: str) -> float | None:
    """Half-life of ``C11``, ``11C``, ``[11C]``, ``F-18`` and the like, s; None where unknown."""
    match = re.fullmatch(r"\W*(\d*)\W*([A-Za-z]{1,2})\W*(\d*)\W*", name.strip())
    if match is None:
        return None
    before, element, after = match.groups()
    return HALF_LIVES.get(f"{element.capitalize()}-{before or after}")
