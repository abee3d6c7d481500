"""``faults``: what is left of searches whose workers, drivers and tracking server are killed.

Real ``dtsinn search`` processes over a small store, a real ``mlflow server`` on SQLite, SIGKILL at
moments drawn by a seeded generator, ``--resume`` after each driver's death until the search is
done; then event log, Optuna and MLflow are compared point by point.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

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
from benchmarks.searching.kill_target import KillTarget
from benchmarks.searching.setting import MIXED, small_store, space_file
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


def run(
    *,
    rounds: Kills = 30,
    minutes: Annotated[float, typer.Option(help="Longest time for them.")] = 120,
    seed: KillSeed = 0,
    say: Say,
) -> Result:
    """Kill ``rounds`` times, or for so many minutes, over as many searches as that takes."""
    loop = KillLoop(rounds=rounds, seed=seed, say=say, minutes=minutes)
    searches: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = small_store(root)
        space = space_file(root, MIXED, steps=STEPS, validate_every=VALIDATE_EVERY)
        server = TrackingServer(root / "server")
        try:
            server.wait()
            with mock.patch.dict(os.environ, {"MLFLOW_TRACKING_URI": server.uri}):
                while not loop.enough:
                    target = KillTarget(
                        name=f"search-{len(searches)}",
                        store=store,
                        space=space,
                        trials=TRIALS,
                        workspace=Workspace(root / "workspace"),
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
