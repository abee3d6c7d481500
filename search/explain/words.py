"""The conclusion of a search in words: how it ended, the best, what mattered, what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtsinn.core.display import duration, percent, value_text
from dtsinn.search.explain.advice import find_warnings
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances
from dtsinn.search.objective import PSNR
from dtsinn.search.space.space import SearchSpace

PUBLISHED: Mapping[str, Any] = {
    "model.kind": "invertible",
    "model.blocks": 8,
    "model.squeeze": "none",
    "model.coupling": "one-sided",
    "model.subnet": "dense",
    "model.width": 32,
    "model.depth": 5,
    "model.shared_trunk": False,
    "model.mixing": "random orthogonal 1x1",
    "model.last_mixing": False,
    "model.clamp": 0.8,
    "model.start": "xavier",
    "model.variables": "repeat",
    "model.conditioning": "none",
    "loss.forward": 1.0,
    "loss.frame_weights": "equal",
    "loss.backward": 1.0,
    "loss.backward_target": "own",
    "loss.consistency": 0.0,
    "loss.structure": 0.0,
    "loss.time_activity": 0.0,
    "loss.non_negativity": 0.0,
    "optimizer.learning_rate": "0.0001, constant",
    "optimizer.warm_up": 0,
    "optimizer.weight_decay": 0.0,
    "optimizer.beta2": 0.999,
    "optimizer.clip": "none",
    "optimizer.ema": 0.0,
    "batch": 1,
    "accumulate": 1,
    "precision": "float32",
}
"""The published recipe by dotted key, as trained by the code of DTS-INN (Sun et al., IEEE TRPMS,
document 10542421), and as written anew in ``docs/benchmarks.md``; what dtsinn has no setting for
stands in words. The published learning rate is halved at epochs 50, 100, 150, 200, 250 and 500,
which short trainings never reach."""
NEEDS = {
    "model.clamp": ("model.coupling", "additive"),
    "model.shared_trunk": ("model.coupling", "additive"),
    "loss.backward_target": ("loss.backward", 0.0),
}
"""Settings without any effect where another one has a value; they are not compared there."""
ADDED = {"optimizer.learning_rate": ", warm-up and cosine decay"}
"""What a run does of itself beside a setting."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One setting that differs from the published recipe."""

    key: str
    published: str
    best: str
    searched: bool
    """Whether the search moved it; else the base configuration says so."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A trial against the published recipe."""

    departures: tuple[Departure, ...]
    same: tuple[str, ...]
    """Keys with the published value."""


def compare_with_published(space: SearchSpace, suggestion: Mapping[str, Any]) -> Comparison:
    """What a trial does differently from the published recipe."""
    own = space.settings(suggestion)
    departures, same = [], []
    for key, published in PUBLISHED.items():
        idle = NEEDS.get(key)
        if key not in own or (idle and own.get(idle[0]) == idle[1]):
            continue
        if own.get("model.kind") != "invertible" and key.startswith("model.") and key[6:] != "kind":
            continue  # a setting of the same name means another thing in another network
        if own[key] == published:
            same.append(key)
            continue
        departures.append(
            Departure(
                key=key,
                published=value_text(published),
                best=value_text(own[key]) + ADDED.get(key, ""),
                searched=key in suggestion,
            )
        )
    return Comparison(departures=tuple(departures), same=tuple(same))


