"""Events of trainings and evaluations that MLflow has not got: delivered when it answers again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.lock import is_driven
from dtsinn.eventlog.log import LOG_FILE
from dtsinn.eventlog.outbox import count_undelivered
from dtsinn.eventlog.recorder import recover
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.workflows.evaluation_log import REPORT, link_evaluation


@dataclass(kw_only=True)
class RunDelivery:
    """What was mended and delivered of one training or evaluation."""

    name: str
    kind: str
    """``training`` or ``evaluation``."""
    state: str = "damaged"
    """``running``, ``not begun``, ``finished``, ``failed`` or ``killed``; ``damaged`` where its
    event log cannot be read."""
    reason: str = ""
    """What went wrong with its delivery."""
    repaired: list[str] = field(default_factory=list)
    """What was done, in words."""
    undelivered: int = 0
    """Events that MLflow has not got yet."""


def deliver_runs(
    workspace: Workspace, connect: Callable[[], MlflowTracker]
) -> Iterator[RunDelivery]:
    """End the trainings that died, and deliver all that waits; says of which there was something.

    What a process is at work on is left alone.

    Args:
        workspace: Where the event logs are.
        connect: Gives the tracker of all of them.
    """
    for kind, folder in _find_logs(workspace.runs, workspace.events):
        run = RunDelivery(name=folder.name, kind=kind)
        try:
            found = recover(folder, connect, kind)
            run.state, run.repaired, run.undelivered = found.state, found.done, found.undelivered
            if found.state != "running" and not found.undelivered and (folder / REPORT).exists():
                link_evaluation(folder, connect)
        except Exception as error:  # the others are none the worse for it
            run.reason = str(in_our_words(error))
        if run.repaired or run.reason:
            yield run


def find_unsent(workspace: Workspace, place: str) -> Iterator[str]:
    """Say of searches, trainings and evaluations why the tracker at ``place`` has not all of them.

    Args:
        workspace: Where the event logs are.
        place: Of the tracker.
    """
    again = f"try {workspace.command('status')}, and copy again"
    for kind, folder in _find_logs(workspace.searches, workspace.runs, workspace.events):
        what = f"{kind} {folder.name}"
        try:
            if is_driven(folder):
                yield f"{what} still runs: copy again when it has ended"
            elif count := count_undelivered(folder, place):
                yield f"{what}: {count} events are not delivered to MLflow yet; {again}"
        except InputError as error:
            yield f"{what}: {error}"


def _find_logs(*parents: Path) -> Iterator[tuple[str, Path]]:
    """Find the folders with an event log, and what each is of."""
    kinds = {"searches": "search", "runs": "training", "events": "evaluation"}
    for parent in parents:
        for log in sorted(parent.glob(f"*/{LOG_FILE}")):
            yield kinds[parent.name], log.parent
