"""Warm starts from earlier searches and from files: what is tried first, and what is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.registry.tracking.trials import RecordedTrial
from dtsinn.search.objective import read_objectives
from dtsinn.workflows.warm_start import BEST, _is_same, read_warm_start
from tests.search.conftest import SPACE

ELSEWHERE: Any = SimpleNamespace(header=SimpleNamespace(digest="of another store"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def earlier(make_plan, sit, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """A search with trials of all kinds; their suggestions by name."""
    hand = sit(make_plan(name="earlier", trials=9), within=workspace.searches, concurrent=8)
    for psnr in (25.0, 30.0, 28.0, 26.0):
        hand.whole(psnr)
    pruned, spoiled, late, running, _ = (hand.start() for _ in range(5))
    hand.report(pruned, 10, 29.0)
    hand.end(pruned)
    hand.tell(spoiled, reason="no memory")
    hand.end(spoiled)
    hand.report(late, 80, 50.0)
    hand.tell(late, reason="loss is nan at step 84")
    hand.end(late)
    hand.report(running, 10, 40.0)
    return {name: trial.suggestion for name, trial in hand.driver.search.trials.items()}


def test_a_search_on_the_same_store_teaches_all_its_results(
    earlier, make_plan, small_store: Store, workspace: Workspace
) -> None:
    points, known = read_warm_start(["earlier"], make_plan(), small_store, workspace)
    assert points == []
    assert [(one["from"], one["step"], one["values"], one["finished"]) for one in known] == [
        ("earlier/trial-000", 90, [25.0], True),
        ("earlier/trial-001", 90, [30.0], True),
        ("earlier/trial-002", 90, [28.0], True),
        ("earlier/trial-003", 90, [26.0], True),
        ("earlier/trial-004", 10, [29.0], False),
    ]
    assert [one["suggestion"] for one in known] == list(earlier.values())[:5]


def test_what_is_known_is_not_tried_again_and_is_known_to_the_next_driver(
    earlier, make_plan, sit, small_store: Store, workspace: Workspace
) -> None:
    plan = make_plan()
    _, known = read_warm_start(["earlier"], plan, small_store, workspace)
    for hand in (sit(plan, warm=known), sit(plan)):
        states = [trial.state for trial in hand.driver.tools.study.study.trials]
        assert states[:5] == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]
    trial = hand.driver.search.trials[hand.start()]
    assert trial.source == "sampler", "the base configuration was the earlier search's first"
    assert trial.suggestion not in earlier.values()


@pytest.mark.parametrize("other", ["store", "steps", "objectives"])
def test_of_a_search_that_cannot_be_compared_the_best_are_tried_first(
    earlier, make_plan, small_store: Store, workspace: Workspace, other: str
) -> None:
    plan = make_plan(
        SPACE.replace("steps: 90", "steps: 60") if other == "steps" else SPACE,
        objectives=read_objectives(
            "psnr:max,step_seconds:min" if other == "objectives" else "psnr:max"
        ),
    )
    store = ELSEWHERE if other == "store" else small_store
    points, known = read_warm_start(["earlier"], plan, store, workspace)
    assert known == []
    wanted = ["trial-001", "trial-004", "trial-002"]
    assert len(wanted) == BEST
    assert points == [earlier[name] for name in wanted]


def test_only_what_this_space_holds_is_taken(
    earlier, make_plan, small_store: Store, workspace: Workspace
) -> None:
    narrow = SPACE.replace("choice: [1, 2]", "choice: [1]")
    _, known = read_warm_start(["earlier"], make_plan(narrow), small_store, workspace)
    ones = [name for name, own in list(earlier.items())[:5] if own["model.blocks"] == 1]
    assert [one["from"] for one in known] == [f"earlier/{name}" for name in ones]
    outside = "{fixed: {steps: 90}, parameters: {model.blocks: {choice: [4, 5]}}}"
    with pytest.raises(InputError, match="--warm-start earlier; got no trial that this space"):
        read_warm_start(["earlier"], make_plan(outside), small_store, workspace)


def test_results_of_other_configurations_are_none_of_this_space(
    earlier, make_plan, small_store: Store, workspace: Workspace
) -> None:
    """What this space holds fixed, the earlier one moved: such trials are only points to try."""
    own = list(earlier.values())[2]
    rate = own["optimizer.learning_rate"]
    fixed = f"""
fixed: {{steps: 90, validate_every: 10, model.width: 4, optimizer.learning_rate: {rate!r}}}
parameters: {{model.blocks: {{choice: [1, 2]}}}}
"""
    points, known = read_warm_start(["earlier"], make_plan(fixed), small_store, workspace)
    assert [(one["from"], one["values"]) for one in known] == [("earlier/trial-002", [28.0])]
    assert known[0]["suggestion"] == {"model.blocks": own["model.blocks"]}
    assert points == [{"model.blocks": 3 - own["model.blocks"]}], "each once"


def test_a_setting_that_is_no_parameter_of_either_space_must_be_the_same(
    earlier, make_plan, small_store: Store, workspace: Workspace
) -> None:
    wider = make_plan(SPACE.replace("model.width: 4", "model.width: 8"))
    points, known = read_warm_start(["earlier"], wider, small_store, workspace)
    assert (points, known) == ([earlier[f"trial-{number:03d}"] for number in (1, 4, 2)], [])


def test_points_of_a_file_are_tried(
    make_plan, small_store: Store, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "points.yaml"
    path.write_text("points: [{model.blocks: 2}, {optimizer.learning_rate: 0.002}]")
    points, known = read_warm_start([str(path)], make_plan(), small_store, workspace)
    assert (points, known) == ([{"model.blocks": 2}, {"optimizer.learning_rate": 0.002}], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("points: [{model.blocks: 7}]", "model.blocks; got 7; wanted 1, 2"),
        ("points: [{model.width: 8}]", "got model.width; wanted one of model.blocks"),
        ("points: {model.blocks: 1}", "holds no points; wanted points: ["),
        ("points: [1]", "holds no points"),
        ("other: 1", "holds no points"),
    ],
)
def test_points_that_are_none_of_this_space_are_one_clear_line(
    make_plan, small_store: Store, workspace: Workspace, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "points.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_warm_start([str(path)], make_plan(), small_store, workspace)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "../up", "none.yaml"])
def test_an_unknown_name_is_one_clear_line_and_makes_nothing(
    make_plan, small_store: Store, workspace: Workspace, name: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_warm_start([name], make_plan(), small_store, workspace)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not workspace.root.exists()


def test_several_warm_starts_are_put_together(
    earlier, make_plan, small_store: Store, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "points.yaml"
    path.write_text("points: [{model.blocks: 2}]")
    points, known = read_warm_start([str(path), "earlier"], make_plan(), small_store, workspace)
    assert (len(points), len(known)) == (1, 5)


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"optimizer.beta2": 0.5}, False), ({"optimizer.gone": 1}, False)],
)
def test_a_setting_that_an_older_trial_does_not_name_had_its_default(
    make_plan, change: dict[str, Any], same: bool
) -> None:
    plan, point = make_plan(), {"model.blocks": 1, "optimizer.learning_rate": 2e-3}
    settings = plan.space.settings(point)
    del settings["optimizer.beta2"]
    ran = RecordedTrial(
        name="trial-000", settings=settings | change, metrics={}, step=90, finished=True
    )
    assert _is_same(ran, point, plan) == same
