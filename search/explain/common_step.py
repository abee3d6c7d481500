"""Values of trials that can be compared: those at one step, the worst of them held back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.search.explain.facts import Facts

FEWEST = 4
"""Trials below which nothing is judged (uncited)."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A suggestion and its value at the common step."""

    suggestion: Mapping[str, Any]
    value: float


def compare_at_common_step(facts: Facts) -> tuple[int, list[Judged]]:
    """The step at which trials are compared, and those that have reached it."""
    curves: list[tuple[Mapping[str, Any], dict[int, float], bool]] = []
    for name, curve in facts.reached.items():
        trial = facts.history.trials[name]
        reached = {one.step: one.value for one in curve}
        curves.append((trial.suggestion, reached, facts.outcome(trial) == "finished"))
    for warm in facts.history.warm:
        value = warm["values"][0] if warm["values"] else math.nan
        if isinstance(value, int | float) and math.isfinite(value):
            curves.append((warm["suggestion"], {warm["step"]: float(value)}, warm["finished"]))
    wanted = max(FEWEST, math.ceil(len(curves) / 2))
    least = min(wanted, len(curves))
    for step in sorted({step for _, reached, _ in curves for step in reached}, reverse=True):
        found = [
            Judged(suggestion=suggestion, value=value)
            for suggestion, reached, finished in curves
            if (value := _value_at(step, reached, finished)) is not None
        ]
        if len(found) >= least:
            return step, found
    return 0, []


def _value_at(step: int, reached: Mapping[int, float], finished: bool) -> float | None:
    """A trial's value at a step; one that finished before it keeps its last value."""
    if step in reached:
        return reached[step]
    return reached[max(reached)] if finished and max(reached) < step else None


def clip_to_fence(values: NDArray[np.float64], maximise: bool) -> NDArray[np.float64]:
    """Values of which none is worse than Tukey's fence (Exploratory Data Analysis, 1977)."""
    low, high = np.quantile(values, [0.25, 0.75])
    reach = 1.5 * (high - low)
    clipped = np.maximum(values, low - reach) if maximise else np.minimum(values, high + reach)
    return np.asarray(clipped, dtype=np.float64)
