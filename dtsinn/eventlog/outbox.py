"""The outbox of an event log: the only way in which searches and trainings reach MLflow.

A thread reads the event log behind its writer and delivers the events to the tracker, each run's
reports of one round at once. While the tracker does not answer, for however long, nothing waits
but the outbox: it tries again, later and later. What was delivered is remembered beside the event
log by its place in it, so that the next writer, or ``dtsinn status``, goes on from there: every
event is delivered at least once, and delivering it twice changes nothing
(:mod:`dtsinn.core.tracker`). That is a transactional outbox: the log is written first, and nobody
hears of an event that the log does not hold.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_json
from dtsinn.core.causes import brief
from dtsinn.core.errors import InputError
from dtsinn.core.tracker import OWN_PLACE, Point, RunStart, Tracker
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.events import DELIVERED
from dtsinn.eventlog.log import LOG_FILE, EventLog

log = logging.getLogger(__name__)

MEMORY = "delivered.json"
"""Its memory beside the log: to whom events were delivered, and up to which byte of the log."""
ROUND = 500
"""Events that are delivered at a time."""
REST_s = 0.5
"""Between rounds, so that reports gather."""
PATIENCE_s = 60.0
"""Longest wait for the tracker at the end of a search or a run."""
LONGEST_WAIT_s = 30.0
"""Between attempts during an outage; the first wait is :data:`REST_s`, each next one twice that."""


class Outbox:
    """Appends events to the event log, and delivers them to the tracker in its own time.

    Args:
        event_log: Of the search or run; this process is its only writer.
        connect: Gives the tracker; called again until it succeeds.
    """

    def __init__(self, event_log: EventLog, connect: Callable[[], Tracker]) -> None:
        self.event_log = event_log
        self.error = ""
        """What the last attempt failed with; nothing when it succeeded."""
        self.connect = connect
        self._tracker: Tracker | None = None
        self._memory = event_log.path.with_name(MEMORY)
        self._place, self._offset = _recall(self._memory)
        if not event_log.begins_line(self._offset):  # another log, or a memory that is damaged
            self._offset = 0
        self._wake, self._closing, self._given_up = threading.Event(), False, False
        self._remembering = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="dtsinn-outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def record(self, event: dict[str, Any]) -> None:
        """Append an event; it is delivered soon.

        Raises:
            OSError: It could not be written: the disk is full.
        """
        self.event_log.append(event)

    def close(self, patience_s: float = PATIENCE_s) -> int:
        """Deliver what is left, for so long at most; returns how many events still wait.

        A tracker that did not answer the last time gets a tenth of that.
        """
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=patience_s / 10 if self.error else patience_s)
        with self._remembering:  # it must not write its memory beside whoever comes next
            self._given_up = True
        return self.waiting()

    def waiting(self) -> int:
        """Number of events of the log that are not delivered yet."""
        return _count_for_tracker(self.event_log, self._offset)

    def deliver(self) -> int:
        """Deliver all there is, here and now; returns how many events it were.

        Raises:
            Exception: Whatever the tracker fails with.
        """
        delivered = 0
        while not self._given_up and self.event_log.read(self._offset, 1)[0]:
            self.event_log.sync()  # whether the tracker answers or not
            tracker = self._connect_tracker()  # it may need everything from the beginning
            events, offset = self.event_log.read(self._offset, ROUND)
            self.event_log.sync()  # no tracker knows what the event log might lose
            delivered += deliver(tracker, events, self.event_log.path.parent)
            self._remember(offset)
        return delivered

    def try_to_deliver(self) -> str:
        """Deliver what waits; returns in words what came of it, or nothing where nothing waits."""
        if not self.waiting():
            return ""
        try:
            return f"{self.deliver()} events delivered"
        except Exception as error:  # whatever a tracking server fails with
            return f"not delivered: {brief(error)}"

    def _connect_tracker(self) -> Tracker:
        if self._tracker is None:
            self._tracker = self.connect()
            if self._tracker.place != self._place:  # another one has the events, this one none
                self._place, self._offset = self._tracker.place, 0
        return self._tracker

    def _remember(self, offset: int) -> None:
        with self._remembering:
            if not self._given_up:
                replace_file(self._memory, json.dumps({"offset": offset, "place": self._place}))
                self._offset = offset

    def _work(self) -> None:
        wait = REST_s
        while True:
            closing = self._closing  # before the round, which delivers what came before it
            try:
                self.deliver()
                self.error, wait = "", REST_s
                if closing:
                    return
            except Exception as error:  # whatever a tracking server, or the disk, fails with
                if not self.error:
                    log.warning("tracking failed, kept for later: %s", error)
                self.error = brief(error)
                wait = min(2 * wait, LONGEST_WAIT_s) if not closing else REST_s
            if self._given_up:
                return
            self._wake.wait(wait)
            if self._closing:
                self._wake.clear()


_RUN = {field.name for field in fields(RunStart)}
"""What a tracker gets of a run; a later version may have written more."""


def deliver(tracker: Tracker, events: Sequence[dict[str, Any]], folder: Path = Path()) -> int:
    """Deliver events to a tracker, in order, with the reports of each run gathered.

    A run's reports are delivered before anything else of it, and before the events end.

    Args:
        tracker: Who gets them.
        events: Of a search or a run.
        folder: Of the log, where the files are.

    Returns:
        Number of events that concern a tracker.
    """
    points: dict[str, list[Point]] = {}

    def flush(key: str) -> None:
        gathered = points.pop(key, [])
        if gathered:
            tracker.report(key, gathered)

    delivered = 0
    for event in events:
        kind = event["event"]
        delivered += kind in DELIVERED
        if kind == "report":
            point = Point(step=event["step"], metrics=event["metrics"], time_ms=event["time_ms"])
            points.setdefault(event["key"], []).append(point)
        elif kind == "begin":
            flush(event["run"]["key"])
            tracker.begin(RunStart(**{k: v for k, v in event["run"].items() if k in _RUN}))
        elif kind == "artifact":
            flush(event["key"])
            try:
                tracker.artifact(event["key"], _here(event["path"], folder), event["folder"])
            except InputError as error:  # it is gone, and will not come back
                log.warning("not attached: %s", error)
        elif kind == "end":
            flush(event["key"])
            tracker.end(event["key"], event["status"], event["time_ms"], event["tags"])
        elif kind == "tag":
            tracker.tag(event["key"], event["tags"])
    for key in list(points):
        flush(key)
    return delivered


def _here(path: str, folder: Path) -> Path:
    """A file of a search or a run, which its event names from the log's folder.

    dtsinn 0.1.0 named it from where the command ran, or from the root: where that was, is gone
    with a workspace that moved.

    Raises:
        InputError: It lies outside the folder: whoever handed the log on may have written it.
    """
    _, found, inner = f"/{path}".rpartition(f"/{folder.parent.name}/{folder.name}/")
    file = folder / (inner if found else path)
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is no file of {folder.name}", wanted=f"one in {folder}")
    return file


def count_undelivered(folder: Path, place: str) -> int:
    """Count the events of the log in ``folder`` that the tracker at ``place`` has not got.

    Raises:
        InputError: The log is damaged.
    """
    event_log = EventLog(folder / LOG_FILE, readonly=True)
    known, offset = _recall(folder / MEMORY)
    is_known = known == place and event_log.begins_line(offset)
    return _count_for_tracker(event_log, offset if is_known else 0)


def _count_for_tracker(event_log: EventLog, offset: int) -> int:
    """Count the events from a byte of the log on that a tracker gets."""
    return sum(event["event"] in DELIVERED for event in event_log.read(offset)[0])


def delivered_place(folder: Path) -> str:
    """Place of the tracker that got the events of the log in ``folder``; nothing without one."""
    return _recall(folder / MEMORY)[0]


def _recall(memory: Path) -> tuple[str, int]:
    """Who got the events, and how far; nothing where that is unknown: delivery may be repeated."""
    try:
        known = read_json(memory)
        place, offset = str(known["place"]), int(known["offset"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "", 0
    return (OWN_PLACE if _is_own(place, memory.parent) else place), offset


def _is_own(place: str, folder: Path) -> bool:
    """Whether a place is this workspace's own database, as dtsinn 0.1.0 named it.

    It is here, or where the workspace was before it moved, or where the original of this copy is,
    which has the search too.
    """
    own = Workspace(Path(place.removeprefix("sqlite:///")).parent)
    if place != f"sqlite:///{own.database}":
        return False
    return not own.database.exists() or (own.searches / folder.name).is_dir()
