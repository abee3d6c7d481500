"""Splits: which subjects train, steer, decide promotions, or test."""

from __future__ import annotations

from collections.abc import Mapping

from dtsinn.core.errors import InputError
from dtsinn.data.layout import SPLITS

SPLIT_SHARES = {"train": 0.55, "val": 0.1, "gate": 0.2, "test": 0.15}
"""Shares of the subjects; the gate needs more subjects than a mean does (uncited)."""
LEAST_SUBJECTS = {
    "train": (1, "to train on"),
    "val": (1, "by which trainings and searches steer"),
    "gate": (12, "to decide a promotion"),
    "test": (1, "to report on"),
}
"""How many subjects a split needs, and for what; the gate's are ``min_subjects`` of its default
configuration."""


def assign_splits(subjects: int, shares: Mapping[str, float]) -> list[str]:
    """The split of each subject, by its number: whichever lacks most of its share so far.

    A subject's split does not depend on how many follow, so that the same subject never trains
    in one study and tests in a longer one.

    Raises:
        InputError: An unknown split, or shares that do not sum to 1.
    """
    unknown = set(shares) - set(SPLITS)
    if unknown or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise InputError(
            "split shares", got=dict(shares), wanted=f"shares of {', '.join(SPLITS)} that sum to 1"
        )
    counts = dict.fromkeys(SPLITS, 0)
    splits = []
    for subject in range(subjects):
        lacking = {s: shares.get(s, 0.0) * (subject + 1) - counts[s] for s in SPLITS}
        split = max(SPLITS, key=lambda s: round(lacking[s], 9))
        counts[split] += 1
        splits.append(split)
    return splits
