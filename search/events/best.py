"""Which trials did best, by what the event log knows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dtsinn.search.events.state import SearchState, TrialRecord
from dtsinn.search.objective import Objective, pareto_front


def ranked(search: SearchState, objectives: Sequence[Objective]) -> list[TrialRecord]:
    """All trials with a finite value of the first objective, best first."""
    first = objectives[0]
    having = [
        (first.value(trial.metrics), trial)
        for trial in search.trials.values()
        if math.isfinite(first.value(trial.metrics))
    ]
    ordered = sorted(having, key=lambda pair: pair[0], reverse=first.maximise)
    return [trial for _, trial in ordered]


def best_trial(search: SearchState, objectives: Sequence[Objective]) -> TrialRecord | None:
    """The best of them; with several objectives the best in the first one."""
    return next(iter(ranked(search, objectives)), None)


def front_of(search: SearchState, objectives: Sequence[Objective]) -> list[str]:
    """Names of the finished trials that no other one beats in all objectives."""
    values = {
        trial.name: [objective.value(trial.metrics) for objective in objectives]
        for trial in search.trials.values()
        if trial.state == "finished"
    }
    finite = {name: own for name, own in values.items() if all(map(math.isfinite, own))}
    return pareto_front(finite, objectives)
