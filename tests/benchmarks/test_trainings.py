"""Benchmarks of kept trainings end to end at a tiny size, and their resumption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import budgets, claims, objective
from benchmarks.objective import Trial, by_psnr, from_front, under_bound
from benchmarks.quality import method
from benchmarks.quality.data import REQUEST, data_sets
from benchmarks.quality.methods import LINEAR, OURS
from benchmarks.report import Result, Say
from benchmarks.workers import Book
from dtsinn.evaluation.suite import Combination, Suite
from tests.benchmarks.test_benchmarks import check_written, silent

TINY = replace(REQUEST, subjects=12, slices=1, size=32)
SETS = data_sets(TINY, {"train": 5 / 12, "val": 2 / 12, "test": 5 / 12})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method, "ROUNDS", 1)


SUITE = Suite(
    name="tiny",
    description="its own pair at two levels of noise",
    phantom="own",
    population="varied",
    subjects=5,
    slices=1,
    size=32,
    noise=("low", "high"),
    combinations=(Combination(),),
)


def test_budgets(tmp_path: Path) -> None:
    def measure(say: Say) -> Result:
        wanted, networks = {0.2: 2, 0.4: 1}, (OURS,)
        return budgets.measure(SETS["image"], wanted, [SUITE], networks, work=tmp_path, say=say)

    result = measure(silent)
    check_written(result, tmp_path / "out")
    rows = {(row["method"], row["seconds"]): row["runs"] for row in result.data["rows"]}
    assert [len(rows[OURS, seconds]) for seconds in (0.2, 0.4)] == [2, 1]
    assert rows[OURS, 0.4][0]["steps"] > rows[OURS, 0.2][0]["steps"]
    assert len(list((tmp_path / "weights").iterdir())) == 5  # with those of the closed forms
    low, high = result.data["suites"]["tiny"].values()
    assert [row["method"] for row in low] == [LINEAR, "spectral", "cascade", OURS, OURS]
    assert high[0]["psnr"]["mean"] < low[0]["psnr"]["mean"]
    again: list[str] = []
    same = measure(again.append)
    assert not [text for text in again if text.startswith("[")]
    assert same.data == result.data


def test_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "SEARCHES", 20)
    monkeypatch.setattr(objective, "TRIALS", 2)
    result = objective.measure({"image": SETS["image"]}, 3, 0.2, work=tmp_path, say=silent)
    check_written(result, tmp_path / "out")
    assert len(result.data["image"]["trials"]) == 3
    assert set(result.data["image"]["champions"]) == set(objective.RULES)


def test_rules_pick_what_they_say() -> None:
    best, near, far = (
        Trial(psnr=psnr, bias=bias, test_psnr=psnr, test_error=bias, test_bias=bias)
        for psnr, bias in ((33.0, 9.0), (32.9, 6.0), (32.0, 3.0))
    )
    trials = [far, best, near]
    assert by_psnr(trials) == best
    assert under_bound(7.0)(trials) == near
    assert under_bound(5.0)(trials) == far
    assert under_bound(1.0)(trials) is None
    assert from_front(trials) == near


def test_claims(tmp_path: Path) -> None:
    base = replace(claims.BASE, subjects=8, slices=3, size=32)
    axes = {"noise": [{"noise": "mid"}, {"noise": "high"}], "phantom": [{"phantom": "brain"}]}
    shares = {"train": 2 / 8, "val": 1 / 8, "test": 5 / 8}
    result = claims.measure(base, axes, 0.2, work=tmp_path, splits=shares, say=silent)
    check_written(result, tmp_path / "out")
    mid, high, brain = result.data["settings"]
    assert mid["methods"] == brain["methods"]  # one setting, trained once
    assert len(Book(tmp_path / claims.BOOK).results) == 2 * 3 + 2  # trainings and speeds
    for one in (mid, high):
        linear = one["methods"]["linear"]
        assert linear["mse"]["mean"] > 0
        assert linear["kinetic_error"]["low"] < linear["kinetic_error"]["high"]
