"""Who competes: the baselines, and the product's own."""

from __future__ import annotations

from optuna.samplers import RandomSampler, TPESampler

from benchmarks.efficiency.methods import Method, halving, hyperband, optuna_decides, product
from dtsinn.search.sampling.halving import BRACKETS, FIRST_PART, REDUCTION

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