SHOWN = 5
"""Parameters that are named as mattering."""
FRONT_SHOWN = 8
"""Trials of the Pareto front that are named."""


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What a search says, in plain text."""

    ended: str
    best: str
    gain: str
    """Over the base configuration; empty where there is no best."""
    floor: str
    """The best over the linear map; empty where the search has no floor."""
    front: str
    """The Pareto front of several objectives; empty for one."""
    mattered: tuple[str, ...]
    cost: str
    warnings: tuple[str, ...]
    comparison: Comparison | None
    """The best trial against the published recipe."""

    @property
    def lines(self) -> list[str]:
        """Sentence by sentence, without warnings and comparison."""
        found = [self.ended, self.best, self.gain, self.floor, self.front]
        return [line for line in (*found, *self.mattered, self.cost) if line]


def conclude(facts: Facts, found: Importances) -> Conclusion:
    """The conclusion of a search."""
    best = facts.best
    return Conclusion(
        ended=_describe_end(facts),
        best=_describe_best(facts),
        gain=_describe_gain(facts),
        floor=_describe_floor(facts),
        front=_describe_front(facts),
        mattered=tuple(_describe_parameters(facts, found)),
        cost=_describe_cost(facts),
        warnings=tuple(find_warnings(facts, found)),
        comparison=None if best is None else compare_with_published(facts.space, best.suggestion),
    )


def _describe_end(facts: Facts) -> str:
    history = facts.history
    how = {"running": "has not ended", "killed": "was ended early"}.get(
        history.state, history.state
    )
    text = f"Search {history.name} {how}"
    if history.reason:
        text += f" ({history.reason})"
    if not facts.trials:
        return f"{text}. It has no trial{' yet' if history.state == 'running' else ''}."
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in facts.outcomes.items())
    number = len(facts.trials)
    sessions = len(history.sessions)
    times = f" in {sessions} sessions" if sessions > 1 else ""
    return (
        f"{text}: {number} trial{'' if number == 1 else 's'} ({outcomes}), "
        f"{history.steps:,} training steps, {duration(history.seconds)}{times}."
    )


def _describe_best(facts: Facts) -> str:
    best = facts.best
    if best is None:
        return "No trial has a value." if facts.trials else ""
    value = facts.objective.text(facts.final[best.name])
    title = facts.objective.title
    outcome = facts.outcome(best)
    end = {"finished": "finished", "running": "still running"}.get(outcome, outcome)
    return f"Best: {best.name} with a {title} of {value}, {end} at step {best.step:,}."


def _describe_floor(facts: Facts) -> str:
    floor = facts.history.floor
    if floor is None:
        return ""
    if floor.state == "failed":
        return f"There is no floor, the linear map could not be fitted: {floor.reason}."
    if facts.over_linear is None or facts.best is None:
        return ""
    psnr = PSNR[0].text(PSNR[0].value(floor.metrics))
    over = f"{abs(facts.over_linear):.2f} dB {'over' if facts.over_linear >= 0 else 'under'} linear"
    text = f"{facts.best.name} is {over}, the map fitted in closed form, which has {psnr}."
    if facts.over_linear <= 0 and facts.objective.metric == "psnr":
        text += " No trial is better than that."
    return text


def _describe_gain(facts: Facts) -> str:
    gain = facts.gain
    if gain is None or facts.best is None:
        return ""
    if facts.best.name == gain.base:
        return "The best trial is the base configuration itself: the search found nothing better."
    difference = facts.objective.text(abs(gain.best_value - gain.base_value))
    base = f"the base configuration ({gain.base}: {facts.objective.text(gain.base_value)})"
    if gain.step is not None:
        base += f" at step {gain.step:,}, which both have reached"
    if not facts.is_better(gain.best_value, gain.base_value):
        return f"It was {difference} behind {base}; the base was not followed further."
    return (
        f"It is {difference} better than {base}. Both are values on the subjects that the search "
        "chose by: expect a smaller gain on others."
    )


def _describe_front(facts: Facts) -> str:
    if len(facts.objectives) < 2 or not facts.front:
        return ""
    named = []
    for name in facts.front[:FRONT_SHOWN]:
        values = zip(facts.values[name], facts.objectives, strict=True)
        named.append(f"{name} ({', '.join(objective.text(v) for v, objective in values)})")
    more = len(facts.front) - len(named)
    wanted = " and ".join(str(objective) for objective in facts.objectives)
    count = f"{len(facts.front)} trial{'' if len(facts.front) == 1 else 's'}"
    rest = f", and {more} more" if more else ""
    return f"Pareto front of {wanted}: {count}, {'; '.join(named)}{rest}."


def _describe_parameters(facts: Facts, found: Importances) -> list[str]:
    if not facts.trials:
        return []
    if not found.rows:
        return [found.note] if found.note else []
    if not found.mattering:
        return ["No parameter explains more of the differences than chance would."]
    lines = []
    for row in found.mattering[:SHOWN]:
        where = f", where {row.condition}" if row.condition else ""
        lines.append(
            f"{row.key} mattered: it alone explains {percent(row.share)} of the variance{where} "
            f"(by chance up to {percent(row.chance)}); the best quarter has {row.good}."
        )
    return lines


def _describe_cost(facts: Facts) -> str:
    if not facts.history.steps:
        return ""
    budget = facts.budget
    text = f"Of all steps, {percent(budget.share(['pruned']))} went to trials that were pruned"
    infeasible = budget.share(["infeasible"])
    if infeasible:
        text += f" and {percent(infeasible)} to infeasible ones"
    if budget.lost_seconds:
        text += f"; {duration(budget.lost_seconds)} of work was lost to restarts"
    return text + "."
