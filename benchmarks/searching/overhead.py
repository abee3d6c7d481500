"""``overhead``: what searching costs beside training, against Ray Tune as it comes.

Ours and stock Ray Tune train the same number of trials of the same cost, with as many reports, in
turn on the same machine. What is not training is overhead: to start a trial, to suggest, report,
record and keep.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from benchmarks.report import (
    Result,
    Rounds,
    Say,
    Trials,
    describe_machine,
    load_average,
    make_table,
    verdicts,
)
from benchmarks.searching.setting import NEUTRAL, OpenSession, small_store, space_file
from benchmarks.searching.trainables import Times, read_times, run_stock, timed_trial
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import embedded_uri
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.engine import tuner
from dtsinn.search.engine.cluster import ray_session, trials_that_fit
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.trial import TrialPlan
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space

REPORTS = 6
STEPS = 60
"""Of a trial."""
PATIENCE_s = 600.0
"""Longest wait for MLflow after the last trial."""
REPORT_ms = 5.0
"""Most that a report may take of a worker (a target)."""
VARIANTS = ("dtsinn", "stock", "stock, workers reused")


Cost = dict[str, Any]
"""What one search cost; see :func:`_cost`."""


def run(folder: Path, *, trials: Trials = 12, rounds: Rounds = 3, say: Say) -> Result:
    """Search in turn with all variants, in one Ray, each search in a folder of its own."""
    costs = []
    store = small_store(folder)
    space = space_file(folder, NEUTRAL, steps=STEPS, validate_every=STEPS // REPORTS)
    with ray_session(None):
        concurrent = trials_that_fit(1, 0)
        for number in range(-1, rounds):  # the first one warms
            for variant in VARIANTS:
                own = folder / f"{number}-{variant.replace(', ', '-').replace(' ', '-')}"
                plan = SearchPlan(
                    name="overhead",
                    store=store,
                    space=load_space(space),
                    trials=trials if number >= 0 else concurrent,
                    scheduler="none",
                    seed=max(0, number),
                )
                say(f"round {number + 1} of {rounds}: {variant}")
                cost = _measure(variant, number, plan, own, concurrent)
                if number >= 0:
                    costs.append(cost)
    return _result(costs, trials, concurrent)


def _measure(variant: str, number: int, plan: SearchPlan, folder: Path, concurrent: int) -> Cost:
    workspace, times = Workspace(folder / "workspace"), folder / "times"
    connect(workspace)  # which makes the database, once, in seconds
    begun = time.monotonic()

    def train(driver: Driver) -> float:
        trial_plan = TrialPlan(
            store=plan.store,
            base=plan.space.base,
            trials=(driver.tools.folder / tuner.TRIALS).resolve(),
            threads=1,
            device="cpu",
        )
        trainable = tune.with_parameters(timed_trial, plan=trial_plan, times=times)
        tuner.run_trials(driver, trainable, {"cpu": 1})
        return time.monotonic() - begun

    if variant == VARIANTS[0]:
        wall, undelivered = OpenSession(plan, workspace, concurrent).run(train, PATIENCE_s)
        if undelivered:
            raise RuntimeError(f"{undelivered} events did not reach MLflow")
    else:
        reuse = variant == VARIANTS[2]
        run_stock(plan, embedded_uri(workspace), folder, concurrent, reuse=reuse)
        wall = time.monotonic() - begun
    recorded = time.monotonic() - begun
    found = read_times(times)
    if len(found) != plan.trials or {len(one.reports) for one in found} != {REPORTS}:
        raise RuntimeError(f"{variant}: not every trial reported {REPORTS} times")
    cost = _cost(found, wall, concurrent)
    return cost | {"variant": variant, "round": number, "wall_s": wall, "recorded_s": recorded}


def _cost(found: Sequence[Times], wall: float, concurrent: int) -> Cost:
    """What a search cost beside training.

    Returns:
        ``overhead_s``, workers' time per trial that was not training; ``idle``, share of all
        workers' time in which no trial's function ran; ``report_ms``, median of ``tune.report``;
        ``quick_report_ms``, of the quickest tenth of them the longest, what it takes while nothing
        else runs; ``save_ms``, median of writing a checkpoint; ``training_s``, mean of a trial.
    """
    workers, reports = wall * concurrent, [s for one in found for s in one.reports]
    return {
        "overhead_s": (workers - sum(one.training for one in found)) / len(found),
        "idle": 1 - sum(one.total for one in found) / workers,
        "report_ms": 1e3 * statistics.median(reports),
        "quick_report_ms": 1e3 * statistics.quantiles(reports, n=10)[0],
        "save_ms": 1e3 * statistics.median(s for one in found for s in one.saves),
        "training_s": statistics.mean(one.training for one in found),
    }


def _result(costs: Sequence[Cost], trials: int, concurrent: int) -> Result:
    def median(variant: str, what: str) -> float:
        return float(statistics.median(c[what] for c in costs if c["variant"] == variant))

    ours, *others = VARIANTS
    paired = {
        other: statistics.median(
            a["overhead_s"] / b["overhead_s"]
            for a in costs
            for b in costs
            if a["round"] == b["round"] and (a["variant"], b["variant"]) == (ours, other)
        )
        for other in others
    }
    held = {
        "not slower than stock": paired[others[0]] <= 1,
        "not slower than stock with workers reused": paired[others[1]] <= 1,
        f"a report in {REPORT_ms:.0f} ms": median(ours, "report_ms") <= REPORT_ms,
    }
    rounds = len({cost["round"] for cost in costs})
    return Result(
        name="overhead",
        title="What a search costs beside training",
        machine=describe_machine(ray=ray.__version__),
        notes=[
            f"{trials} trials of {STEPS} steps and {REPORTS} reports, {concurrent} at a time; "
            f"medians over {rounds} rounds, variants in turn within a round, after a short one.",
            "Overhead: time of the workers per trial that was not training. Idle: part of it in "
            "which no trial's function ran, that is start, suggestion and hand-over. Report and "
            "checkpoint are timed in the worker; stock's report copies the checkpoint, too.",
            "Times stock: its overhead over ours, median over the rounds.",
            "Stock: OptunaSearch, ASHAScheduler, MLflowLoggerCallback, a checkpoint at each "
            "report of which the last is kept, Ray's own snapshots and loggers. Its trials are "
            "not told to resume after the driver dies, nor are ours stopped: all do equal work.",
            "Recorded: until MLflow has everything; stock's callback makes the search wait for "
            "MLflow, our outbox runs behind it.",
            f"Targets: {verdicts(held)}.",
            f"The machine was shared; five-minute load average: {load_average()}.",
        ],
        tables=[
            make_table(
                VARIANTS,
                {
                    "search": str,
                    "overhead per trial, s": lambda one: f"{median(one, 'overhead_s'):.2f}",
                    "times ours": lambda one: f"{1 / paired.get(one, 1):.2f}",
                    "idle, %": lambda one: f"{100 * median(one, 'idle'):.0f}",
                    "report, ms": lambda one: f"{median(one, 'report_ms'):.1f}",
                    "quickest tenth": lambda one: f"{median(one, 'quick_report_ms'):.1f}",
                    "checkpoint, ms": lambda one: f"{median(one, 'save_ms'):.1f}",
                    "training, s": lambda one: f"{median(one, 'training_s'):.2f}",
                    "wall, s": lambda one: f"{median(one, 'wall_s'):.1f}",
                    "recorded, s": lambda one: f"{median(one, 'recorded_s'):.1f}",
                },
            )
        ],
        data={"costs": costs, "over_stock": paired, "held": held},
    )
