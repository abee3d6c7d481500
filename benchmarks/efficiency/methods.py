"""The methods that search: samplers with their settings, and what stops trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from benchmarks.efficiency.curves import REPORTS, STEPS_OF_REPORT
from benchmarks.efficiency.simulate import Decide, Trace, parameters_of, search
from benchmarks.efficiency.table import CurveTable
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
