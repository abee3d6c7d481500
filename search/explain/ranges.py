"""Parameters and their values in words: conditions, good values, and ends of ranges."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dtsinn.core.display import value_text
from dtsinn.core.errors import InputError
from dtsinn.search.space.space import Parameter, SearchSpace, values_of

FEW_VALUES = 8
"""Whole numbers of a range that are shown one by one."""
AT_END = 0.05
"""Part of a range within which a value is at its end (uncited)."""


def describe_condition(parameter: Parameter) -> str:
    """When a parameter is searched, in words; empty where always."""
    return " and ".join(
        f"{key} is {' or '.join(value_text(value) for value in named)}"
        for key, named in parameter.when.items()
    )


def describe_good(parameter: Parameter, good: Sequence[Any]) -> str:
    """Values of a parameter that did well, in words."""
    if isinstance(parameter.distribution, CategoricalDistribution):
        counts = Counter(value_text(value) for value in good).most_common(2)
        return " or ".join(f"{text} ({number} of {len(good)})" for text, number in counts)
    low, high = min(good), max(good)
    return value_text(low) if low == high else f"{value_text(low)} to {value_text(high)}"


def measure_lean(parameter: Parameter, good: Sequence[Any]) -> float:
    """Where the median of some values stands in the range, 0 to 1; 0.5 without an order."""
    places = [place for value in good if (place := find_place(parameter, value)) is not None]
    return statistics.median(places) if places else 0.5


def find_place(parameter: Parameter, value: Any) -> float | None:
    """Where a value stands in its range, 0 to 1, on its own scale; None without an order."""
    of = parameter.distribution
    if isinstance(of, CategoricalDistribution):
        numbers = _numbers(parameter)
        if numbers is None or value not in numbers:
            return None
        return numbers.index(value) / (len(numbers) - 1)
    if of.low == of.high:
        return None
    if of.log:
        return math.log(value / of.low) / math.log(of.high / of.low)
    return float((value - of.low) / (of.high - of.low))


def find_end(parameter: Parameter, value: Any) -> str:
    """``lower`` or ``upper`` where a value stands at an end of its range, else nothing."""
    place = find_place(parameter, value)
    if place is None:
        return ""
    near = AT_END if isinstance(parameter.distribution, FloatDistribution) else 0.0
    if place <= near:
        return "lower"
    return "upper" if place >= 1 - near else ""


def goes_on(parameter: Parameter, end: str, space: SearchSpace, suggestion: dict[str, Any]) -> bool:
    """Whether the configuration takes values beyond an end of a parameter's range."""
    try:
        space.config(suggestion | {parameter.key: _beyond(parameter, end)})
    except InputError:
        return False
    return True


def _beyond(parameter: Parameter, end: str) -> Any:
    """A value a little outside the range."""
    of = parameter.distribution
    if isinstance(of, CategoricalDistribution):
        numbers = _numbers(parameter) or []
        gap = numbers[-1] - numbers[-2] if end == "upper" else numbers[0] - numbers[1]
        return numbers[-1 if end == "upper" else 0] + gap
    if isinstance(of, IntDistribution):
        return of.low - of.step if end == "lower" else of.high + of.step
    if of.log:
        return of.low / 2 if end == "lower" else of.high * 2
    reach = AT_END * (of.high - of.low)
    return of.low - reach if end == "lower" else of.high + reach


def _numbers(parameter: Parameter) -> list[Any] | None:
    """The choices in ascending order where there are three or more and all are numbers."""
    values = values_of(parameter)
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return sorted(values) if numeric and len(values) > 2 else None


def place_side_by_side(parameter: Parameter) -> dict[str, int] | None:
    """The place of each value by its text; None where there are too many to stand side by side."""
    count = parameter.count
    categorical = isinstance(parameter.distribution, CategoricalDistribution)
    if count is None or (count > FEW_VALUES and not categorical):
        return None
    return {value_text(value): number for number, value in enumerate(values_of(parameter))}
