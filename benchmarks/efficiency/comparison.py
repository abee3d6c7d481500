"""The methods that search, compared on a table: how much sooner does each get there?"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
import torch
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from benchmarks.efficiency.curves import REPORTS, STEPS_OF_REPORT
from benchmarks.efficiency.simulate import Decide, Trace, parameters_of, search
from benchmarks.efficiency.table import CurveTable, load
from benchmarks.report import Say
from benchmarks.workers import make_pool
from dtsinn.core.seeds import generator
from dtsinn.search.sampling.halving import BRACKETS, FIRST_PART, REDUCTION, Halving
from dtsinn.search.sampling.samplers import make_sampler

TRAINING = REPORTS * STEPS_OF_REPORT
"""Steps of a whole training."""
TRIALS = 100
"""Trials of random search."""
BUDGET = TRIALS * TRAINING
"""Steps of all its trials."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to search."""

    name: str
    sampler: Callable[[CurveTable, int], BaseSampler]
    """Made of the table, whose grid is the space, and a seed."""
    decide: Callable[[optuna.Study], Decide] | None = None
    pruner: Callable[[], BasePruner] | None = None

    def search(
        self, table: CurveTable, seed: int, *, budget: int, target: float, least: int
    ) -> Trace:
        """One search; see :func:`simulate.search`."""
        return search(
            table,
            self.sampler(table, seed),
            self.decide,
            budget=budget,
            pruner=self.pruner() if self.pruner else None,
            name=f"seed {seed}",
            target=target,
            least=least,
        )


def product(name: str) -> Callable[[CurveTable, int], BaseSampler]:
    """A sampler of the product with its own settings, for a search of as many trials as random."""
    return lambda table, seed: make_sampler(name, parameters_of(table), trials=TRIALS, seed=seed)


def halving(*, first: float, reduction: float, brackets: int = 1) -> Callable[..., Decide]:
    """The product's halving; ``first`` is the first rung as a part of a training."""

    def made(study: optuna.Study) -> Decide:
        rungs = Halving(
            first=round(first * TRAINING), most=TRAINING, reduction=reduction, brackets=brackets
        )
        return lambda trial, step, value: rungs.goes_on(
            str(trial.number), trial.number, step, value
        )

    return made


def optuna_decides(study: optuna.Study) -> Decide:
    """What Optuna's own pruner says."""
    return lambda trial, step, value: not trial.should_prune()


def hyperband() -> BasePruner:
    """Optuna's Hyperband with its defaults, over the reports of a training."""
    return HyperbandPruner(min_resource=STEPS_OF_REPORT, max_resource=TRAINING, reduction_factor=3)


RANDOM = "random"
KEEN, THIRD = 1 / 27, 1 / 3

_ALL = (
    Method(name=RANDOM, sampler=lambda table, seed: RandomSampler(seed=seed)),
    Method(
        name="random + ASHA from 1/27",
        sampler=lambda table, seed: RandomSampler(seed=seed),
        decide=halving(first=KEEN, reduction=3),
    ),
    Method(
        name="random + ASHA from 1/3",
        sampler=lambda table, seed: RandomSampler(seed=seed),
        decide=halving(first=THIRD, reduction=3),
    ),
    Method(name="Optuna's TPE", sampler=lambda table, seed: TPESampler(seed=seed)),
    Method(
        name="Optuna's TPE + Hyperband",
        sampler=lambda table, seed: TPESampler(seed=seed),
        decide=optuna_decides,
        pruner=hyperband,
    ),
    Method(
        name="gp",
        sampler=product("gp"),
    ),
    Method(
        name="tpe + halving from 2/3",
        sampler=product("tpe"),
        decide=halving(first=FIRST_PART, reduction=REDUCTION, brackets=BRACKETS),
    ),
)
METHODS = {method.name: method for method in _ALL}
JUDGED = "tpe + halving from 2/3"
"""The default of the product."""
SHOWN = (RANDOM, "random + ASHA from 1/3", "Optuna's TPE", "Optuna's TPE + Hyperband", JUDGED)
"""In the picture."""
SLOW = ("gp",)
"""Takes longer than all others together."""


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
