"""``scale``: does a search of thousands of trials slow down as it grows?

Trials of a trainable that does nothing but report run through everything that a real search has:
Ray, the driver, a synced event log, Optuna's study with TPE, the outbox and MLflow on SQLite.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
import ray
from ray import tune

from benchmarks.report import (
    Result,
    Say,
    Trials,
    describe_machine,
    facts_table,
    load_average,
    make_table,
    verdicts,
)
from benchmarks.searching.setting import MIXED, OpenSession, small_store, space_file
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.engine.cluster import ray_session, trials_that_fit
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.tuner import run_trials
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space

REPORTS = 20
"""Of each trial, with two metrics each."""
PATIENCE_s = 3600.0
"""Longest wait for MLflow after the last trial."""
GROWTH = 1.5
"""Most that a trial of the last block may cost, over one of the first (a target)."""
LATENCY_ms = 300.0
"""Most that a suggestion may take at the end (a target)."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment: wall time and CPU time of this thread, s."""

    wall: float = field(default_factory=time.monotonic)
    cpu: float = field(default_factory=time.thread_time)

    def __sub__(self, before: Mark) -> Mark:
        return Mark(wall=self.wall - before.wall, cpu=self.cpu - before.cpu)


class TimedDriver:
    """Stands before a driver, in Ray's eyes is it, and takes times.

    Attributes:
        marks: One at the start and one per trial's end.
        asked: What each suggestion took.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.marks = [Mark()]
        self.asked: list[Mark] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    def suggest(self, ray_id: str) -> dict[str, Any] | None:
        """As the driver does."""
        begun = Mark()
        found = self.driver.suggest(ray_id)
        if found is not None:
            self.asked.append(Mark() - begun)
        return found

    def handle_end(self, ray_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """As the driver does."""
        self.driver.handle_end(ray_id, result, error)
        self.marks.append(Mark())


@dataclass(frozen=True, kw_only=True)
class Block:
    """Means over some trials that followed each other; ms per trial."""

    first: int
    last: int
    wall: float
    """Without suggestions."""
    cpu: float
    """Of the driver's thread, without suggestions."""
    suggest: float
    """Wall time of a suggestion."""


def block(timed: TimedDriver, first: int, last: int) -> Block:
    """Costs of the trials from the ``first``-th on to before the ``last``-th, by order of ends."""
    taken, asked = timed.marks[last] - timed.marks[first], timed.asked[first:last]
    scale, suggest = 1e3 / (last - first), sum(one.wall for one in asked)
    return Block(
        first=first,
        last=last,
        wall=scale * (taken.wall - suggest),
        cpu=scale * (taken.cpu - sum(one.cpu for one in asked)),
        suggest=scale * suggest,
    )


def trivial(config: dict[str, Any]) -> None:
    """Report and do nothing else."""
    rate = float(config["suggestion"]["optimizer.learning_rate"])
    for step in range(1, REPORTS + 1):
        value = 30 - abs(math.log(rate / 5e-3)) + step / REPORTS
        tune.report(
            {
                "step": step,
                "metrics": {"best_psnr": value, "val_psnr": value},
                "finished": step == REPORTS,
                "time_ms": int(time.time() * 1000),
            }
        )


def run(folder: Path, *, trials: Trials = 5000, say: Say) -> Result:
    """Search and deliver; a search of its own in a temporary folder."""
    space = space_file(folder, MIXED, steps=REPORTS, validate_every=1)
    plan = SearchPlan(
        name="scale",
        store=small_store(folder),
        space=load_space(space),
        trials=trials,
        scheduler="none",
    )
    workspace = Workspace(folder / "workspace")
    connect(workspace)  # which makes the database, once, in seconds
    with ray_session(None):
        concurrent = trials_that_fit(1, 0)
        session = OpenSession(plan, workspace, concurrent)
        data, blocks = _search(session, say)
    data |= {"asked_for": trials, "reports": REPORTS, "concurrent": concurrent}
    return _result(data, blocks)


