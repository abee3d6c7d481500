"""The quality benchmark end to end at a tiny size, its resumption, and the laws it rests on."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import published
from benchmarks.quality import comparison, method
from benchmarks.quality.comparison import BOOK, Budget, SetResults, code_digest, measure
from benchmarks.quality.data import REQUEST, SPLITS, data_sets, with_few, without_test
from benchmarks.quality.method import (
    FACTORS,
    LEARNING_RATE,
    WIDTH,
    Plan,
    Speed,
    plan,
    suggest,
    width_of,
)
from benchmarks.quality.methods import OURS, RECIPE, RIVALS, all_methods
from benchmarks.quality.recipe import RecipeMethod
from benchmarks.quality.scores import STATISTICS, crosstalk, kinetic
from benchmarks.quality.tables import NAME, report
from benchmarks.report import write
from benchmarks.workers import Book
from dtsinn.core.errors import RunError
from dtsinn.data.body import truth_of
from dtsinn.data.splits import assign_splits
from dtsinn.data.store import Store
from dtsinn.evaluation.score import halve
from dtsinn.kinetics.agreement import agreement, headline

TINY = replace(REQUEST, subjects=12, slices=1, size=16)
SHARES = {"train": 8 / 12, "val": 2 / 12, "test": 2 / 12}
METHODS = ("residual-cnn", OURS)
SMALL = replace(published.ARCHITECTURE, blocks=2, width=4)
SPACE = {"learning_rate": LEARNING_RATE, "width": WIDTH}


@dataclass
class Measured:
    """A finished measurement."""

    work: Path
    standings: list[SetResults]
    said: list[str]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.book.read_text(encoding="utf-8").splitlines()]

    @property
    def book(self) -> Path:
        return self.work / BOOK


def run(work: Path) -> Measured:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "ROUNDS", 1)
        standings = measure(
            {name: all_methods()[name] for name in METHODS},
            [data_sets(TINY, SHARES)["image"]],
            Budget(seconds=0.5, trials=2, seeds=1),
            work=work,
            workers=1,
            say=said.append,
        )
    return Measured(work=work, standings=standings, said=said)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    return run(tmp_path_factory.mktemp("quality"))


def test_it_writes_tables_charts_and_numbers(finished: Measured, tmp_path: Path) -> None:
    write(report(finished.standings, Budget(seconds=1, trials=2, seeds=1)), tmp_path)
    page = (tmp_path / f"{NAME}.md").read_text(encoding="utf-8")
    for name in METHODS:
        assert all_methods()[name].title in page
    assert "nan" not in page
    assert (tmp_path / f"{NAME}-image.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads((tmp_path / f"{NAME}.json").read_text(encoding="utf-8"))
    found = content["data"]["sets"]["image"]["methods"][OURS]
    assert len(found["trials"]) == 2
    assert found["cost"]["step_flop"] > 2 * found["cost"]["forward_flop"] > 0
    assert found["finals"][0]["round_trip_error"] < 1e-5


def test_test_subjects_are_scored_only_for_results_that_are_kept(finished: Measured) -> None:
    jobs = [line for line in finished.lines if line["job"]["task"] != "speed"]
    tasks = {line["job"]["task"] for line in jobs}
    assert tasks == {"trial", "final", "few", "unseen"}
    assert len({line["key"] for line in jobs}) == len(jobs)
    for line in jobs:
        assert ("test" in line["result"]) == (line["job"]["task"] != "trial")
        scored = [one["subject"] for one in line["result"].get("test", [])]
        assert len(set(scored)) == len(scored)


def test_the_best_trial_on_val_is_what_is_trained_again(finished: Measured) -> None:
    for entry in finished.standings[0].entries.values():
        best = max(entry.trials, key=lambda done: done[1]["val_psnr"])[0]
        (final, _), *_ = entry.finals
        assert final.settings == best.settings
        assert final.seed != best.seed


def test_a_killed_run_goes_on_where_it_stopped(finished: Measured, tmp_path: Path) -> None:
    work = tmp_path / "killed"
    shutil.copytree(finished.work, work)
    lines = finished.book.read_bytes().splitlines(keepends=True)
    (work / BOOK).write_bytes(b"".join(lines[:-1]) + lines[-1][:-20])
    again = run(work)
    done = [text for text in again.said if text.startswith("[")]
    assert len(done) == 1
    assert done[0].startswith("[1/1]")
    assert [line["key"] for line in again.lines] == [line["key"] for line in finished.lines]
    first, second = again.lines[-1]["result"], finished.lines[-1]["result"]
    assert first["test"] == second["test"]
    assert not [text for text in run(work).said if text.startswith("[")]


def test_a_book_refuses_damage_that_no_kill_explains(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.jsonl")
    book.record("a", {}, {"n": 1})
    book.record("b", {}, {"n": 2})
    assert Book(book.path).results == {"a": {"n": 1}, "b": {"n": 2}}
    text = book.path.read_text(encoding="utf-8")
    book.path.write_text(text.replace('"key": "a"', '"key: "a"'), encoding="utf-8")
    with pytest.raises(RunError, match="line 1"):
        Book(book.path)


def test_every_network_is_searched_in_the_same_space() -> None:
    methods = all_methods()
    for name in (*RIVALS, OURS):
        assert methods[name].space == SPACE
        default = methods[name].settings({})["model"]["width"]
        widths = [width_of(default, place) for place in range(len(FACTORS))]
        tried = [methods[name].settings({"width": place})["model"]["width"] for place in range(4)]
        assert tried == widths == sorted(set(widths))
    assert set(methods["published-exact"].space) == {"learning_rate"}
    assert methods[RECIPE].space == {}


def test_a_suggestion_depends_on_what_was_before_alone() -> None:
    past: list[tuple[dict[str, float], float | None]] = []
    for number in range(6):
        drawn = suggest(SPACE, past, number)
        assert drawn == suggest(SPACE, past, number)
        assert LEARNING_RATE.low <= drawn["learning_rate"] <= LEARNING_RATE.high
        past.append((drawn, None if number == 2 else float(number)))
    assert len({drawn["learning_rate"] for drawn, _ in past}) == 6
    assert suggest(SPACE, [], 3) == past[3][0]  # the first ones look at no result


def test_a_plan_fills_its_budget() -> None:
    filled = plan(Speed(step=0.05, validation=0.5), 30)
    assert filled.validations == 3
    assert filled.steps * 0.05 + 2 * 0.5 == pytest.approx(30, abs=0.05)
    assert plan(Speed(step=1.0, validation=8.0), 30) == Plan(steps=30, validations=1)


def test_there_are_enough_test_subjects() -> None:
    splits = assign_splits(REQUEST.subjects, SPLITS)
    assert [splits.count(name) for name in ("train", "val", "test")] == [80, 12, 28]


def test_views_hide_and_change_nothing_else(small_store: Store) -> None:
    before = small_store.split_counts()
    view = without_test(with_few(small_store, "train", 3))
    assert view.split_counts() == before | {"train": 3, "test": 0}
    assert small_store.split_counts() == before


def test_crosstalk_is_the_part_of_the_other_tracer(small_store: Store) -> None:
    protocol = small_store.header.protocol
    samples = next(small_store.subjects("val"))
    truth = truth_of(samples).astype(np.float64)
    swapped = truth[:, ::-1]
    assert crosstalk(samples, 0.7 * truth + 0.1, protocol) == pytest.approx((0, 0), abs=1e-6)
    assert crosstalk(samples, truth + 0.2 * swapped, protocol) == pytest.approx((20, 20))
    mixed = replace(samples, mixture_NTYX=truth.sum(axis=1).astype(np.float32))
    halved = crosstalk(samples, halve(mixed.mixture_NTYX), protocol)
    assert halved == pytest.approx((50, 50), abs=1e-3)


def test_the_published_network_has_the_published_size_and_no_inverse() -> None:
    network = published.PublishedNetwork(18)
    assert sum(p.numel() for p in network.parameters()) == 2_416_944
    mixture = torch.rand(1, 18, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        again = network.inverse(network(mixture))
    assert (again - mixture).norm() / mixture.norm() > 10


def test_without_its_skips_the_published_network_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "SKIPS_OVER", 0)
    network = published.PublishedNetwork(6, config=SMALL).double()
    mixture = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        again = network.inverse(network(mixture))
    assert (again - mixture).norm() / mixture.norm() < 1e-9


def test_the_published_recipe_is_trained_and_cannot_return(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "ARCHITECTURE", SMALL)
    method = all_methods()[RECIPE]
    assert isinstance(method, RecipeMethod)
    settings = method.settings({})
    fitted = method.fit(small_store, settings, Plan(steps=3, validations=1), seed=0)
    assert fitted.val_psnr is not None
    assert fitted.round_trip_error is not None
    assert fitted.round_trip_error > 0.1
    assert next(method.rounds(small_store, settings)).steps > 0


def test_spectral_analysis_and_halving_need_no_training(small_store: Store) -> None:
    none = Plan(steps=0, validations=0)
    floor = all_methods()["halving"].fit(small_store, {}, none, 0).val_psnr
    method = all_methods()["spectral"]
    drawn = suggest(method.space, [], 0)
    found = method.fit(without_test(small_store), method.settings(drawn), none, 0).val_psnr
    assert floor is not None
    assert found is not None
    assert np.isfinite(found)


def test_other_code_makes_other_jobs_only_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = all_methods()
    before = {name: code_digest.__wrapped__(method.modules) for name, method in methods.items()}
    read = comparison._source

    def edited(name: str) -> bytes:
        return read(name) + (b"# edited" if name == "dtsinn.networks.mixing" else b"")

    monkeypatch.setattr(comparison, "_source", edited)
    after = {name: code_digest.__wrapped__(method.modules) for name, method in methods.items()}
    changed = {name for name in methods if after[name] != before[name]}
    assert changed == {OURS, RECIPE, "published-exact"}


def test_kinetic_numbers_are_those_of_an_evaluation() -> None:
    ratios = [
        {"fmz": {"frontal": 1 + 0.1 * s, "caudate": 0.9 - 0.05 * s}, "fdg": {"frontal": 1.02}}
        for s in range(5)
    ]
    ratios.append({"fmz": {"frontal": 0.9}, "fdg": {"frontal": 1.04}})  # lacks a region
    ratios[0]["fdg"]["hippocampus"] = 3.0  # of one subject
    found = {
        tracer: agreement(
            "V_T",
            {str(s): {q: (r, 1.0) for q, r in one[tracer].items()} for s, one in enumerate(ratios)},
        )
        for tracer in ("fmz", "fdg")
    }
    wanted = headline([one for one in found.values() if one is not None])
    assert wanted["worst_error"] < 100
    runs = [(None, {"test": [{"readouts": one} for one in ratios]})]
    for statistic in STATISTICS:
        got = kinetic(runs, statistic)
        assert got is not None
        assert got.mean == pytest.approx(wanted[statistic])
        assert kinetic(runs, statistic, runs) == (0, 0, 0, len(ratios))
