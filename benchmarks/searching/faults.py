"""``faults``: what is left of searches whose workers, drivers and tracking server are killed.

Real ``dtsinn search`` processes over a small store, a real ``mlflow server`` on SQLite, SIGKILL at
moments drawn by a seeded generator, ``--resume`` after each driver's death until the search is
done; then event log, Optuna and MLflow are compared point by point.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import psutil
import ray
import typer

from benchmarks.kills import KillLoop
from benchmarks.report import (
    Kills,
    KillSeed,
    Result,
    Say,
    Table,
    describe_machine,
    load_average,
    make_table,
)
from benchmarks.searching.invariants import check
from benchmarks.searching.setting import MIXED, small_store, space_file
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.events.state import SearchState, replay
from tests.support.tracking import TrackingServer

POLL_s = 0.05
WORKER_s = 60.0
"""Longest wait for a worker to kill."""


@dataclass(kw_only=True)
class KillTarget:
    """A search under way, and its driver's process."""

    name: str
    store: str
    space: str
    trials: int
    workspace: Workspace
    driver: subprocess.Popen[bytes] = field(init=False)
    family: list[psutil.Process] = field(default_factory=list)
    """Processes that drivers which were killed had started."""

    @property
    def folder(self) -> Path:
        """Of the search."""
        return self.workspace.searches / self.name

    def __post_init__(self) -> None:
        self.workspace.root.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Begin, or resume what was begun."""
        begun = (self.folder / LOG_FILE).exists()
        words = [sys.executable, "-c", "from dtsinn.cli import main; main()", "search", self.store]
        words += ["--name", self.name, "--workspace", str(self.workspace.root)]
        anew = ["--space", self.space, "--trials", str(self.trials), "--no-floor"]
        words += ["--resume"] if begun else anew
        with (self.workspace.root / f"{self.name}.log").open("ab") as log:
            self.driver = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def history(self) -> SearchState:
        """What its event log tells so far."""
        return replay(self.name, EventLog(self.folder / LOG_FILE, readonly=True))

    def wait_for(self, more: int, deadline_s: float) -> bool:
        """Until so many more events are in the event log; False if it ended, or took too long."""
        wanted = self._count_events() + more
        return self._poll(lambda: self._count_events() >= wanted, deadline_s)

    def kill_worker(self, draw: random.Random) -> bool:
        """Kill a process that trains a trial; False if none was found."""

        def kill_one() -> bool:
            found = [one for one in self._children() if _trains(one)]
            with suppress(psutil.NoSuchProcess, IndexError):
                draw.choice(found).kill()
                return True
            return False

        return self._poll(kill_one, WORKER_s)

    def kill_driver(self) -> float:
        """Kill the driver; returns the work of its trials that no report tells of, in seconds."""
        self.family += self._children()
        now = time.time()
        self.driver.kill()
        self.driver.wait()
        return sum(
            max(
                0.0,
                now - max(trial.begun_ms or 0, *(p.time_ms for p in trial.points[-1:]), 0) / 1e3,
            )
            for trial in self.history().trials.values()
            if trial.state == "running"
        )

    def kill_all(self) -> int:
        """Kill what is left of all drivers' processes; returns how many there were."""
        if self.driver.poll() is None:
            self.family += self._children()
            self.driver.kill()
            self.driver.wait()
        alive = [one for one in self.family if one.is_running()]
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.family.clear()
        return len(alive)

    def _count_events(self) -> int:
        path = self.folder / LOG_FILE
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _poll(self, happens: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until it happens; False if the driver ended first, or it took too long."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline and self.driver.poll() is None:
            if happens():
                return True
            time.sleep(POLL_s)
        return False

    def _children(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found


def _trains(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return command.startswith("ray::ImplicitFunc")  # Ray's agents, too, are called ray::


KINDS = ("worker", "driver", "server")
TRIALS, STEPS, VALIDATE_EVERY = 6, 60, 10
MOST_EVENTS = 10
"""Of the event log, between two kills."""
DEADLINE_s = 180.0
"""Longest wait for them."""
END_s = 600.0
"""Longest wait for a search to end."""
ATTEMPTS = 5
"""Times that a search is resumed after its last kill."""


def run(
    folder: Path,
    *,
    rounds: Kills = 30,
    minutes: Annotated[float, typer.Option(help="Longest time for them.")] = 120,
    seed: KillSeed = 0,
    say: Say,
) -> Result:
    """Kill ``rounds`` times, or for so many minutes, over as many searches as that takes."""
    loop = KillLoop(rounds=rounds, seed=seed, say=say, minutes=minutes)
    searches: list[dict[str, Any]] = []
    store = small_store(folder)
    space = space_file(folder, MIXED, steps=STEPS, validate_every=VALIDATE_EVERY)
    server = TrackingServer(folder / "server")
    try:
        server.wait()
        with mock.patch.dict(os.environ, {"MLFLOW_TRACKING_URI": server.uri}):
            while not loop.enough:
                target = KillTarget(
                    name=f"search-{len(searches)}",
                    store=store,
                    space=space,
                    trials=TRIALS,
                    workspace=Workspace(folder / "workspace"),
                )
                searches.append(_kill_and_check(target, server, loop))
    finally:
        server.kill()
    about = (
        f"Searches of {TRIALS} trials of {STEPS} steps, validated every {VALIDATE_EVERY}, "
        "TPE and asha; SIGKILL to a worker, the driver or the tracking server with all its "
        f"processes, 1 to {MOST_EVENTS} events after the last kill, seed {seed}; "
        "the server starts again within 3 s, the driver at once with --resume."
    )
    return _result(loop, searches, about, seed)


def _kill_and_check(target: KillTarget, server: TrackingServer, loop: KillLoop) -> dict[str, Any]:
    """Kill until the search is done, or enough; then let it end, and look.

    Returns:
        ``restarts`` of workers; ``repeats``, reports that came again and were not counted;
        ``lost_s``, that the driver counted when workers died; ``report_s``, median time between
        two reports of a trial; ``left``, processes of killed drivers that were still there.
    """
    first = len(loop.kills)
    known: dict[str, Any] = {}
    try:
        while not loop.enough:
            kind, more = loop.draw.choice(KINDS), loop.draw.randint(1, MOST_EVENTS)
            if not target.wait_for(more, DEADLINE_s):
                if target.driver.poll() is not None:
                    break
                loop.say(f"{target.name}: no {more} events in {DEADLINE_s:.0f} s")
                continue
            known |= {name: trial.suggestion for name, trial in target.history().trials.items()}
            lost = _kill(kind, target, server, loop)
            if lost is not None:
                told = f"{kind} of {target.name}, after {more} events"
                loop.note(told, search=target.name, kind=kind, after_events=more, lost_s=lost)
        broken = _finish(target, server)
        history = target.history()
        broken += check(target.folder, target.workspace, TRIALS, known)
    finally:
        left = target.kill_all()
    trials = list(history.trials.values())
    gaps = [
        (after.time_ms - before.time_ms) / 1e3
        for trial in trials
        for before, after in zip(trial.points, trial.points[1:], strict=False)
    ]
    loop.say(f"{target.name}: {history.states()}, {'; '.join(broken) or 'everything agrees'}")
    return {
        "name": target.name,
        "kills": len(loop.kills) - first,
        "sessions": len(history.sessions),
        "restarts": sum(trial.restarts for trial in trials),
        "repeats": sum(trial.repeats for trial in trials),
        "lost_s": sum(trial.lost_seconds for trial in trials),
        "report_s": statistics.median(gaps) if gaps else 0.0,
        "states": history.states(),
        "violations": broken,
        "left": left,
    }


def _kill(kind: str, target: KillTarget, server: TrackingServer, loop: KillLoop) -> float | None:
    """Seconds of work lost, as far as known at once; None where nothing could be killed."""
    if kind == "worker":  # of which the driver says later what was lost
        return 0.0 if target.kill_worker(loop.draw) else None
    if kind == "server":
        server.kill()
        time.sleep(loop.draw.uniform(0, 3))
        server.restart()
        return 0.0
    lost = target.kill_driver()
    target.start()
    return lost


def _finish(target: KillTarget, server: TrackingServer) -> list[str]:
    """Let it end in peace, resumed while it says that something is left; what went wrong."""
    for _ in range(ATTEMPTS):
        server.wait()
        if target.driver.wait(END_s) == 0:
            return []
        target.start()
    return [f"the command failed {ATTEMPTS} times"]


def _result(loop: KillLoop, searches: Sequence[dict[str, Any]], about: str, seed: int) -> Result:
    counts = Counter(kill["kind"] for kill in loop.kills)
    broken = [f"{one['name']}: {text}" for one in searches for text in one["violations"]]
    drivers = [kill["lost_s"] for kill in loop.kills if kill["kind"] == "driver"]
    workers = f"{sum(one['lost_s'] for one in searches):.1f}"
    return Result(
        name="faults",
        title=f"{len(loop.kills)} kills of searches under way",
        machine=describe_machine(ray=ray.__version__),
        notes=[
            about,
            "Must hold at the end of each search: every step of every metric of every trial is in "
            "MLflow exactly once and equals the event log; MLflow, Optuna and event log agree on "
            "how each trial ended; nothing is running; there are as many trials as asked for, with "
            "the configurations that they had before each kill; one run per trial.",
            "Lost: training of which no report tells when its process dies. A server's death "
            "loses none.",
            f"Violations: {len(broken)}. {' '.join(broken)}".strip(),
            f"{loop.seconds / 60:.0f} minutes; the machine was shared, five-minute load average "
            f"{load_average()}.",
        ],
        tables=[
            make_table(
                searches,
                {
                    "search": lambda one: one["name"],
                    "kills": lambda one: one["kills"],
                    "sessions": lambda one: one["sessions"],
                    "workers restarted": lambda one: one["restarts"],
                    "reports repeated": lambda one: one["repeats"],
                    "trials": lambda one: ", ".join(
                        f"{count} {state}" for state, count in sorted(one["states"].items())
                    ),
                    "lost with workers, s": lambda one: f"{one['lost_s']:.1f}",
                    "between reports, s": lambda one: f"{one['report_s']:.1f}",
                    "violations": lambda one: len(one["violations"]),
                },
                "Searches",
            ),
            Table(
                title="Work lost",
                columns=["killed", "times", "lost in all, s", "most at once, s"],
                rows=[
                    [
                        "driver",
                        str(counts["driver"]),
                        f"{sum(drivers):.1f}",
                        f"{max(drivers, default=0):.1f}",
                    ],
                    ["worker", str(counts["worker"]), workers, ""],
                    ["server", str(counts["server"]), "0.0", "0.0"],
                ],
            ),
        ],
        data={
            "seed": seed,
            "counts": dict(counts),
            "kills": loop.kills,
            "searches": list(searches),
            "violations": broken,
        },
    )
