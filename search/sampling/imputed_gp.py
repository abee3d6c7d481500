"""An imputed Gaussian process: what pruned trials teach a sampler that learns from complete ones.

Optuna's Gaussian process looks at COMPLETE trials alone. In a search whose scheduler prunes most
trials, and some of whose regions diverge, it would go back to both again and again. Here it is
shown what they would have come to:

* A trial that was pruned is shown with the value that finished trials suggest: the line through
  their values at the step where it was pruned and at their ends.
* A trial without any value diverged, lost its inverse or had no memory: it is shown at the floor.
* The floor is the lower quartile of the finished values, and nothing is shown below it: how bad a
  bad trial is would only blur what tells good ones apart.
* A trial of another branch of the space, without some parameter that all finished ones have, is
  not shown.

The study itself holds nothing but the truth.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

FINISHED = 3
"""Finished trials from which others are imputed; before, suggestions are random (uncited)."""
FLOOR = 0.25
"""Quantile of the finished values below which nothing is shown (uncited)."""


class ImputedGPSampler(GPSampler):
    """A Gaussian process that sees pruned and infeasible trials too, for a single objective."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next values; none, so that they are drawn at random, while little is finished."""
        shown: Any = study
        if len(study.directions) == 1:
            trials = study.get_trials(deepcopy=False)
            if sum(one.state is TrialState.COMPLETE for one in trials) < FINISHED:
                return {}
            sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
            # The relative space is what finished trials share; others may be of another branch.
            fitting = [
                one
                for one in impute(trials, sign)
                if one.state is not TrialState.COMPLETE or search_space.keys() <= one.params.keys()
            ]
            shown = _Shown(study, fitting)
        values: dict[str, Any] = super().sample_relative(shown, trial, search_space)
        return values


def impute(trials: Sequence[FrozenTrial], sign: float = 1.0) -> list[FrozenTrial]:
    """The trials with every pruned or infeasible one COMPLETE, at the value that it would have had.

    Args:
        trials: Some of them finished.
        sign: 1 where values are maximised, -1 where they are minimised.
    """
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    ends = np.array([sign * _value(trial) for trial in finished])
    floor = float(np.quantile(ends, FLOOR))
    shown = []
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            value = sign * _value(trial)
        elif trial.state is TrialState.PRUNED:
            value = _impute_value(trial, finished, ends, floor, sign)
        else:
            shown.append(trial)
            continue
        done = copy.copy(trial)
        done.state, done.value = TrialState.COMPLETE, sign * max(value, floor)
        shown.append(done)
    return shown


def _impute_value(
    trial: FrozenTrial,
    finished: Sequence[FrozenTrial],
    ends: np.ndarray[Any, np.dtype[np.float64]],
    floor: float,
    sign: float,
) -> float:
    """By the line through the finished trials' values at its last step; never above the best."""
    if not trial.intermediate_values:
        return floor
    step = max(trial.intermediate_values)
    then = np.array([sign * _at(one.intermediate_values, step, _value(one)) for one in finished])
    now, spread = sign * trial.intermediate_values[step], float(then.var())
    slope = max(0.0, float(np.mean((then - then.mean()) * (ends - ends.mean()))) / (spread + 1e-9))
    return float(min(ends.max(), ends.mean() + slope * (now - then.mean())))


def _at(values: Mapping[int, float], step: int, end: float) -> float:
    """What a finished trial had at a step: its report there or the first one after it."""
    later = [reported for reported in values if reported >= step]
    return values[min(later)] if later else end


def _value(trial: FrozenTrial) -> float:
    return float(trial.values[0])


class _Shown:
    """A study whose trials are replaced; all else is the study's own."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]
