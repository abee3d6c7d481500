"""A run that is recorded: what it does goes into its event log, and from there to the tracker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import naming
from dtsinn.core.tracker import Point, RunStart, RunStatus, Tracker
from dtsinn.eventlog.events import check_run_event
from dtsinn.eventlog.lock import driving, is_driven
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox, PATIENCE_s

DIED = "its process died"
"""Why a run ended that nobody ended."""


class Recorder:
    """Records runs as a :class:`~dtsinn.core.tracker.Tracker` does, by events in their log.

    Args:
        outbox: Of the log; it delivers what is recorded.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.undelivered = 0
        """Events that the tracker has not got, once the recording is over."""

    def begin(self, run: RunStart) -> None:
        """Record that a run began, or goes on."""
        self.outbox.record({"event": "begin", "time_ms": run.time_ms, "run": asdict(run)})

    def report(self, key: str, points: Sequence[Point]) -> None:
        """Record metrics of a run, and a tag for each one that is not finite: JSON has none."""
        for point in points:
            metrics = {name: x for name, x in point.metrics.items() if math.isfinite(x)}
            what = {"event": "report", "key": key, "step": point.step, "metrics": metrics}
            self.outbox.record(what | {"time_ms": point.time_ms})
            tags = {
                f"dtsinn.nonfinite.{name}": f"{float(x)} at step {point.step}"
                for name, x in point.metrics.items()
                if name not in metrics
            }
            if tags:
                self.tag(key, tags)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Record more tags of a run."""
        self.outbox.record({"event": "tag", "key": key, "tags": dict(tags), "time_ms": now_ms()})

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Record that files, which lie in the log's folder, belong to a run."""
        inner = path.relative_to(self.outbox.event_log.path.parent).as_posix()
        what = {"event": "artifact", "key": key, "path": inner, "folder": folder}
        self.outbox.record(what | {"time_ms": now_ms()})

    def end(
        self,
        key: str,
        status: RunStatus,
        time_ms: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record how a run ended."""
        what = {"event": "end", "key": key, "status": status, "tags": dict(tags or {})}
        self.outbox.record(what | {"time_ms": time_ms})


@contextmanager
def record(folder: Path, connect: Callable[[], Tracker], what: str = "run") -> Iterator[Recorder]:
    """Record a run in the log of ``folder``, which is delivered meanwhile and at the end.

    Args:
        folder: Of the log.
        connect: Gives the tracker, as soon as it can be reached.
        what: What is recorded, for the error.

    Raises:
        InputError: Another process writes the log.
    """
    with driving(folder, what):
        recorder = Recorder(Outbox(EventLog(folder / LOG_FILE), connect))
        recorder.outbox.start()
        try:
            yield recorder
        finally:  # also after Ctrl-C; a second one ends the wait
            recorder.undelivered = recorder.outbox.close(PATIENCE_s)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """The state of a log's last run, and what was done about the log."""

    state: str
    """``running``, ``not begun``, or how it ended."""
    done: list[str] = field(default_factory=list)
    """What was mended and delivered, in words."""
    undelivered: int = 0
    """Events that wait still."""


def recover(folder: Path, connect: Callable[[], Tracker], what: str = "run") -> Recovery:
    """End in the log of ``folder`` what died, and deliver what waits.

    A log that a process writes is left alone, and one with nothing to do is only read.

    Raises:
        InputError: It is damaged.
    """
    event_log = EventLog(folder / LOG_FILE, readonly=True)
    state, ends = _find_ends(event_log)
    undelivered = Outbox(event_log, connect).waiting()
    if not ends and not undelivered:
        return Recovery(state=state)
    if is_driven(folder):
        return Recovery(state="running", undelivered=undelivered)
    with driving(folder, what):
        event_log = EventLog(folder / LOG_FILE)
        state, ends = _find_ends(event_log)
        for end in ends:
            event_log.append(end)
        outbox = Outbox(event_log, connect)
        delivery = outbox.try_to_deliver()
        done = [f"{end['key']}: {DIED}" for end in ends] + [delivery] * bool(delivery)
        return Recovery(state=state, done=done, undelivered=outbox.waiting())


def _find_ends(event_log: EventLog) -> tuple[str, list[dict[str, Any]]]:
    """How the last run ended, and the events that end those that have no end.

    They end at the last time that the log knows.
    """
    last, state, under_way = 0, "not begun", {}
    for number, event in enumerate(event_log, 1):
        with naming(f"{event_log.path}, line {number}"):
            check_run_event(event)
        last = max(last, event.get("time_ms", 0))
        if event["event"] == "begin":
            under_way[event["run"]["key"]] = True
        elif event["event"] == "end":
            under_way.pop(event["key"], None)
            state = event["status"]
    ended = {"event": "end", "time_ms": last, "status": "killed", "tags": {"reason": DIED}}
    return "killed" if under_way else state, [ended | {"key": key} for key in under_way]
