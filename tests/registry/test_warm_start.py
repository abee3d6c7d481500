"""Warm starts from what only MLflow knows: registered models, and searches without an event log."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import Point
from dtsinn.registry.registration import register
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space
from dtsinn.workflows.warm_start import read_warm_start

SPACE = """
fixed: {steps: 90}
parameters:
  model.blocks: {choice: [1, 2]}
  model.width: {int: [4, 16], step: 4}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""
SETTINGS = {"model.blocks": 2, "model.width": 8, "optimizer.learning_rate": 0.002}


@pytest.fixture
def plan(tmp_path: Path) -> SearchPlan:
    path = tmp_path / "mine.yaml"
    path.write_text(SPACE)
    return SearchPlan(name="next", store="s.zarr", space=load_space(str(path)))


def test_the_settings_of_a_registered_model_are_tried(
    plan, tracker, begin, workspace, packages, store
) -> None:
    begin("search/a", parameters=SETTINGS | {"model.blocks": 1, "optimizer.beta2": 0.99})
    version = register(tracker, packages.weak, run_key="search/a")
    points, known = read_warm_start([version.ref], plan, store, workspace)
    assert known == []
    assert points == [SETTINGS | {"model.blocks": 1}]


def test_of_a_package_the_model_is_tried_and_what_is_out_of_range_is_left_out(
    plan, workspace, packages, store, tmp_path: Path
) -> None:
    points, _ = read_warm_start([str(packages.weak)], plan, store, workspace)
    assert points == [{"model.blocks": 1, "model.width": 8}]
    path = tmp_path / "mine.yaml"
    path.write_text("{parameters: {model.width: {int: [32, 64]}}}")
    other = SearchPlan(name="next", store="s.zarr", space=load_space(str(path)))
    with pytest.raises(InputError, match="got no setting that this space searches"):
        read_warm_start([str(packages.weak)], other, store, workspace)


def record_search(tracker, begin, plan: SearchPlan, digest: str) -> None:
    begin(
        "old", kind="search", tags={"store.digest": digest}, parameters={"objectives": "psnr:max"}
    )
    ends = [
        ("finished", 90, 30.0),
        ("pruned", 30, 31.0),
        ("failed", 30, 20.0),
        ("killed", 30, 40.0),
        ("pruned", 80, 50.0, "spoiled"),
    ]
    begin("old/floor", kind="floor", parent="old", parameters=plan.space.settings(SETTINGS))
    tracker.report("old/floor", [Point(step=1, metrics={"best_psnr": 60.0}, time_ms=2_000)])
    tracker.end("old/floor", "finished", 3_000)
    for number, (status, step, psnr, *marks) in enumerate(ends):
        key = f"old/trial-{number:03d}"
        settings = plan.space.settings(SETTINGS | {"model.width": 4 * (1 + number % 4)})
        begin(key, name=key[4:], kind="trial", parent="old", parameters=settings)
        tracker.report(key, [Point(step=step, metrics={"best_psnr": psnr}, time_ms=2_000)])
        tracker.end(key, status, 3_000, dict.fromkeys(marks, "yes"))


def test_a_search_that_only_mlflow_knows_teaches_its_results(
    plan, tracker, begin, workspace, store
) -> None:
    record_search(tracker, begin, plan, store.header.digest)
    points, known = read_warm_start(["old"], plan, store, workspace)
    assert points == []
    assert [(one["from"], one["step"], one["values"], one["finished"]) for one in known] == [
        ("old/trial-000", 90, [30.0], True),
        ("old/trial-001", 30, [31.0], False),
    ]
    assert [one["suggestion"]["model.width"] for one in known] == [4, 8]


def test_of_one_on_another_store_the_best_are_tried(plan, tracker, begin, workspace, store) -> None:
    record_search(tracker, begin, plan, "another")
    points, known = read_warm_start(["old"], plan, store, workspace)
    assert known == []
    assert [point["model.width"] for point in points] == [8, 4]


def test_a_run_that_is_no_search_and_no_model_is_one_clear_line(
    plan, begin, workspace, store
) -> None:
    begin("lonely")
    with pytest.raises(InputError, match="--warm-start lonely is neither a search nor a model"):
        read_warm_start(["lonely"], plan, store, workspace)
