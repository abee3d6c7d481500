"""Many searches that report at once to one server, and what arrives there.

Each writer is what a search has: an event log, an outbox that reads it, and its process' tracker.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg

from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import MEMORY, Outbox
from dtsinn.registry.tracking import environment
from dtsinn.registry.tracking.tracker import connect

PATIENCE_s = 600
START_ms = 1_700_000_000_000
"""Time of the first event: any will do, as long as it is the same when an event is told again."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is written."""

    name: str = "load"
    """Of the experiment; begins the keys of the runs."""
    writers: int = 200
    """Searches, a run each; all of them report at once."""
    processes: int = 4
    """They are spread over so many."""
    reports: int = 10
    """Of each run, one event each."""
    metrics: int = 5
    """Of each report, one row of the database each."""
    tellings: int = 1
    """How often all of it is told: twice is what comes after a crash, and must change nothing."""

    def rows(self) -> Counter[tuple[str, str, int, float, int]]:
        """What must be in the database: key of the run, metric, step, value, time in ms."""
        return Counter(
            (event["key"], name, event["step"], value, event["time_ms"])
            for writer in range(self.writers)
            for event in self.events(writer)
            if event["event"] == "report"
            for name, value in event["metrics"].items()
        )

    def events(self, writer: int) -> Iterator[dict[str, Any]]:
        """The event log of one writer."""
        run = {"key": f"{self.name}/{writer}", "name": f"{writer}", "kind": "trial"}
        begin = run | {
            "experiment": self.name,
            "time_ms": START_ms,
            "parameters": {"writer": writer},
        }
        yield {"event": "begin", "time_ms": START_ms, "run": begin}
        for step in range(1, self.reports + 1):
            metrics = {f"m{k}": writer + step / 1024 + k / 32 for k in range(self.metrics)}
            event = {"event": "report", "key": run["key"], "step": step, "metrics": metrics}
            yield event | {"time_ms": START_ms + step}
        end = {"event": "end", "key": run["key"], "status": "finished", "tags": {}}
        yield end | {"time_ms": START_ms + self.reports + 1}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the database holds afterwards."""

    rows: int
    lost: int
    doubled: int
    """Rows that are there twice, or were never reported."""
    runs: int
    """Runs that are there and have ended."""
    seconds: float
    """From the first event to the last answer."""


def flood(load: Load, folder: Path, database: str) -> Outcome:
    """Let all writers report at once to ``MLFLOW_TRACKING_URI``, and look what arrived.

    Args:
        load: How much.
        folder: Of the event logs; empty.
        database: URL of the database in which everything ends up.

    Raises:
        RuntimeError: A process died, or could not tell everything.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(load.processes + 1)
    jobs = [
        context.Process(target=_report, args=(load, part, folder, barrier))
        for part in range(load.processes)
    ]
    try:
        for job in jobs:
            job.start()
        barrier.wait(PATIENCE_s)
        begun = time.monotonic()
        for job in jobs:
            job.join(PATIENCE_s)
        seconds = time.monotonic() - begun
    finally:
        for job in jobs:
            job.kill()
    if any(job.exitcode for job in jobs):
        raise RuntimeError(f"writers ended with {[job.exitcode for job in jobs]}")
    return _counted(load, database, seconds)


def _report(load: Load, part: int, folder: Path, barrier: Barrier) -> None:
    """One process: every so manieth writer, each with its own event log and outbox."""
    environment.apply()
    tracker = connect(Workspace(folder / "workspace"))
    event_logs = {
        writer: EventLog(folder / f"{writer}" / LOG_FILE)
        for writer in range(part, load.writers, load.processes)
    }
    barrier.wait(PATIENCE_s)
    left = 0
    for telling in range(load.tellings):
        outboxes = []
        for writer, event_log in event_logs.items():
            event_log.path.with_name(MEMORY).unlink(missing_ok=True)
            outboxes.append(Outbox(event_log, lambda: tracker))
            outboxes[-1].start()
            for event in load.events(writer) if telling == 0 else ():
                outboxes[-1].record(event)
        left += sum(outbox.close(PATIENCE_s) for outbox in outboxes)
    raise SystemExit(min(left, 1))


def _counted(load: Load, database: str, seconds: float) -> Outcome:
    rows = """
        SELECT tags.value, metrics.key, step, metrics.value, timestamp
        FROM metrics JOIN tags USING (run_uuid)
        WHERE tags.key = 'dtsinn.key' AND tags.value LIKE %s
    """
    runs = """
        SELECT count(*) FROM runs JOIN tags USING (run_uuid)
        WHERE tags.key = 'dtsinn.key' AND tags.value LIKE %s AND status = 'FINISHED'
    """
    with psycopg.connect(database) as connection:
        found = Counter(connection.execute(rows.encode(), [f"{load.name}/%"]).fetchall())
        (number,) = connection.execute(runs.encode(), [f"{load.name}/%"]).fetchone() or (0,)
    wanted = load.rows()
    return Outcome(
        rows=found.total(),
        lost=(wanted - found).total(),
        doubled=(found - wanted).total(),
        runs=number,
        seconds=seconds,
    )
