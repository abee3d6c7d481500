"""What must hold of a search however often it was killed: event log, Optuna and MLflow agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.registry.tracking.rows import KEY
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.events.state import SearchState, replay
from dtsinn.search.sampling.study import STUDY

IN_OPTUNA = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
IN_MLFLOW = {"finished": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "killed": "KILLED"}

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Steps and values of each metric, by step."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run as MLflow has it."""

    key: str
    status: str
    curves: Curves


def violations(
    search: SearchState,
    events: Iterable[Mapping[str, Any]],
    runs: Sequence[Seen],
    states: Mapping[str, str],
    *,
    planned: int,
    before: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """What does not hold of a search that is over, in words; nothing if all does.

    Args:
        search: What the event log tells.
        events: Of the event log.
        runs: All that MLflow has of the search.
        states: Optuna's, by name of the trial.
        planned: Trials that were asked for.
        before: Configurations of trials as the event log had them before each kill.
    """
    found = []
    trials = search.trials
    if len(trials) != planned:
        found.append(f"{len(trials)} trials, {planned} were asked for")
    told = {trial.name: IN_OPTUNA.get(trial.state, trial.state) for trial in trials.values()}
    if dict(states) != told:
        found.append(f"Optuna says {dict(states)}, the event log {told}")
    for name, suggestion in before.items():
        if name not in trials or trials[name].suggestion != suggestion:
            found.append(f"{name} is not what it was before a kill")
    expected = {f"{search.name}/{name}": trial.state for name, trial in trials.items()}
    expected[search.name] = search.state
    if search.state != "finished":
        found.append(f"the search is {search.state}")
    curves = curves_of(events)
    keys = [run.key for run in runs]
    found += [
        f"{key} has {keys.count(key)} runs in MLflow"
        for key in sorted(set(keys) | set(expected))
        if keys.count(key) != 1 or key not in expected
    ]
    for run in runs:
        if run.status != IN_MLFLOW.get(expected.get(run.key, ""), ""):
            found.append(f"{run.key} is {run.status} in MLflow, {expected.get(run.key)} here")
        found += _differences(run.key, curves.get(run.key, {}), run.curves)
    return found


def curves_of(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The curves that the reports of an event log tell, by key of the run."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for event in events:
        if event["event"] == "report":
            for metric, value in event["metrics"].items():
                own = curves.setdefault(event["key"], {}).setdefault(metric, [])
                own.append((event["step"], value))
    return curves


def check(folder: Path, workspace: Workspace, planned: int, before: Mapping[str, Any]) -> list[str]:
    """As :func:`violations`, of the search in ``folder``, asking its file of Optuna and MLflow."""
    events = list(EventLog(folder / LOG_FILE, readonly=True))
    return violations(
        replay(folder.name, events),
        events,
        runs_of(workspace, folder.name),
        states_of(folder),
        planned=planned,
        before=before,
    )


def states_of(folder: Path) -> dict[str, str]:
    """Optuna's states by name of the trial, from the study in a search's folder."""
    storage = JournalStorage(JournalFileBackend(str(folder / STUDY)))
    study = optuna.load_study(study_name=folder.name, storage=storage)
    return {
        trial.user_attrs["name"]: trial.state.name
        for trial in study.trials
        if "name" in trial.user_attrs
    }


def runs_of(workspace: Workspace, name: str) -> list[Seen]:
    """All runs of a search that MLflow has, with every point of every metric."""
    tracker = connect(workspace)
    found = []
    for run in tracker.search(""):
        key = run.data.tags.get(KEY, "")
        if key != name and not key.startswith(f"{name}/"):
            continue
        curves = {
            metric: sorted(
                (point.step, point.value)
                for point in tracker.client.get_metric_history(run.info.run_id, metric)
            )
            for metric in run.data.metrics
        }
        found.append(Seen(key=key, status=run.info.status, curves=curves))
    return found


def _differences(key: str, told: Curves, seen: Curves) -> list[str]:
    found = []
    for metric in sorted(set(told) | set(seen)):
        here, there = told.get(metric, []), list(seen.get(metric, []))
        steps = [step for step, _ in here]
        if len(steps) != len(set(steps)):
            found.append(f"{key}: the event log has a step of {metric} twice")
        if sorted(here) != there:
            found.append(f"{key}: {metric} has {len(there)} points in MLflow, {len(here)} here")
    return found
