"""The trials of a search as MLflow has them: for whoever has the registry but not the event log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run

from dtsinn.core.errors import InputError
from dtsinn.core.yaml_text import parse_yaml
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.rows import KIND, STATUS
from dtsinn.registry.tracking.tracker import MlflowTracker


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """One trial that ended."""

    name: str
    settings: Mapping[str, Any]
    """The whole configuration, by dotted key."""
    metrics: Mapping[str, float]
    """Metrics of its last report."""
    step: int
    """Training steps behind it."""
    finished: bool
    """It spent its budget."""


@dataclass(frozen=True, kw_only=True)
class RecordedSearch:
    """A search, with the trials that ended and were not infeasible."""

    store_digest: str
    objectives: str
    """Objectives as they are typed: ``psnr:max``."""
    trials: list[RecordedTrial]


def find_recorded_search(tracker: MlflowTracker, name: str) -> RecordedSearch | None:
    """Find the search of this name, or None where MLflow knows none."""
    parent = tracker.find_run(name)
    if parent is None or parent.data.tags.get(KIND) != "search":
        return None
    children = tracker.search(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    children.sort(key=lambda child: str(child.info.run_name))
    trials = [
        _read_trial(tracker, child) for child in children if child.data.tags.get(KIND) != "floor"
    ]
    return RecordedSearch(
        store_digest=tagged.digest(parent.data.tags, "store.digest"),
        objectives=parent.data.params.get("objectives", ""),
        trials=[trial for trial in trials if trial is not None],
    )


def _read_trial(tracker: MlflowTracker, run: Run) -> RecordedTrial | None:
    """Read a trial that ended well; None for all others, and where settings cannot be read."""
    status = run.data.tags.get(STATUS)
    # What diverged late had been good before.
    if status not in {"finished", "pruned"} or "spoiled" in run.data.tags or not run.data.metrics:
        return None
    try:
        settings = {key: parse_yaml(text, key) for key, text in run.data.params.items()}
    except InputError:
        return None
    return RecordedTrial(
        name=str(run.info.run_name),
        settings=settings,
        metrics=run.data.metrics,
        step=_find_last_step(tracker, run.info.run_id),
        finished=status == "finished",
    )


def _find_last_step(tracker: MlflowTracker, run_id: str) -> int:
    with mlflow_errors_as("reading a trial's steps"):
        points = tracker.client.get_metric_history(run_id, "best_psnr")
    return max((point.step for point in points), default=0)
