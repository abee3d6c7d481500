"""What kills cost, and what they left: the result of ``faults``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import ray

from benchmarks.machine import describe_machine
from benchmarks.report import Result, Table

NAME = "faults"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill."""

    search: str
    kind: str
    after_events: int
    """Of the event log since the last one."""
    lost_s: float
    """Work that no report tells of; of a worker the driver says it later."""


@dataclass(frozen=True, kw_only=True)
class Survived:
    """A search after its kills."""

    name: str
    kills: int
    sessions: int
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
            str(one.sessions),
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
            "MLflow exactly once and equals the event log; MLflow, Optuna and event log agree on "
            "how each trial ended; nothing is running; there are as many trials as asked for, with "
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
                    "sessions",
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
