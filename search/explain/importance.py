"""Which parameters mattered: fANOVA over trials at one step, against what chance would give.

The importance of a parameter is the share of the variance of the objective among trials that the
parameter explains alone, from a random forest fitted to them (Hutter, Hoos and Leyton-Brown, ICML
2014; Optuna's implementation). A forest finds something in any numbers, so the same is done with
the values shuffled among the trials: only a share above all of those is called one that matters.

* Trials are compared at one step, not each where it stopped. It is the latest that at least half
  of the trials with a value have reached. Later ones would compare what the scheduler left, which
  is alike in just what mattered.
* Values worse than Tukey's fence (the worse quartile less 1.5 times the distance of the quartiles)
  count as the fence, or one divergence would be all of the variance.
* Parameters with a logarithmic range are judged on that scale.
* A parameter under a condition (``when``) is judged over the trials that have it, beside the
  parameters without a condition and those with the same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from dtsinn.core.progress import Progress, no_progress
from dtsinn.search.explain.common_step import FEWEST, Judged, clip_to_fence, compare_at_common_step
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.ranges import describe_condition, describe_good, measure_lean
from dtsinn.search.space.space import Parameter

GOOD = 0.25
"""Part of the trials whose values are called good (uncited)."""
MOST = 200
"""Trials that a forest is fitted to; of more a part is drawn (uncited: seconds, not minutes)."""
SHUFFLES = 9
"""Times that the values are shuffled: by chance alone a parameter is above all of them in one
case of ten."""
TREES = 32
"""Trees of a forest (uncited; half of Optuna's)."""
DEPTH = 6
"""Depth of a tree (uncited): deeper ones learn single trials by heart, and take long."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What one parameter explains."""

    key: str
    share: float
    """Part of the variance that it explains alone, 0 to 1."""
    chance: float
    """The largest such part with the values shuffled."""
    trials: int
    """That it was judged over."""
    condition: str
    """When it is searched, in words; empty where always."""
    good: str
    """Its values in the best quarter of the trials, in words."""
    lean: float
    """Where the median of those values stands in the range, 0 to 1; 0.5 without an order."""

    @property
    def matters(self) -> bool:
        """Whether it explains more than chance does."""
        return self.share > self.chance


@dataclass(frozen=True, kw_only=True)
class Importances:
    """What all parameters explain, and how that was found."""

    rows: tuple[Importance, ...] = ()
    """The largest share first; empty where nothing could be judged."""
    step: int = 0
    """At which the trials are compared."""
    trials: int = 0
    """That reached it."""
    note: str = ""
    """How they were judged, or why not, in words."""

    @property
    def mattering(self) -> list[Importance]:
        """Those that explain more than chance does."""
        return [row for row in self.rows if row.matters]


def importances(facts: Facts, seed: int = 0, progress: Progress = no_progress) -> Importances:
    """The importances of a search's parameters for its first objective.

    Args:
        facts: Of the search.
        seed: Of the forests and shuffles.
        progress: Told of each forest.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    step, judged = compare_at_common_step(facts)
    if len(judged) < FEWEST:
        return Importances(
            step=step,
            trials=len(judged),
            note=f"Too few trials have a value to say what mattered: {len(judged)}, and at least "
            f"{FEWEST} are needed.",
        )
    values = clip_to_fence(np.array([one.value for one in judged]), facts.objective.maximise)
    if np.ptp(values) == 0:
        return Importances(
            step=step, trials=len(judged), note="All trials have the same value: nothing mattered."
        )
    judged = [
        Judged(suggestion=one.suggestion, value=float(value))
        for one, value in zip(judged, values, strict=True)
    ]
    rows = []
    branches = _find_branches(facts.space.parameters)
    total = len(branches) * (SHUFFLES + 1)
    for place, parameters in enumerate(branches):

        def report_progress(done: int, before: int = place * (SHUFFLES + 1)) -> None:
            progress("forests", before + done, total)

        rows += _judge_branch(facts, parameters, judged, seed, report_progress)
    left = [p.key for p in facts.space.parameters if p.key not in {row.key for row in rows}]
    note = _write_note(facts, step, len(judged))
    if left:
        note += f" Not judged, as fewer than {FEWEST} trials have it: {', '.join(left)}."
    rows.sort(key=lambda row: -row.share)
    return Importances(rows=tuple(rows), step=step, trials=len(judged), note=note)


def _find_branches(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """Groups that are judged together: those that are always searched, then by condition."""
    always = [parameter for parameter in parameters if not parameter.when]
    groups = [always] if always else []
    conditions: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        if parameter.when:
            conditions.setdefault(describe_condition(parameter), []).append(parameter)
    return [*groups, *conditions.values()]


def _judge_branch(
    facts: Facts,
    branch: Sequence[Parameter],
    judged: Sequence[Judged],
    seed: int,
    report_progress: Callable[[int], None],
) -> list[Importance]:
    """Importances of the parameters of one group, over the trials that have them."""
    asked = {parameter.key for parameter in branch}
    beside = [p for p in facts.space.parameters if not p.when or p.key in asked]
    own = [
        one
        for one in judged
        if all(p.key in one.suggestion and p.has(one.suggestion[p.key]) for p in beside)
    ]
    if len(own) < FEWEST:
        return []
    rng = np.random.default_rng(seed)
    everyone = own
    if len(own) > MOST:
        own = [own[place] for place in np.sort(rng.choice(len(own), MOST, replace=False))]
    values = np.array([one.value for one in own])
    shares = _explain_shares(beside, own, values, seed)
    shuffled = []
    for number in range(1, SHUFFLES + 1):
        report_progress(number)
        shuffled.append(_explain_shares(beside, own, rng.permutation(values), seed + number))
    report_progress(SHUFFLES + 1)
    return [
        Importance(
            key=parameter.key,
            share=shares[parameter.key],
            chance=max(one[parameter.key] for one in shuffled),
            trials=len(own),
            condition=describe_condition(parameter),
            good=describe_good(parameter, good := _find_good(facts, parameter, everyone)),
            lean=measure_lean(parameter, good),
        )
        for parameter in branch
    ]


def _find_good(facts: Facts, parameter: Parameter, judged: Sequence[Judged]) -> list[Any]:
    """The parameter's values in the best quarter of the trials."""
    ordered = sorted(judged, key=lambda one: one.value, reverse=facts.objective.maximise)
    return [one.suggestion[parameter.key] for one in ordered[: math.ceil(GOOD * len(ordered))]]


def _explain_shares(
    parameters: Sequence[Parameter],
    judged: Sequence[Judged],
    values: NDArray[np.float64],
    seed: int,
) -> dict[str, float]:
    """Part of the variance of ``values`` that each parameter explains alone."""
    if np.ptp(values) == 0:
        return {parameter.key: 0.0 for parameter in parameters}
    study = optuna.create_study()
    study.add_trials(
        [_make_trial(parameters, one, value) for one, value in zip(judged, values, strict=True)]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
    try:
        found = evaluator.evaluate(study, params=[parameter.key for parameter in parameters])
    except RuntimeError as error:
        if "zero total variance" not in str(error):
            raise
        # All trials have the same values of these parameters: they tell nothing apart.
        return {parameter.key: 0.0 for parameter in parameters}
    return {key: float(share) if math.isfinite(share) else 0.0 for key, share in found.items()}


def _make_trial(parameters: Sequence[Parameter], judged: Judged, value: float) -> FrozenTrial:
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for parameter in parameters:
        of, own = parameter.distribution, judged.suggestion[parameter.key]
        if isinstance(of, FloatDistribution) and of.log:
            of = FloatDistribution(math.log10(of.low), math.log10(of.high))
            own = min(max(math.log10(own), of.low), of.high)
        params[parameter.key], distributions[parameter.key] = own, of
    return create_trial(params=params, distributions=distributions, value=float(value))


def _write_note(facts: Facts, step: int, count: int) -> str:
    warm = " (results of earlier searches among them)" if facts.history.warm else ""
    silent = len(facts.trials) - len(facts.reached)
    text = (
        f"Judged over {_count_trials(count)}{warm} at step {step}, the latest that half of the "
        "trials with a value have reached."
    )
    if count > MOST:
        text += f" Of more than {MOST}, {MOST} drawn at random are judged."
    if silent:
        text += (
            f" {_count_trials(silent)} without any value {'is' if silent == 1 else 'are'} left out."
        )
    return text


def _count_trials(number: int) -> str:
    return f"{number} trial" if number == 1 else f"{number} trials"


def rank_parameters(facts: Facts, found: Importances) -> list[Parameter]:
    """The parameters, those that explain most first."""
    shares = {row.key: row.share for row in found.rows}
    return sorted(facts.space.parameters, key=lambda p: -shares.get(p.key, 0.0))
