"""The conformance test of samplers."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from dtsinn.core.errors import InputError
from dtsinn.search.sampling.samplers import Sampler
from dtsinn.search.space.space import Parameter, SearchSpace
from dtsinn.testing.require import require

TRIALS = 6
RATE = Parameter(key="rate", distribution=FloatDistribution(1e-4, 1e-1, log=True))
BLOCKS = Parameter(key="blocks", distribution=IntDistribution(1, 3))
KIND = Parameter(key="kind", distribution=CategoricalDistribution(("a", "b")))
CLAMP = Parameter(key="clamp", distribution=IntDistribution(1, 2), when={"kind": ("b",)})
FINITE = (BLOCKS, KIND)
SPACES = ((RATE, BLOCKS, KIND), (RATE, KIND, CLAMP))
"""What a sampler may refuse in ``check``: infinitely many values, and a condition."""


def check_sampler(sampler: type[Sampler]) -> None:
    """Try what :class:`dtsinn.search.sampling.samplers.Sampler` promises.

    A small finite space must be searched; others may be refused with an ``InputError``.

    Args:
        sampler: The class; it need not be in the dictionary.

    Raises:
        AssertionError: A promise does not hold.
    """
    require(issubclass(sampler, Sampler), f"{sampler.__name__} inherits from Sampler")
    sampler.check(FINITE, trials=TRIALS, scheduler="none")
    for parameters in (FINITE, *SPACES):
        with contextlib.suppress(InputError):
            sampler.check(parameters, trials=TRIALS, scheduler="none")
            _check_suggestions(sampler, parameters)


def _check_suggestions(sampler: type[Sampler], parameters: Sequence[Parameter]) -> None:
    first, again = (_suggestions(sampler, parameters) for _ in range(2))
    name = sampler.__name__
    require(first == again, f"{name}: the seed and the trials decide what it suggests")
    for point in first:
        for parameter in parameters:
            if parameter.holds(point):
                require(
                    parameter.has(point.get(parameter.key)),
                    f"{name}: {parameter.key} is within its range; got {point}",
                )


def _suggestions(sampler: type[Sampler], parameters: Sequence[Parameter]) -> list[dict[str, Any]]:
    """What is suggested in a search where trials finish, are stopped, and fail in turn."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        made = sampler.make(parameters, trials=TRIALS, seed=3)
    space = SearchSpace(name="conformance", base={}, parameters=tuple(parameters))
    study = optuna.create_study(direction="maximize", sampler=made)
    for number in range(TRIALS):
        trial = study.ask()
        space.draw(trial)
        with contextlib.suppress(RuntimeError):  # a grid at its end stops Optuna's own loop
            if number % 3 == 1:
                study.tell(trial, state=TrialState.PRUNED)
                continue
            trial.report(float(number), 10)
            if number % 3 == 2:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, float(number))
    return [trial.params for trial in study.trials]
