"""The limit of few calibration subjects: by the share of new ones that are outside."""

from __future__ import annotations

import numpy as np

from dtsinn.separation.population import FEWEST_SUBJECTS, Features, fit_population

FEATURES = {"activity": 2, "curves": 24}
NEW = 100


def draw(rng: np.random.Generator, mixing: dict[str, np.ndarray], count: int) -> list[Features]:
    """Subjects with factors in common, of which some are far out."""
    found = []
    for _ in range(count):
        factor = rng.standard_t(6, 3)
        found.append(
            Features(
                shares={"conservation": abs(float(rng.normal(factor[0])))},
                shapes={
                    name: own @ factor + rng.normal(0, 0.5, len(own))
                    for name, own in mixing.items()
                },
            )
        )
    return found


def test_of_the_fewest_subjects_at_most_one_in_twenty_new_ones_is_outside() -> None:
    """1 of 21 by theory; the halves had 1 of 11. The mean of 30 has an error of 1 %."""
    rng = np.random.default_rng(0)
    mixing = {name: rng.normal(size=(count, 3)) for name, count in FEATURES.items()}
    outside = []
    for _ in range(30):
        known = fit_population(draw(rng, mixing, FEWEST_SUBJECTS))
        assert len(known.extremities) == FEWEST_SUBJECTS
        new = draw(rng, mixing, NEW)
        outside += [known.most_extreme(one) > known.extremity for one in new]
    assert 0.02 < np.mean(outside) < 0.07


def test_many_subjects_are_halved_and_keep_the_exact_law() -> None:
    rng = np.random.default_rng(1)
    mixing = {name: rng.normal(size=(count, 3)) for name, count in FEATURES.items()}
    subjects = draw(rng, mixing, 80)
    known = fit_population(subjects)
    assert len(known.extremities) == 40
    assert sorted(known.most_extreme(one) for one in subjects[40:]) == list(known.extremities)
