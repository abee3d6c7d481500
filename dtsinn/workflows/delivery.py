"""Events of trainings and evaluations that MLflow has not got: delivered when it answers again."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from dtsinn.core.errors import DtsinnError
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.lock import is_driven
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.recorder import recover
from dtsinn.registry.lineage import EVALUATED, note_evaluated
from dtsinn.registry.tracking.tracker import connect
from dtsinn.registry.versions import list_models

REPORT = "report"
"""Copy of an evaluation's report beside its log, for as long as it is not delivered."""


@dataclass(kw_only=True)
class RunDelivery:
    """What was mended and delivered of one training or evaluation."""

    name: str
    kind: str
    """``training`` or ``evaluation``."""
    repaired: list[str] = field(default_factory=list)
    """What was done, in words."""
    undelivered: int = 0
    """Events that MLflow has not got yet."""


def deliver_runs(workspace: Workspace) -> list[RunDelivery]:
    """End the trainings that died, and deliver all that waits; says of which there was something.

    What a process is at work on is left alone.
    """
    found = []
    for parent, kind in ((workspace.runs, "training"), (workspace.events, "evaluation")):
        for folder in sorted(path.parent for path in parent.glob(f"*/{LOG_FILE}")):
            if is_driven(folder):
                continue
            done = RunDelivery(name=folder.name, kind=kind)
            try:
                done.repaired, done.undelivered = recover(folder, lambda: connect(workspace), kind)
                if (folder / REPORT).exists() and not done.undelivered:
                    link_evaluation(folder, workspace)
            except DtsinnError as error:  # the others are none the worse for it
                done.repaired.append(str(error))
            if done.repaired:
                found.append(done)
    return found


def link_evaluation(folder: Path, workspace: Workspace) -> None:
    """Link the run of an evaluation that was delivered with the versions that it evaluated.

    Its copy of the report, which MLflow has now, goes.
    """
    event_log = EventLog(folder / LOG_FILE, readonly=True)
    run = [event["run"] for event in event_log if event["event"] == "begin"][-1]
    digests = run["tags"][EVALUATED].split(",")
    tracker = connect(workspace)
    versions = [version for version in list_models(tracker) if version.digest in digests]
    note_evaluated(versions, run["key"], tracker)
    shutil.rmtree(folder / REPORT)
