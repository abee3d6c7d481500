"""Samplers: how the next suggestion is found, and what each of them cannot do."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
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
from dtsinn.core.kinds import Kinds
from dtsinn.search.sampling.halving import SCHEDULERS
from dtsinn.search.sampling.imputed_gp import ImputedGPSampler
from dtsinn.search.space.space import Parameter, values_of

POPULATION = 20
"""Population of NSGA-II (uncited; Optuna's 50 are more trials than most searches have)."""


class Sampler(ABC):
    """How suggestions are found.

    An implementer promises :meth:`make`, an Optuna sampler whose suggestions the seed and the
    study's trials alone decide. The driver asks and tells from one thread. A study has trials that
    were stopped early (PRUNED, with reports) and trials that failed as no configuration should
    (PRUNED, without any): the sampler must ask on after both. It stays within the parameters'
    distributions, and is not asked for parameters whose condition does not hold.
    :func:`dtsinn.testing.check_sampler` tries all of it.
    """

    @staticmethod
    @abstractmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """The sampler of one search.

        Args:
            parameters: Of the space.
            trials: That the search will have at most.
            seed: Of its random numbers.
        """

    @classmethod  # noqa: B027 -- most samplers can do everything
    def check(cls, parameters: Sequence[Parameter], *, trials: int, scheduler: str) -> None:
        """Refuse what the sampler cannot do, before anything starts.

        Raises:
            InputError: It fits neither space, nor number of trials, nor scheduler.
        """


class TPE(Sampler):
    """Tree-structured Parzen estimator."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`optuna.samplers.TPESampler`."""
        return TPESampler(seed=seed, n_startup_trials=startup(trials), constant_liar=True)


class GaussianProcess(Sampler):
    """A Gaussian process that sees stopped and failed trials too."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`dtsinn.search.sampling.imputed_gp.ImputedGPSampler`."""
        return ImputedGPSampler(
            seed=seed, n_startup_trials=startup(trials), warn_independent_sampling=False
        )


class QuasiMonteCarlo(Sampler):
    """A scrambled Sobol sequence, which covers the space evenly."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`optuna.samplers.QMCSampler`."""
        return QMCSampler(
            seed=seed,
            scramble=True,
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )


class Random(Sampler):
    """Independent draws."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`optuna.samplers.RandomSampler`."""
        return RandomSampler(seed=seed)


class NSGA2(Sampler):
    """The genetic algorithm NSGA-II, for several objectives."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`optuna.samplers.NSGAIISampler`."""
        return NSGAIISampler(seed=seed, population_size=min(POPULATION, max(2, trials // 2)))

    @classmethod
    def check(cls, parameters: Sequence[Parameter], *, trials: int, scheduler: str) -> None:
        """Refuse a scheduler that stops trials."""
        if SCHEDULERS[scheduler].stops:
            raise InputError(
                f"--sampler nsga2 with --scheduler {scheduler}: NSGA-II needs completed trials",
                hint="--scheduler none",
            )


class Grid(Sampler):
    """Every point of a finite space once, in random order."""

    @staticmethod
    def make(parameters: Sequence[Parameter], *, trials: int, seed: int) -> BaseSampler:
        """See :class:`optuna.samplers.GridSampler`."""
        return GridSampler({p.key: values_of(p) for p in parameters}, seed=seed)

    @classmethod
    def check(cls, parameters: Sequence[Parameter], *, trials: int, scheduler: str) -> None:
        """Refuse conditions, infinite ranges, and more trials than points."""
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


SAMPLERS: Kinds[Sampler] = Kinds(
    "sampler",
    Sampler,  # type: ignore[type-abstract]
    {
        "tpe": TPE,
        "gp": GaussianProcess,
        "qmc": QuasiMonteCarlo,
        "random": Random,
        "nsga2": NSGA2,
        "grid": Grid,
    },
    group="dtsinn.samplers",
)
"""The samplers by the name that ``--sampler`` takes."""


def startup(trials: int) -> int:
    """Random trials before a sampler learns; ten, Optuna's default, would be a small search's all.

    Args:
        trials: That the search will have at most.
    """
    return max(2, min(10, trials // 4))


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
    with warnings.catch_warnings():
        # Warned of are options that are used on purpose, and which the constraints pin down.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[name].make(parameters, trials=trials, seed=seed)


def check_sampler(
    name: str, parameters: Sequence[Parameter], *, trials: int, scheduler: str
) -> None:
    """Refuse what a sampler cannot do, before anything starts.

    Raises:
        InputError: No such sampler, or one that fits neither space nor scheduler.
    """
    SAMPLERS.find(name).check(parameters, trials=trials, scheduler=scheduler)
