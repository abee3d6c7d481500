"""Events of trainings and evaluations that MLflow has not got: delivered when it answers again."""

from __future__ import annotations

from dataclasses import dataclass, field

from dtsinn.core.causes import in_our_words
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.lock import is_driven
from dtsinn.eventlog.log import LOG_FILE
from dtsinn.eventlog.recorder import recover
from dtsinn.registry.tracking.tracker import connect
from dtsinn.workflows.evaluation_log import REPORT, link_evaluation


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
            except Exception as error:  # the others are none the worse for it
                done.repaired.append(str(in_our_words(error)))
            if done.repaired:
                found.append(done)
    return found
