"""Warnings: what to doubt in a search's result, and what to change in the next one."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from optuna.distributions import CategoricalDistribution

from dtsinn.core.display import value_text
from dtsinn.search.events.state import TrialRecord
from dtsinn.search.explain.common_step import FEWEST
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances
from dtsinn.search.explain.ranges import find_end, goes_on
from dtsinn.search.space.space import Parameter

FEW = 2
"""Trials with a value, per parameter, below which there are few (uncited)."""
MANY = 0.2
"""Part of the trials, or of the suggestions, from which on there are many (uncited)."""
ALIKE = 0.5
"""Part of the infeasible trials that a condition must hold, beyond its part of the others, to be
called what they share (Youden's index, Cancer 1950; the bound uncited)."""
LEAST_EXPLAINED = 0.05
"""Share of variance from which on a best value at an end of its range is worth a word (uncited)."""


LEANING = 1 / 3
"""Part of a range, from its end, in which the median of the best quarter must be (uncited)."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What infeasible trials have in common."""

    text: str
    """The condition in words."""
    infeasible: int
    """Infeasible trials that it holds for."""
    others: int
    """Other trials that it holds for."""


def find_warnings(facts: Facts, found: Importances) -> list[str]:
    """All warnings, in words."""
    return [
        *_warn_of_state(facts),
        *_warn_of_size(facts),
        *_warn_of_edges(facts, found),
        *_warn_of_ends(facts),
    ]


def _warn_of_state(facts: Facts) -> Iterator[str]:
    history = facts.history
    if history.state == "running":
        yield "The search has not ended: all of this may change."
    elif history.state in {"failed", "killed"}:
        reason = f": {history.reason}" if history.reason else ""
        how = "was ended" if history.state == "killed" else "failed"
        yield f"The search {how} before its end{reason}."


def _warn_of_size(facts: Facts) -> Iterator[str]:
    if not facts.trials:
        return
    valued, moved = len(facts.reached), len(facts.space.parameters)
    if valued < max(FEW * moved, FEWEST):
        yield (
            f"Few trials: {valued} with a value for {moved} parameters. The best may be the best "
            "by chance, and importances are rough."
        )
    if valued and "finished" not in facts.outcomes:
        yield "No trial has spent its budget yet: the best is one of unfinished trials."
    if facts.base is None:
        yield "No trial with the base configuration has a value: what was gained is not known."


def _warn_of_edges(facts: Facts, found: Importances) -> Iterator[str]:
    best = facts.best
    if best is None or len(facts.reached) < FEWEST:
        return
    mattering = {row.key: row for row in found.mattering}
    for parameter in facts.space.parameters:
        key = parameter.key
        row = mattering.get(key)
        if key not in best.suggestion or row is None or row.share < LEAST_EXPLAINED:
            continue
        end = find_end(parameter, best.suggestion[key])
        # One best value at an end may be chance; the best quarter must lean there too.
        leans = row.lean <= LEANING if end == "lower" else row.lean >= 1 - LEANING
        if end and leans and goes_on(parameter, end, facts.space, best.suggestion):
            yield (
                f"The best {key}, {value_text(best.suggestion[key])}, is at the {end} end of its "
                f"range: widen it to {'smaller' if end == 'lower' else 'larger'} values."
            )


def _warn_of_ends(facts: Facts) -> Iterator[str]:
    history, trials = facts.history, facts.trials
    refused = len(history.refused)
    if refused and refused >= MANY * (refused + len(trials)):
        reason, times = Counter(str(one["reason"]) for one in history.refused).most_common(1)[0]
        yield (
            f"{refused} of {refused + len(trials)} suggestions were refused before they were "
            f"trials, {times} of them: {reason}"
        )
    infeasible = [trial for trial in trials if facts.outcome(trial) == "infeasible"]
    if infeasible and len(infeasible) >= MANY * len(trials):
        text = f"{len(infeasible)} of {len(trials)} trials were infeasible"
        reason, times = Counter(trial.reason for trial in infeasible).most_common(1)[0]
        text += f", {times} of them: {reason}." if reason else "."
        alike = find_shared_condition(facts)
        if alike is not None:
            text += (
                f" {alike.infeasible} of the {len(infeasible)} have {alike.text}, and "
                f"{alike.others} of the other {len(trials) - len(infeasible)} trials."
            )
        yield text
    faults = facts.outcomes.get("failed", 0)
    if faults:
        yield f"Faults of the machine ended {faults} of {len(trials)} trials."


def find_shared_condition(facts: Facts) -> Shared | None:
    """The condition on one parameter that best tells infeasible trials from the others, if any."""
    infeasible = [trial for trial in facts.trials if facts.outcome(trial) == "infeasible"]
    others = [trial for trial in facts.trials if facts.outcome(trial) != "infeasible"]
    if len(infeasible) < FEWEST or not others:
        return None
    chosen: tuple[float, Shared] | None = None
    for parameter in facts.space.parameters:
        for text, meets in _list_conditions(parameter, infeasible):
            within, beyond = (
                sum(parameter.key in one.suggestion and meets(one.suggestion[parameter.key])
                    for one in trials)
                for trials in (infeasible, others)
            )  # fmt: skip
            index = within / len(infeasible) - beyond / len(others)
            if index >= ALIKE and (chosen is None or index > chosen[0]):
                chosen = index, Shared(text=text, infeasible=within, others=beyond)
    return chosen[1] if chosen else None


def _list_conditions(
    parameter: Parameter, infeasible: Sequence[TrialRecord]
) -> Iterator[tuple[str, Callable[[Any], bool]]]:
    """Conditions that may tell infeasible trials apart: in words, and whether a value meets it.

    They are on a value, or a bound, of one of them.
    """
    key = parameter.key
    values = {trial.suggestion[key] for trial in infeasible if key in trial.suggestion}
    if isinstance(parameter.distribution, CategoricalDistribution):
        for value in sorted(values, key=str):
            yield f"{key} {value_text(value)}", partial(operator.eq, value)
        return
    for bound in sorted(values):
        yield f"{key} of {value_text(bound)} or more", partial(operator.le, bound)
        yield f"{key} of {value_text(bound)} or less", partial(operator.ge, bound)
