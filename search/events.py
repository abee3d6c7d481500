"""From events of the ledger to calls of a tracker: the only way a search reaches MLflow.

An event is told as soon as it is in the ledger. When the tracker fails, it waits in memory with
all later ones, is tried again at the next event and at the end, and remains in the ledger.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dtsinn.core.tracker import RunStart, Tracker
from dtsinn.search.ledger import Ledger

log = logging.getLogger(__name__)


class Recorder:
    """Appends events to the ledger and tells the tracker of them, in order."""

    def __init__(self, ledger: Ledger, tracker: Tracker) -> None:
        self.ledger = ledger
        self.tracker = tracker
        self.waiting: list[dict[str, Any]] = []

    def record(self, event: dict[str, Any]) -> None:
        """Record one event."""
        self.ledger.append(event)
        self.waiting.append(event)
        self.deliver()

    def deliver(self) -> int:
        """Tell what is still waiting; returns how many events remain."""
        while self.waiting:
            try:
                tell(self.tracker, self.waiting[0])
            except Exception as error:  # whatever a tracking server fails with
                log.warning("tracking failed, kept for later: %s", error)
                return len(self.waiting)
            self.waiting.pop(0)
        return 0


def tell(tracker: Tracker, event: dict[str, Any]) -> None:
    """Tell a tracker of one event; telling it twice changes nothing."""
    kind = event["event"]
    if kind == "begin":
        tracker.begin(RunStart(**event["run"]))
    elif kind == "report":
        tracker.report(event["key"], event["step"], event["metrics"], event["time_ms"])
    elif kind == "artifact":
        tracker.artifact(event["key"], Path(event["path"]), event["folder"])
    elif kind == "end":
        tracker.end(event["key"], event["status"], event["time_ms"], event["tags"])
