"""Samplers: how the next suggestion is found, and what each of them cannot do."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    GridSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)

from dtsinn.core.errors import InputError
from dtsinn.search.sampling.imputed_gp import ImputedGPSampler
from dtsinn.search.space.space import Parameter, values_of

SAMPLERS = ("tpe", "gp", "qmc", "random", "nsga2", "grid")
POPULATION = 20
"""Of NSGA-II (uncited; Optuna's 50 are more trials than most searches have)."""


def make_sampler(
    name: str, parameters: Sequence[Parameter], *, trials: int, seed: int
) -> BaseSampler:
    """A sampler of suggestions.

    Args:
        name: One of :data:`SAMPLERS`.
        parameters: Of the space.
        trials: That the search will have at most.
        seed: Of its random numbers.
    """
    # A few random trials first; ten, Optuna's default, would be all of a small search.
    startup = max(2, min(10, trials // 4))
    with warnings.catch_warnings():
        # Warned of are options that are used on purpose, and which the constraints pin down.
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "tpe":
            return TPESampler(
                seed=seed,
                n_startup_trials=startup,
                constant_liar=True,
            )
        if name == "gp":
            return ImputedGPSampler(
                seed=seed, n_startup_trials=startup, warn_independent_sampling=False
            )
        if name == "qmc":
            return QMCSampler(
                seed=seed,
                scramble=True,
                warn_independent_sampling=False,
                warn_asynchronous_seeding=False,
            )
        if name == "nsga2":
            return NSGAIISampler(seed=seed, population_size=min(POPULATION, max(2, trials // 2)))
        if name == "grid":
            return GridSampler({p.key: values_of(p) for p in parameters}, seed=seed)
        return RandomSampler(seed=seed)


def check_sampler(
    name: str, parameters: Sequence[Parameter], *, trials: int, scheduler: str
) -> None:
    """Refuse what a sampler cannot do, before anything starts.

    Raises:
        InputError: No such sampler, or one that fits neither space nor scheduler.
    """
    if name not in SAMPLERS:
        raise InputError("no such sampler", got=repr(name), wanted=", ".join(SAMPLERS))
    if name == "nsga2" and scheduler != "none":
        raise InputError(
            f"--sampler nsga2 with --scheduler {scheduler}: stopped trials have no offspring",
            hint="--scheduler none",
        )
    if name != "grid":
        return
    for parameter in parameters:
        if parameter.when:
            raise InputError(
                f"--sampler grid: {parameter.key} is searched under a condition",
                hint="--sampler tpe, or a space without when",
            )
        if parameter.count is None:
            raise InputError(
                f"--sampler grid: {parameter.key} has infinitely many values",
                hint="a choice or int range, or --sampler tpe",
            )
    size = math.prod(parameter.count or 1 for parameter in parameters)
    if trials > size:
        raise InputError(
            f"--sampler grid: {trials} trials",
            got=f"a grid of {size} points",
            hint=f"--trials {size}",
        )
