"""Objectives: how they are read, and what a Pareto front is."""

from __future__ import annotations

import math
import random

import pytest

from dtsinn.core.errors import InputError
from dtsinn.search.objective import (
    METRICS,
    PSNR,
    Objective,
    dominates,
    pareto_front,
    read_objectives,
)

BOTH = read_objectives("psnr:max,step_seconds:min")


def test_objectives_are_read_and_said_again() -> None:
    assert read_objectives("psnr:max") == PSNR
    assert [(one.metric, one.maximise) for one in BOTH] == [("psnr", True), ("step_seconds", False)]
    assert read_objectives(" psnr:max , parameters:min")[1].metric == "parameters"
    text = ",".join(map(str, BOTH))
    assert read_objectives(text) == BOTH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("psnr", "--objective; got 'psnr'; wanted METRIC:max or METRIC:min"),
        ("psnr:up", "wanted METRIC:max or METRIC:min"),
        ("", "wanted METRIC:max"),
        ("psnr:max,", "wanted METRIC:max"),
        ("beauty:max", "no such objective; got 'beauty'; wanted conservation"),
        ("psnr:max,psnr:min", "names a metric twice"),
    ],
)
def test_what_is_no_objective_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_objectives(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("metric", METRICS)
def test_a_value_is_the_metric_in_a_report_and_nan_without_one(metric: str) -> None:
    objective = Objective(metric=metric, maximise=True)
    assert objective.value({METRICS[metric]: 3}) == 3.0
    assert math.isnan(objective.value({}))


def test_who_is_as_good_everywhere_and_better_somewhere_dominates() -> None:
    assert dominates([30, 0.5], [29, 0.5], BOTH)
    assert dominates([30, 0.4], [30, 0.5], BOTH)
    assert not dominates([30, 0.5], [30, 0.5], BOTH)
    assert not dominates([31, 0.6], [30, 0.5], BOTH)


def test_a_front_is_nobody_s_better() -> None:
    values = {"a": [30, 0.5], "b": [29, 0.4], "c": [29, 0.6], "d": [30, 0.5], "e": [28, 0.1]}
    assert pareto_front(values, BOTH) == ["a", "b", "d", "e"]
    assert pareto_front({}, BOTH) == []


def test_laws_of_a_front() -> None:
    draw = random.Random(0)
    for _ in range(50):
        values = {str(i): [draw.randint(0, 5), draw.randint(0, 5)] for i in range(12)}
        front = pareto_front(values, BOTH)
        assert front
        for name, own in values.items():
            beaten = any(dominates(values[other], own, BOTH) for other in front)
            assert beaten != (name in front)
        best = max(values.values(), key=lambda own: own[0])[0]
        assert any(values[name][0] == best for name in front)


def test_every_objective_has_words_and_a_unit() -> None:
    labels = [Objective(metric=metric, maximise=True).label for metric in METRICS]
    assert all(labels)
    assert len(set(labels)) == len(METRICS)
    psnr, seconds = BOTH
    assert (psnr.label, psnr.text(31.4159)) == ("validation PSNR, dB", "31.42 dB")
    assert (seconds.title, seconds.text(0.0123456)) == ("time of a step", "0.01235 s")
    assert Objective(metric="parameters", maximise=False).text(1234.0) == "1234"
