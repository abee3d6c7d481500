"""Random generators from named seeds: every draw can be repeated, none shares a global state."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_words(*path: int | str) -> list[int]:
    """Entropy words for a named place in an experiment, such as ``(seed, "subject", 3)``.

    Integers stand for themselves, strings for 64 bits of their SHA-256, so that adding a new
    name moves no other draw.
    """
    words = []
    for part in path:
        if isinstance(part, str):
            part = int.from_bytes(hashlib.sha256(part.encode()).digest()[:8], "little")
        words.append(part)
    return words


def generator(*path: int | str) -> np.random.Generator:
    """A numpy generator for a named place, independent of all other places."""
    return np.random.default_rng(np.random.SeedSequence(seed_words(*path)))
