"""Objectives: which metrics of a trial a search makes large or small, and which trials did best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtsinn.core.errors import InputError
from dtsinn.search.events.state import SearchState, TrialRecord
from dtsinn.search.space.constraints import OutcomeConstraint

OBJECTIVE = "best_psnr"
"""What a search maximises unless told otherwise: a trial's highest validation PSNR so far, dB."""
METRICS = {
    "psnr": OBJECTIVE,
    "step_seconds": "step_seconds",
    "seconds": "seconds",
    "cpu_seconds": "cpu_seconds",
    "parameters": "parameters",
    "round_trip_error": "round_trip_error",
    "kinetic_error": "val_kinetic_error",
    "kinetic_bias": "val_kinetic_bias",
    "conservation": "val_conservation",
}
"""What can be an objective, and its key in a trial's reports."""
TITLES = {
    "psnr": ("validation PSNR", "dB"),
    "step_seconds": ("time of a step", "s"),
    "seconds": ("wall time", "s"),
    "cpu_seconds": ("CPU time", "s"),
    "parameters": ("parameters", ""),
    "round_trip_error": ("round-trip error", ""),
    "kinetic_error": ("kinetic error", "%"),
    "kinetic_bias": ("kinetic bias", "%"),
    "conservation": ("activity not conserved", "%"),
}
"""The same in words, with their units."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One metric, and which way it is to go."""

    metric: str
    """Name of :data:`METRICS`."""
    maximise: bool

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise InputError(
                "no such objective", got=repr(self.metric), wanted=", ".join(sorted(METRICS))
            )

    @property
    def key(self) -> str:
        """Its key in a trial's reports."""
        return METRICS[self.metric]

    @property
    def title(self) -> str:
        """The metric in words: ``validation PSNR``."""
        return TITLES[self.metric][0]

    @property
    def label(self) -> str:
        """The metric in words, with its unit: ``validation PSNR, dB``."""
        return ", ".join(filter(None, TITLES[self.metric]))

    def value(self, metrics: Mapping[str, float]) -> float:
        """The metric in a report; NaN where it is missing."""
        value = metrics.get(self.key, math.nan)
        return float(value) if isinstance(value, int | float) else math.nan

    def text(self, value: float) -> str:
        """A value with its unit: ``31.42 dB``."""
        number = f"{value:.2f}" if self.metric == "psnr" else f"{value:.4g}"
        return f"{number} {TITLES[self.metric][1]}".rstrip()

    def __str__(self) -> str:
        return f"{self.metric}:{'max' if self.maximise else 'min'}"


def violations(
    metrics: Mapping[str, float], outcomes: Sequence[OutcomeConstraint]
) -> dict[str, float]:
    """How far each outcome is above what it may be; below 0 it is within.

    What was not reported counts as twice the limit: nothing shows that it is kept.
    """
    found = {}
    for outcome in outcomes:
        value = metrics.get(METRICS[outcome.metric], math.nan)
        told = isinstance(value, int | float) and math.isfinite(value)
        found[outcome.text] = float(value) - outcome.most if told else outcome.most
    return found


def keeps(metrics: Mapping[str, float], outcomes: Sequence[OutcomeConstraint]) -> bool:
    """Whether a report keeps all outcome constraints."""
    return all(value <= 0 for value in violations(metrics, outcomes).values())


PSNR = (Objective(metric="psnr", maximise=True),)


def read_objectives(text: str) -> tuple[Objective, ...]:
    """Objectives as they are typed: ``psnr:max,step_seconds:min``.

    Raises:
        InputError: An unknown metric or direction, or a metric that stands twice.
    """
    found = []
    for part in text.lower().split(","):
        metric, _, way = part.strip().partition(":")
        if way not in {"max", "min"}:
            raise InputError("--objective", got=repr(part), wanted="METRIC:max or METRIC:min")
        found.append(Objective(metric=metric, maximise=way == "max"))
    if len({objective.metric for objective in found}) < len(found):
        raise InputError("--objective names a metric twice", got=text)
    return tuple(found)


def dominates(
    one: Sequence[float], other: Sequence[float], objectives: Sequence[Objective]
) -> bool:
    """Whether ``one`` is at least as good in every objective, and better in one."""
    signed = [
        (a, b) if objective.maximise else (-a, -b)
        for a, b, objective in zip(one, other, objectives, strict=True)
    ]
    return all(a >= b for a, b in signed) and any(a > b for a, b in signed)


def pareto_front(
    values: Mapping[str, Sequence[float]], objectives: Sequence[Objective]
) -> list[str]:
    """Those that nobody dominates, in the order of ``values``."""
    return [
        name
        for name, own in values.items()
        if not any(dominates(other, own, objectives) for other in values.values())
    ]


def rank_trials(
    search: SearchState,
    objectives: Sequence[Objective],
    outcomes: Sequence[OutcomeConstraint] = (),
) -> list[TrialRecord]:
    """All trials with a finite value of the first objective that keep ``outcomes``, best first."""
    first = objectives[0]
    having = [
        (first.value(trial.metrics), trial)
        for trial in search.trials.values()
        if math.isfinite(first.value(trial.metrics)) and keeps(trial.metrics, outcomes)
    ]
    ordered = sorted(having, key=lambda pair: pair[0], reverse=first.maximise)
    return [trial for _, trial in ordered]


def best_trial(
    search: SearchState,
    objectives: Sequence[Objective],
    outcomes: Sequence[OutcomeConstraint] = (),
) -> TrialRecord | None:
    """The best of them; with several objectives the best in the first one."""
    return next(iter(rank_trials(search, objectives, outcomes)), None)


def front_of(
    search: SearchState,
    objectives: Sequence[Objective],
    outcomes: Sequence[OutcomeConstraint] = (),
) -> list[str]:
    """Names of the finished trials within ``outcomes`` that no other one beats in all."""
    values = {
        trial.name: [objective.value(trial.metrics) for objective in objectives]
        for trial in search.trials.values()
        if trial.state == "finished" and keeps(trial.metrics, outcomes)
    }
    finite = {name: own for name, own in values.items() if all(map(math.isfinite, own))}
    return pareto_front(finite, objectives)
