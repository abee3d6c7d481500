"""All methods on a table, with a search for each seed, and how much sooner each gets there."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
import torch

from benchmarks.efficiency.methods import BUDGET, METHODS, RANDOM, TRAINING
from benchmarks.efficiency.simulate import Trace
from benchmarks.efficiency.table import CurveTable, load
from benchmarks.report import Say
from benchmarks.workers import make_pool
from dtsinn.core.seeds import generator

RESAMPLES = 4000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A method on a table; steps are counted in whole trainings."""

    method: str
    steps: tuple[float, float, float]
    """Lower quartile, median and upper quartile of what it takes to reach the target; what did
    not reach it counts as the whole budget."""
    reached: int
    """Searches that reached the target within random's budget."""
    searches: int
    speed_up: tuple[float, float, float]
    """Random's steps over the method's, paired by seed: geometric mean, and the ends of its 95 %
    bootstrap interval."""
    middle: float
    """Random's median steps over the method's median steps."""
    best: float
    """Median test PSNR of the incumbent after ``early`` steps, dB."""
    trials: float
    """Trials begun, mean."""
    finished: float
    """Trials that spent their budget, mean."""


def target_of(traces: Sequence[Trace], budget: int) -> float:
    """Random's own final best: the median over its searches of the test PSNR at the end, dB."""
    return float(np.median([trace.at(budget) for trace in traces]))


def steps_to(traces: Sequence[Trace], target: float, cap: int) -> Floats:
    """Steps to the target, one value per search; ``cap`` where it was not reached."""
    reached = [trace.reach(target) for trace in traces]
    return np.array([cap if steps is None else min(steps, cap) for steps in reached], dtype=float)


def judge(
    method: str,
    traces: Sequence[Trace],
    of_random: Sequence[Trace],
    *,
    target: float,
    budget: int,
    training: int,
    early: int,
) -> Verdict:
    """Compare the searches of a method with those of random, seed by seed.

    Args:
        method: Its name.
        traces: Its searches of random's budget, one per seed.
        of_random: Random's, with as many seeds, of twice its budget.
        target: Test PSNR to reach, dB.
        budget: Steps of a whole search of random's.
        training: Steps of a whole training.
        early: Steps that every search spends.
    """
    own = steps_to(traces, target, 2 * budget if traces is of_random else budget)
    random = steps_to(of_random, target, 2 * budget)
    logs = np.log(random / own)
    draws = generator("efficiency", "bootstrap").integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), (0.025, 0.975))
    quartiles = np.quantile(own, (0.25, 0.5, 0.75)) / training
    return Verdict(
        method=method,
        steps=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
        reached=sum((trace.reach(target) or 2 * budget) <= budget for trace in traces),
        searches=len(traces),
        speed_up=(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))),
        middle=float(np.median(random) / np.median(own)),
        best=float(np.median([trace.at(early) for trace in traces])),
        trials=float(np.mean([trace.trials for trace in traces])),
        finished=float(np.mean([trace.finished for trace in traces])),
    )


LEAST = 30 * TRAINING
"""Steps that every search spends: where the picture ends."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the methods did on a table."""

    table: str
    target: float
    """Random's own final best, dB."""
    traces: Mapping[str, Sequence[Trace]]
    """By method; random's have twice the budget, others end when they are at the target."""
    verdicts: Sequence[Verdict]
    twice: float
    """Random's final best with twice the budget, dB."""


def compare(
    table: str, folder: Path, names: Sequence[str], seeds: int, *, workers: int, say: Say
) -> Comparison:
    """Search with every method and seed on the table in ``folder``, and judge."""
    with make_pool(workers) as pool:
        random = _searches(pool, table, folder, RANDOM, seeds, math.inf)
        target = target_of(random, BUDGET)
        traces = {RANDOM: random}
        for name in names:
            if name != RANDOM:
                traces[name] = _searches(pool, table, folder, name, seeds, target)
                say(f"{table}: {name} has searched {seeds} times")
    verdicts = [
        judge(name, found, random, target=target, budget=BUDGET, training=TRAINING, early=LEAST)
        for name, found in traces.items()
    ]
    return Comparison(
        table=table,
        target=target,
        traces=traces,
        verdicts=verdicts,
        twice=target_of(random, 2 * BUDGET),
    )


def _searches(
    pool: Executor, table: str, folder: Path, name: str, seeds: int, target: float
) -> list[Trace]:
    one = functools.partial(_search, table, folder, name, target)
    return list(pool.map(one, range(seeds)))


def _search(table: str, folder: Path, name: str, target: float, seed: int) -> Trace:
    """One search, in a process of its own."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    budget = 2 * BUDGET if name == RANDOM else BUDGET
    return METHODS[name].search(
        _table(table, folder), seed, budget=budget, target=target, least=LEAST
    )


@functools.cache
def _table(name: str, folder: Path) -> CurveTable:
    return load(name, folder)
