"""Simulated searches on the kept tables: what holds for every method, and how they are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.efficiency.comparison import (
    JUDGED,
    METHODS,
    RANDOM,
    TRAINING,
    judge,
    steps_to,
    target_of,
)
from benchmarks.efficiency.curves import (
    FIRST,
    PROBLEMS,
    REPORTS,
    STEPS_OF_REPORT,
    CurveTable,
    load,
    save,
)
from benchmarks.efficiency.simulate import WORKERS, Trace, parameters_of, search
from dtsinn.search.sampling.halving import Halving

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SHORT = 8 * TRAINING


@pytest.fixture(scope="module", params=list(PROBLEMS))
def table(request: pytest.FixtureRequest) -> CurveTable:
    return load(request.param, RESULTS)


def searched(table: CurveTable, name: str, seed: int = 0) -> Trace:
    method = METHODS[name]
    return search(
        table,
        method.sampler(table, seed),
        method.decide,
        budget=SHORT,
        pruner=method.pruner() if method.pruner else None,
        name=f"seed {seed}",
    )


def test_tables_hold_every_point(table: CurveTable) -> None:
    points = table.problem.points
    for values in (table.curves.val_PR, table.curves.test_PR, table.curves.seconds_PR):
        assert values.shape == (len(points), REPORTS)
    seconds_PR = table.curves.seconds_PR
    assert (np.diff(seconds_PR, axis=1)[np.isfinite(seconds_PR[:, 1:])] > 0).all()
    assert [table.index(point) for point in points] == list(range(len(points)))
    diverged = np.isnan(table.curves.val_PR)
    assert (diverged == np.isnan(table.curves.test_PR)).all()
    assert (np.diff(diverged.astype(int), axis=1) >= 0).all()  # once lost, lost
    assert 0 < diverged[:, -1].mean() < 0.5


def test_tables_survive_the_disk(table: CurveTable, tmp_path: Path) -> None:
    path = save(table, tmp_path)
    assert path.read_bytes() == (RESULTS / path.name).read_bytes()
    assert path.stat().st_size < 400_000


def test_the_space_is_the_grid(table: CurveTable) -> None:
    counts = [parameter.count for parameter in parameters_of(table)]
    assert counts == [len(values) for values in table.problem.grid.values()]


@pytest.mark.parametrize("name", METHODS)
def test_searches(table: CurveTable, name: str) -> None:
    trace = searched(table, name)
    assert (np.diff(trace.steps) == STEPS_OF_REPORT).all()
    assert trace.steps[0] == STEPS_OF_REPORT
    assert trace.steps[-1] <= SHORT
    assert (np.diff(trace.val[np.isfinite(trace.val)]) >= 0).all()
    assert trace.finished <= trace.trials
    assert trace.finished * TRAINING <= SHORT
    if METHODS[name].decide is None:
        assert trace.trials <= trace.finished + WORKERS + 8  # only the diverged do not finish
    best = float(np.nanmax(table.curves.val_PR))
    assert trace.val[-1] <= best


@pytest.mark.parametrize("name", [RANDOM, JUDGED])
def test_a_seed_decides_all(table: CurveTable, name: str) -> None:
    if table.problem is not FIRST:
        return
    first, again, other = (searched(table, name, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, again.test)
    assert len(first.test) != len(other.test) or not np.array_equal(first.test, other.test)


def test_the_incumbent_is_chosen_by_val(table: CurveTable) -> None:
    trace = searched(table, RANDOM)
    curves = table.curves
    for val, test in zip(trace.val[10::40], trace.test[10::40], strict=True):
        rows, reports = np.nonzero(curves.val_PR == val)
        assert test in curves.test_PR[rows, reports]


def test_a_search_ends_at_the_target(table: CurveTable) -> None:
    sampler = METHODS[RANDOM].sampler(table, 0)
    full = searched(table, RANDOM)
    target = full.at(3 * TRAINING)
    trace = search(table, sampler, None, budget=SHORT, target=target, least=2 * TRAINING)
    reached = full.reach(target)
    assert reached is not None
    assert trace.steps[-1] == max(reached, 2 * TRAINING)


def trace_of(*test: float) -> Trace:
    steps = STEPS_OF_REPORT * np.arange(1, len(test) + 1)
    values = np.array(test)
    return Trace(steps=steps, val=values, test=values, trials=1, finished=0)


def test_speed_ups() -> None:
    slow = [trace_of(1, 1, 1, 2), trace_of(1, 1, 2, 2)]
    fast = [trace_of(2, 2), trace_of(1, 2)]
    budget = 4 * STEPS_OF_REPORT
    target = target_of(slow, budget)
    assert target == 2
    assert steps_to([trace_of(1, 1)], target, 2 * budget) == [2 * budget]
    assert slow[0].at(5) == -np.inf
    verdict = judge(
        "fast", fast, slow, target=target, budget=budget, training=STEPS_OF_REPORT, early=budget
    )
    mean, low, high = verdict.speed_up
    assert mean == pytest.approx(np.sqrt(4 / 1 * 3 / 2))
    assert low <= mean <= high
    assert verdict.steps[1] == 1.5
    assert verdict.reached == verdict.searches == 2
    assert judge(
        "slow", slow, slow, target=target, budget=budget, training=STEPS_OF_REPORT, early=budget
    ).speed_up == pytest.approx((1.0, 1.0, 1.0))


def test_the_judged_method_has_the_halving_of_the_product() -> None:
    assert JUDGED in METHODS
    assert Halving(first=10, most=TRAINING, reduction=3).levels == (10, 30, 90)
