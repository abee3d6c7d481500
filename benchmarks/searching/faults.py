"""``faults``: what is left of searches whose workers, drivers and tracking server are killed.

Real ``dtsinn search`` processes over a small store, a real ``mlflow server`` on SQLite, SIGKILL at
moments drawn by a seeded generator, ``--resume`` after each driver's death until the search is
done; then event log, Optuna and MLflow are compared point by point.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Result, Say
from benchmarks.searching.invariants import check
from benchmarks.searching.setting import MIXED, small_store, space_file
from benchmarks.searching.toll import Kill, Survived, report
from benchmarks.searching.victim import Victim
from dtsinn.core.workspace import Workspace
from tests.support.tracking import TrackingServer

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


def run(*, rounds: int, minutes: float, seed: int, say: Say) -> Result:
    """Kill ``rounds`` times, or for so many minutes, over as many searches as that takes."""
    draw, kills, survived = random.Random(seed), list[Kill](), list[Survived]()  # noqa: S311
    begun = time.monotonic()

    def enough() -> bool:
        return len(kills) >= rounds or time.monotonic() - begun > 60 * minutes

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = small_store(root)
        space = space_file(root, MIXED, steps=STEPS, validate_every=VALIDATE_EVERY)
        server = TrackingServer(root / "server")
        before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = server.uri
        try:
            server.wait()
            while not enough():
                victim = Victim(
                    name=f"search-{len(survived)}",
                    store=store,
                    space=space,
                    trials=TRIALS,
                    workspace=Workspace(root / "workspace"),
                    uri=server.uri,
                )
                survived.append(_torment(victim, server, draw, kills, enough, say))
        finally:
            server.kill()
            os.environ.pop("MLFLOW_TRACKING_URI")
            if before is not None:
                os.environ["MLFLOW_TRACKING_URI"] = before
    about = (
        f"Searches of {TRIALS} trials of {STEPS} steps, validated every {VALIDATE_EVERY}, "
        "TPE and asha; SIGKILL to a worker, the driver or the tracking server with all its "
        f"processes, 1 to {MOST_EVENTS} events after the last kill, seed {seed}; "
        "the server starts again within 3 s, the driver at once with --resume."
    )
    return report(kills, survived, about, seed=seed, seconds=time.monotonic() - begun)


def _torment(
    victim: Victim,
    server: TrackingServer,
    draw: random.Random,
    kills: list[Kill],
    enough: Callable[[], bool],
    say: Say,
) -> Survived:
    """Kill until the search is done, or enough; then let it end, and look."""
    first = len(kills)
    known: dict[str, dict[str, Any]] = {}
    try:
        victim.start()
        while not enough():
            kind, more = draw.choice(KINDS), draw.randint(1, MOST_EVENTS)
            if not victim.wait_for(more, DEADLINE_s):
                if victim.driver.poll() is None:
                    say(f"{victim.name}: no {more} events in {DEADLINE_s:.0f} s")
                    continue
                break
            known |= {name: trial.suggestion for name, trial in victim.search().trials.items()}
            lost = _kill(kind, victim, server, draw)
            if lost is None:
                continue
            kills.append(Kill(search=victim.name, kind=kind, after_events=more, lost_s=lost))
            say(f"{len(kills)}: {kind} of {victim.name}, after {more} events")
        broken = _finish(victim, server)
        search = victim.search()
        broken += check(victim.folder, victim.workspace, TRIALS, known)
    finally:
        left = victim.bury()
    trials = list(search.trials.values())
    gaps = [
        (after.time_ms - before.time_ms) / 1e3
        for trial in trials
        for before, after in zip(trial.points, trial.points[1:], strict=False)
    ]
    say(f"{victim.name}: {search.states()}, {'; '.join(broken) or 'everything agrees'}")
    return Survived(
        name=victim.name,
        kills=len(kills) - first,
        sessions=len(search.sessions),
        restarts=sum(trial.restarts for trial in trials),
        repeats=sum(trial.repeats for trial in trials),
        lost_s=sum(trial.lost_seconds for trial in trials),
        report_s=statistics.median(gaps) if gaps else 0.0,
        states=search.states(),
        violations=broken,
        left=left,
    )


def _kill(kind: str, victim: Victim, server: TrackingServer, draw: random.Random) -> float | None:
    """Seconds of work lost, as far as known at once; None where nothing could be killed."""
    if kind == "worker":
        return 0.0 if victim.kill_worker(draw) else None
    if kind == "server":
        server.kill()
        time.sleep(draw.uniform(0, 3))
        server.restart()
        return 0.0
    lost = victim.kill_driver()
    victim.start()
    return lost


def _finish(victim: Victim, server: TrackingServer) -> list[str]:
    """Let it end in peace, resumed while it says that something is left; what went wrong."""
    for _ in range(ATTEMPTS):
        server.wait()
        if victim.driver.wait(END_s) == 0:
            return []
        victim.start()
    return [f"the command failed {ATTEMPTS} times"]
