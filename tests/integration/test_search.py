"""A real search with Ray, Optuna and MLflow on a small store, and what it must leave behind."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import torch
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.package import load_package
from dtsinn.eventlog.log import EventLog
from dtsinn.registry.references import resolve
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import run_search
from dtsinn.training.config import load_run_config
from dtsinn.workflows.pipeline import search_and_promote
from tests.support.null_tracker import NullTracker

QUIET = Console(quiet=True)


def study_trials(workspace: Workspace, name: str) -> list[FrozenTrial]:
    journal = workspace.searches / name / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.fixture(scope="module")
def runs(done) -> dict[str, Run]:
    from dtsinn.registry.tracking.tracker import connect_existing

    found = connect_existing(done.workspace).search("")
    keys = {run.data.tags["dtsinn.key"]: run for run in found}
    return {key: run for key, run in keys.items() if key.split("/")[0] == "first"}


def test_one_parent_and_a_child_per_trial_all_ended(runs: dict[str, Run]) -> None:
    parent = runs["first"]
    assert parent.info.status == "FINISHED"
    children = {key: run for key, run in runs.items() if key != "first"}
    trials = [f"first/trial-{number:03d}" for number in range(5)]
    assert sorted(children) == ["first/floor", *trials]
    kinds = {key: child.data.tags["dtsinn.kind"] for key, child in children.items()}
    assert kinds == dict.fromkeys(trials, "trial") | {"first/floor": "floor"}
    for child in children.values():
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        assert child.data.tags["dtsinn.status"] in {"finished", "pruned"}


def test_each_child_can_be_traced_and_repeated(done, runs: dict[str, Run]) -> None:
    digest = open_store(done.plan.store).header.digest
    for key, run in runs.items():
        assert run.data.tags["store.digest"] == digest
        assert run.data.tags["code.version"]
        assert run.data.tags["seed"]
        if key == "first/floor":
            assert run.data.params["model.kind"] == "linear"
            assert {"val_psnr", "best_psnr", "val_conservation"} <= set(run.data.metrics)
        elif key != "first":
            assert run.data.params["model.width"] == "8"
            assert {"model.blocks", "loss.backward", "optimizer.learning_rate", "seed"} <= set(
                run.data.params
            )
            assert {"val_psnr", "round_trip_error", "loss_forward"} <= set(run.data.metrics)


def test_curves_and_pictures_are_there(done, runs: dict[str, Run]) -> None:
    from dtsinn.registry.tracking.tracker import connect_existing

    client = connect_existing(done.workspace).client
    for key, run in runs.items():
        if key in {"first", "first/floor"}:
            continue
        history = client.get_metric_history(run.info.run_id, "val_psnr")
        steps = [point.step for point in history]
        assert steps == sorted(set(steps))
        assert steps[0] == 20
        pictures = {item.path for item in client.list_artifacts(run.info.run_id, "pictures")}
        assert pictures == {"pictures/separation.png", "pictures/regional_curves.png"}
    best = client.get_metric_history(runs["first"].info.run_id, "best_psnr")
    assert [p.value for p in best] == sorted(p.value for p in best)


def test_optuna_was_told_how_each_trial_ended(done, runs: dict[str, Run]) -> None:
    trials = study_trials(done.workspace, "first")
    assert len(trials) == 5
    for trial in trials:
        assert trial.state in {TrialState.COMPLETE, TrialState.PRUNED}
        run = runs[f"first/{trial.user_attrs['name']}"]
        finished = run.data.tags["dtsinn.status"] == "finished"
        assert (trial.state == TrialState.COMPLETE) == finished
        assert trial.value == pytest.approx(run.data.metrics["best_psnr"])


def test_the_first_trial_is_the_base_configuration(done) -> None:
    first = study_trials(done.workspace, "first")[0]
    assert first.params == done.plan.space.start()
    base = flatten(to_mapping(load_run_config("invertible")))
    assert first.params == {key: base[key] for key in first.params}


def test_the_best_trial_challenges_the_linear_map(done) -> None:
    """Sixty steps are no match for it: the gate keeps a half-trained network from the place."""
    from dtsinn.deploy.separator import Separator
    from dtsinn.registry.references import resolve

    found = done.found
    floor = "dtsinn-fmz-fdg-p1/1"
    assert (found.gate.first_champion, found.gate.against) == (floor, floor)
    assert found.gate.verdict == "refused"
    assert "better" in {check.name for check in found.gate.failures}
    assert found.gate.subjects == 12
    cells = [(cell.key, cell.decides) for cell in found.gate.cells]
    assert cells == [("fmz-fdg-p1-mid", True), ("store", False)]
    best = Separator.load(resolve("best", done.workspace).path)
    assert (best.info.model.kind, best.info.lineage.run) == ("linear", found.search.floor_run)
    assert best.info.metrics["val_psnr"] > found.search.best_psnr
    model = resolve(found.version.ref, done.workspace)
    assert (model.name, model.version) == ("dtsinn-fmz-fdg-p1", 2)
    info = Separator.load(model.path).info
    assert info.lineage.search == "first"
    assert info.lineage.run == found.search.best_trial
    assert info.metrics["val_psnr"] == found.search.best_psnr
    assert found.search.undelivered == 0


def test_the_floor_is_fitted_once_and_goes_with_the_best_trial(done, runs: dict[str, Run]) -> None:
    from dtsinn.deploy.package import load_package

    result = done.found.search
    floor, info, _, _ = load_package(result.floor)
    *_, kept = load_package(done.found.package)
    assert all(
        torch.equal(kept.state_dict()[name], own) for name, own in floor.state_dict().items()
    )
    assert (info.model.kind, info.lineage.run, result.floor_run) == (
        *("linear", "first/floor"),
        "first/floor",
    )
    assert result.floor_psnr == runs["first/floor"].data.metrics["best_psnr"]
    assert result.states.keys() <= {"finished", "pruned"}
    assert sum(result.states.values()) == done.plan.trials


def test_the_ledger_tells_the_same_story_again(done, runs: dict[str, Run]) -> None:
    """Delivering every event a second time changes nothing in MLflow."""
    from dtsinn.eventlog.outbox import deliver
    from dtsinn.registry.tracking.tracker import connect_existing

    tracker = connect_existing(done.workspace)
    assert deliver(tracker, list(EventLog(done.found.search.folder / "ledger.jsonl"))) > 5
    again = {run.data.tags["dtsinn.key"]: run for run in tracker.search("")}
    assert {key for key in again if key.split("/")[0] == "first"} == runs.keys()
    for key, run in runs.items():
        assert again[key].data.metrics == run.data.metrics
        assert again[key].info.status == run.info.status
        for metric in ("val_psnr", "best_psnr"):
            points = tracker.client.get_metric_history(run.info.run_id, metric)
            assert len(points) == len({point.step for point in points})


def test_a_name_is_not_searched_twice(done) -> None:
    with pytest.raises(InputError, match="search first exists already"):
        run_search(
            done.plan,
            open_store(done.plan.store, need_truth=True),
            done.workspace,
            NullTracker,
            QUIET,
        )


@pytest.mark.slow
def test_a_time_budget_ends_a_search_in_order(make_space, small_path: Path, tmp_path: Path) -> None:
    space = make_space(
        tmp_path,
        "{base: invertible, fixed: {steps: 100000, validate_every: 5, model.width: 4},"
        " parameters: {model.blocks: {choice: [1, 2]}}}",
    )
    workspace = Workspace(tmp_path / "workspace")
    plan = SearchPlan(
        name="short",
        store=str(small_path),
        space=space,
        trials=50,
        time_budget_s=45,
        scheduler="none",
        floor=False,
    )
    result = run_search(
        plan, open_store(plan.store, need_truth=True), workspace, NullTracker, QUIET
    )
    assert not result.interrupted
    assert set(result.states) == {"pruned"}
    events = list(EventLog(workspace.searches / "short" / "ledger.jsonl"))
    ends = [event for event in events if event["event"] == "end"]
    assert {end["tags"].get("reason") for end in ends[:-1]} == {"the time budget is spent"}
    assert ends[-1]["status"] == "finished"
    states = {trial.state for trial in study_trials(workspace, "short")}
    assert TrialState.RUNNING not in states


def test_what_a_configuration_does_wrong_is_an_answer(
    make_space, small_path: Path, tmp_path: Path, begin_workspace, ray_here: None
) -> None:
    """Trials that diverge are pruned with a reason; without any result the search says why.

    The linear map is registered all the same.
    """
    space = make_space(
        tmp_path,
        "{base: invertible, fixed: {steps: 40, validate_every: 20, round_trip_limit: 1e-15},"
        " parameters: {model.blocks: {choice: [1, 2]}}}",
    )
    workspace = begin_workspace(tmp_path / "workspace")
    plan = SearchPlan(
        name="wild",
        store=str(small_path),
        space=space,
        trials=2,
        scheduler="none",
        concurrent=1,
    )
    with pytest.raises(RunError, match=r"no trial gave a result; got .*lost its inverse"):
        search_and_promote(plan, workspace, QUIET)
    trials = study_trials(workspace, "wild")
    assert [trial.state for trial in trials] == [TrialState.PRUNED] * 2
    assert all("lost its inverse" in trial.user_attrs["reason"] for trial in trials)
    events = list(EventLog(workspace.searches / "wild" / "ledger.jsonl"))
    ends = [event for event in events if event["event"] == "end"]
    assert ends[0]["key"] == "wild/floor"
    assert [end["status"] for end in ends] == ["finished", "pruned", "pruned", "failed"]
    champion = resolve("best", workspace)
    assert champion.version == 1
    assert load_package(champion.path)[1].lineage.run == "wild/floor"


@pytest.mark.slow
def test_a_serial_search_suggests_the_same_again(
    make_space, small_path: Path, tmp_path: Path
) -> None:
    suggested, curves = [], []
    for attempt in ("one", "two"):
        workspace = Workspace(tmp_path / attempt)
        plan = SearchPlan(
            name=attempt,
            store=str(small_path),
            space=make_space(tmp_path),
            trials=4,
            seed=3,
            concurrent=1,
        )
        run_search(plan, open_store(plan.store, need_truth=True), workspace, NullTracker, QUIET)
        trials = study_trials(workspace, attempt)
        suggested.append([trial.params for trial in trials])
        curves.append([trial.intermediate_values for trial in trials])
    assert suggested[0] == suggested[1]
    assert curves[0] == curves[1]
