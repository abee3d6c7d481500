"""What kills cost, and what they left: the result of ``faults``."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray

from benchmarks.machine import describe_machine
from benchmarks.report import Result, Say, Table
from benchmarks.searching.invariants import check
from benchmarks.searching.server import TrackingServer
from benchmarks.searching.setting import MIXED, small_store, space_file
from benchmarks.searching.victim import Victim
from dtsinn.core.workspace import Workspace

NAME = "faults"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill."""

    search: str
    kind: str
    after_events: int
    """Of the ledger since the last one."""
    lost_s: float
    """Work that no report tells of; of a worker the driver says it later."""


@dataclass(frozen=True, kw_only=True)
class Survived:
    """A search after its kills."""

    name: str
    kills: int
    sittings: int
    restarts: int
    """Of workers."""
    repeats: int
    """Reports that came again and were not counted."""
    lost_s: float
    """That the driver counted when workers died."""
    report_s: float
    """Median time between two reports of a trial."""
    states: dict[str, int]
    violations: list[str]
    left: int
    """Processes of killed drivers that were still there at the end."""


def report(
    kills: Sequence[Kill], survived: Sequence[Survived], about: str, *, seed: int, seconds: float
) -> Result:
    """Tables of both.

    Args:
        kills: All, in order.
        survived: The searches.
        about: How they were killed, in words.
        seed: Of the kills.
        seconds: That it took.
    """
    counts = Counter(kill.kind for kill in kills)
    broken = [f"{one.name}: {text}" for one in survived for text in one.violations]
    drivers = [kill.lost_s for kill in kills if kill.kind == "driver"]
    rows = [
        [
            one.name,
            str(one.kills),
            str(one.sittings),
            str(one.restarts),
            str(one.repeats),
            ", ".join(f"{count} {state}" for state, count in sorted(one.states.items())),
            f"{one.lost_s:.1f}",
            f"{one.report_s:.1f}",
            str(len(one.violations)),
        ]
        for one in survived
    ]
    lost = [
        ["driver", str(counts["driver"]), f"{sum(drivers):.1f}", f"{max(drivers, default=0):.1f}"],
        ["worker", str(counts["worker"]), f"{sum(one.lost_s for one in survived):.1f}", ""],
        ["server", str(counts["server"]), "0.0", "0.0"],
    ]
    return Result(
        name=NAME,
        title=f"{len(kills)} kills of searches under way",
        machine=describe_machine() | {"ray": ray.__version__},
        notes=[
            about,
            "Must hold at the end of each search: every step of every metric of every trial is in "
            "MLflow exactly once and equals the ledger; MLflow, Optuna and ledger agree on how "
            "each trial ended; nothing is running; there are as many trials as asked for, with "
            "the configurations that they had before each kill; one run per trial.",
            "Lost: training of which no report tells when its process dies. A server's death "
            "loses none.",
            f"Violations: {len(broken)}. {' '.join(broken)}".strip(),
            f"{seconds / 60:.0f} minutes; the machine was shared, five-minute load average "
            f"{os.getloadavg()[1]:.1f}.",
        ],
        tables=[
            Table(
                title="Searches",
                columns=[
                    "search",
                    "kills",
                    "sittings",
                    "workers restarted",
                    "reports repeated",
                    "trials",
                    "lost with workers, s",
                    "between reports, s",
                    "violations",
                ],
                rows=rows,
            ),
            Table(
                title="Work lost",
                columns=["killed", "times", "lost in all, s", "most at once, s"],
                rows=lost,
            ),
        ],
        data={
            "seed": seed,
            "counts": dict(counts),
            "kills": [asdict(kill) for kill in kills],
            "searches": [asdict(one) for one in survived],
            "violations": broken,
        },
    )


KINDS = ("worker", "driver", "server")
TRIALS, STEPS, VALIDATE_EVERY = 6, 60, 10
MOST_EVENTS = 10
"""Of the ledger, between two kills."""
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
        f"processes, 1 to {MOST_EVENTS} ledger events after the last kill, seed {seed}; "
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
            known |= {name: trial.suggestion for name, trial in victim.history().trials.items()}
            lost = _kill(kind, victim, server, draw)
            if lost is None:
                continue
            kills.append(Kill(search=victim.name, kind=kind, after_events=more, lost_s=lost))
            say(f"{len(kills)}: {kind} of {victim.name}, after {more} events")
        broken = _finish(victim, server)
        history = victim.history()
        broken += check(victim.folder, victim.workspace, TRIALS, known)
    finally:
        left = victim.bury()
    trials = list(history.trials.values())
    gaps = [
        (after.time_ms - before.time_ms) / 1e3
        for trial in trials
        for before, after in zip(trial.points, trial.points[1:], strict=False)
    ]
    say(f"{victim.name}: {history.states()}, {'; '.join(broken) or 'everything agrees'}")
    return Survived(
        name=victim.name,
        kills=len(kills) - first,
        sittings=len(history.sittings),
        restarts=sum(trial.restarts for trial in trials),
        repeats=sum(trial.repeats for trial in trials),
        lost_s=sum(trial.lost_seconds for trial in trials),
        report_s=statistics.median(gaps) if gaps else 0.0,
        states=history.states(),
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
