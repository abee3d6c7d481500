"""Agreement of answers with truth: definitions by hand, statistics by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress

from dtsinn.core.seeds import generator
from dtsinn.kinetics.agreement import agreement, headline, icc31

SUBJECTS = {
    "s0": {"caudate": (11.0, 10.0), "putamen": (9.0, 10.0)},
    "s1": {"caudate": (24.0, 20.0), "putamen": (22.0, 20.0)},
    "s2": {"caudate": (10.0, 10.0), "putamen": (10.0, 10.0)},
}


def test_error_bias_and_worst_are_as_they_are_defined() -> None:
    found = agreement("V_T", SUBJECTS, left_out=1)
    assert found is not None
    assert found.error == pytest.approx((10 + 20 / 3) / 2)  # caudate 10, 20, 0; putamen 10, 10, 0
    assert found.bias == pytest.approx((10 + 0) / 2)  # putamen -10 and +10 cancel
    assert (found.worst_error, found.worst_bias) == pytest.approx((10.0, 10.0))
    assert found.worst_bias_region == "caudate"
    assert (found.worst_subject, found.worst_subject_region) == ("s1", "caudate")
    assert found.worst_subject_error == pytest.approx(20.0)
    assert found.sd == pytest.approx(10.0)
    assert (found.subjects, found.left_out, found.icc) == (3, 1, None)
    assert found.regions["putamen"].n == 3


@pytest.mark.parametrize(
    ("subjects", "having", "counts"), [(8, 4, False), (8, 5, True), (3, 2, False), (3, 3, True)]
)
def test_a_region_of_few_subjects_is_left_out_and_counted(subjects, having, counts) -> None:
    values = {f"s{s}": {"caudate": (1.1, 1.0)} for s in range(subjects)}
    for s in range(having):
        values[f"s{s}"]["lesion"] = (2.0, 1.0)
    found = agreement("V_T", values, left_out=1)
    assert found is not None
    assert found.worst_bias_region == ("lesion" if counts else "caudate")
    assert found.worst_error == pytest.approx(100 if counts else 10)
    assert found.bias == pytest.approx(55 if counts else 10)
    assert found.worst_subject_error == pytest.approx(100 if counts else 10)
    assert found.rare == (() if counts else ("lesion",))
    assert found.left_out == 1 + (0 if counts else having)
    assert ("lesion" in found.regions) == counts


def test_without_a_region_of_enough_subjects_there_is_no_agreement() -> None:
    assert agreement("V_T", {"a": {"caudate": (1, 1)}, "b": {"lesion": (1, 1)}}) is None


def test_lines_and_limits_are_those_of_the_differences() -> None:
    found = agreement("V_T", SUBJECTS)
    pairs = np.array([pair for own in SUBJECTS.values() for pair in own.values()])
    line = linregress(pairs[:, 1], pairs[:, 0])
    assert found is not None
    assert found.limits is not None
    assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept))
    differences = pairs[:, 0] - pairs[:, 1]
    assert found.difference == pytest.approx(differences.mean())
    assert found.limits[1] - found.limits[0] == pytest.approx(2 * 1.96 * differences.std(ddof=1))


def test_a_region_without_true_uptake_is_left_out_and_counted() -> None:
    found = agreement("Ki", {"s0": {"frontal": (1.0, 2.0), "white": (1.0, 0.0)}})
    assert found is not None
    assert (found.left_out, found.error, found.slope) == (1, 50.0, None)
    assert found.sd is found.limits is None
    assert agreement("Ki", {"s0": {"white": (1.0, -1.0)}}) is None
    assert agreement("Ki", {"s0": {}}) is None


def test_icc_is_that_of_the_two_way_table() -> None:
    # Shrout and Fleiss 1979, table 2: six targets, four judges; ICC(3,1) is 0.71.
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    assert icc31(np.array(table, float)) == pytest.approx(0.71, abs=0.005)
    rng = generator(1, "icc")
    truth = rng.uniform(2, 8, 20)
    subjects = {f"s{i}": {"frontal": (2 * value, value)} for i, value in enumerate(truth)}
    found = agreement("V_T", subjects)
    assert found is not None
    assert found.icc == pytest.approx(4 / 5)  # 2 cov / (var + var) of y = 2 x


def test_the_headline_is_the_mean_of_both_tracers_and_the_worst_of_all() -> None:
    one, other = agreement("V_T", SUBJECTS), agreement("Ki", {"s0": {"frontal": (1.1, 1.0)}})
    assert one is not None
    assert other is not None
    found = headline([one, other])
    assert found["kinetic_bias"] == pytest.approx((5 + 10) / 2)
    assert found["worst_bias"] == pytest.approx(10)
    assert headline([]) == {}