def _search(session: OpenSession, say: Say) -> tuple[dict[str, Any], list[Block]]:
    timed, trials = TimedDriver(session.driver), session.driver.plan.trials
    memory_start, begun = psutil.Process().memory_info().rss, time.monotonic()

    def train(driver: Driver) -> dict[str, float]:
        say(f"{trials} trials of {REPORTS} reports")
        run_trials(cast(Driver, timed), trivial, {"cpu": 1})
        return {
            "search_s": time.monotonic() - begun,
            "memory_start_MB": memory_start / 1e6,
            "memory_end_MB": psutil.Process().memory_info().rss / 1e6,
            "waiting": session.outbox.waiting(),
        }

    found, undelivered = session.run(train, PATIENCE_s)
    whole = time.monotonic() - begun
    say(f"{found['search_s']:.0f} s; {found['waiting']:.0f} events waited for MLflow")
    events = sum(1 for _ in session.outbox.event_log)
    done = len(timed.marks) - 1  # fewer than asked for where `dtsinn stop` ended it
    size = max(1, min(500, done // 4))
    blocks = [block(timed, first, first + size) for first in range(0, done - size + 1, size)]
    points = sum(len(trial.points) for trial in session.driver.search.trials.values())
    return found | {
        "trials": done,
        "states": session.driver.search.states(),
        "drain_s": whole - found["search_s"],
        "undelivered": undelivered,
        "events": events,
        "ledger_rows_per_s": events / found["search_s"],
        "ledger_MB": session.outbox.event_log.path.stat().st_size / 1e6,
        "mlflow_rows_per_s": 2 * points / whole,
        "database_MB": session.workspace.database.stat().st_size / 1e6,
        "blocks": [asdict(one) for one in blocks],
        "growth": blocks[-1].wall / blocks[0].wall,
        "growth_cpu": blocks[-1].cpu / blocks[0].cpu,
    }, blocks


def _result(data: dict[str, Any], blocks: Sequence[Block]) -> Result:
    last = blocks[-1]
    facts = {
        "search, s": f"{data['search_s']:.0f}",
        "the outbox needs after it, s": f"{data['drain_s']:.0f}",
        "events that it waited with then": f"{data['waiting']:.0f}",
        "never delivered": f"{data['undelivered']}",
        "event log, events": f"{data['events']}",
        "event log, events per s": f"{data['ledger_rows_per_s']:.0f}",
        "event log, MB": f"{data['ledger_MB']:.1f}",
        "MLflow, metric rows per s": f"{data['mlflow_rows_per_s']:.0f}",
        "MLflow's database, MB": f"{data['database_MB']:.0f}",
        "driver's memory at the start, MB": f"{data['memory_start_MB']:.0f}",
        "driver's memory at the end, MB": f"{data['memory_end_MB']:.0f}",
        "a trial at the end over one at the start, wall": f"{data['growth']:.2f}",
        "the same, CPU of the driver's thread": f"{data['growth_cpu']:.2f}",
    }
    held = {
        f"at most {GROWTH} times the cost at the end": data["growth"] <= GROWTH,
        f"a suggestion in {LATENCY_ms:.0f} ms at the end": last.suggest <= LATENCY_ms,
    }
    return Result(
        name="scale",
        title=f"{data['trials']} trials of {REPORTS} reports in one search",
        machine=describe_machine(ray=ray.__version__),
        notes=[
            "Trainable that only reports two metrics; no scheduler, TPE, "
            f"{data['concurrent']} trials at a time, Ray on this machine, MLflow on SQLite.",
            "A trial's cost is the wall time between ends of trials, over the trials of a block, "
            "less that of their suggestions; MLflow is told in the same process meanwhile.",
            f"Targets, up to trial {last.last}: {verdicts(held)}.",
            f"Asked for were {data['asked_for']} trials"
            f"{'; it was stopped before.' if data['trials'] < data['asked_for'] else '.'}",
            f"The machine was shared; five-minute load average at the end: {load_average()}.",
        ],
        tables=[
            make_table(
                blocks,
                {
                    "trials": lambda one: f"{one.first + 1} to {one.last}",
                    "cost, ms": lambda one: f"{one.wall:.0f}",
                    "driver's CPU, ms": lambda one: f"{one.cpu:.0f}",
                    "suggestion, ms": lambda one: f"{one.suggest:.0f}",
                },
                "Means of a trial",
            ),
            facts_table(facts, "The whole"),
        ],
        data=data | {"held": held},
    )
