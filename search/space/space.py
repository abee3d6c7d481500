"""Search spaces: which configuration keys a search moves, and over what.

A space is read from YAML by :mod:`dtsinn.search.space.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dtsinn.core.config import (
    flatten,
    from_mapping,
    to_mapping,
)
from dtsinn.core.errors import InputError
from dtsinn.search.space.constraints import Constraint, OutcomeConstraint
from dtsinn.training.config import RunConfig, apply_changes

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a search moves."""

    key: str
    """Dotted configuration key."""
    distribution: CategoricalDistribution | IntDistribution | FloatDistribution
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Values of other parameters at which this one is searched; it has its base value elsewhere."""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched beside these values of the parameters before it."""
        return all(key in values and values[key] in named for key, named in self.when.items())

    def has(self, value: Any) -> bool:
        """Whether a value is one of its own."""
        return _contains(self.distribution, value)

    @property
    def count(self) -> int | None:
        """Number of its values; None where they are continuous."""
        of = self.distribution
        if isinstance(of, CategoricalDistribution):
            return len(of.choices)
        if isinstance(of, FloatDistribution):
            return 1 if of.low == of.high else None
        return int((of.high - of.low) // of.step) + 1


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A checked space."""

    name: str
    base: dict[str, Any]
    """The base run configuration with the fixed settings, as plain data."""
    parameters: tuple[Parameter, ...]
    """Each after those that it depends on."""
    constraints: tuple[Constraint, ...] = ()
    outcomes: tuple[OutcomeConstraint, ...] = ()
    """What a trial must keep to be champion."""
    points: tuple[Mapping[str, Any], ...] = ()
    """Given suggestions, tried before any other."""
    file: Mapping[str, Any] = field(default_factory=dict)
    """What its file says, with the whole base configuration in place of ``base`` and ``fixed``."""

    def config(self, suggestion: Mapping[str, Any]) -> RunConfig:
        """The run configuration of a suggestion.

        Raises:
            InputError: The configuration refuses a value.
        """
        base = to_mapping(from_mapping(RunConfig, self.base, self.name))
        mapping = apply_changes(base, suggestion)
        return from_mapping(RunConfig, mapping, f"space {self.name}")

    def settings(self, suggestion: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a suggestion by dotted key; as it says where they are refused."""
        try:
            return flatten(to_mapping(self.config(suggestion)))
        except InputError:
            return flatten(self.base) | dict(suggestion)

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Let an Optuna trial choose every parameter that is searched; its values by dotted key."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(values):
                values[parameter.key] = _suggest(trial, parameter)
        return values

    def start(self) -> dict[str, Any] | None:
        """The base configuration as a first suggestion, where the space contains it."""
        flat = flatten(self.base)
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(point):
                point[parameter.key] = flat[parameter.key]
                if not parameter.has(flat[parameter.key]):
                    return None
        return point

    def check_point(self, point: Mapping[str, Any], where: str) -> None:
        """Refuse a given suggestion that is not of this space.

        Raises:
            InputError: A key that is not searched, or a value outside its range.
        """
        known = {parameter.key: parameter for parameter in self.parameters}
        for key, value in point.items():
            if key not in known:
                raise InputError(where, got=key, wanted=f"one of {', '.join(sorted(known))}")
            if not known[key].has(value):
                raise InputError(
                    f"{where}: {key}", got=repr(value), wanted=dict(describe(self))[key]
                )
        self.config(point)

    def contains(self, point: Mapping[str, Any]) -> bool:
        """Whether the point holds a value of this space for every parameter searched at it."""
        return all(
            parameter.key in point and parameter.has(point[parameter.key])
            for parameter in self.parameters
            if parameter.holds(point)
        )

    def size(self) -> int | None:
        """Number of different suggestions; None where a range is continuous."""
        if any(parameter.count is None for parameter in self.parameters):
            return None
        # Only values that others depend on tell suggestions apart in what else they hold.
        deciding = {key for parameter in self.parameters for key in parameter.when}
        branches: list[tuple[dict[str, Any], int]] = [({}, 1)]
        for parameter in self.parameters:
            grown = []
            for values, count in branches:
                if not parameter.holds(values):
                    grown.append((values, count))
                elif parameter.key in deciding:
                    grown += [(values | {parameter.key: v}, count) for v in values_of(parameter)]
                else:
                    grown.append((values, count * (parameter.count or 1)))
            branches = grown
        return sum(count for _, count in branches)


def _suggest(trial: Trial, parameter: Parameter) -> Any:
    key, of = parameter.key, parameter.distribution
    if isinstance(of, CategoricalDistribution):
        return trial.suggest_categorical(key, of.choices)
    if isinstance(of, IntDistribution):
        return trial.suggest_int(key, of.low, of.high, step=of.step)
    return trial.suggest_float(key, of.low, of.high, log=of.log)


def values_of(parameter: Parameter) -> list[Any]:
    """All values of a parameter that has not infinitely many."""
    of = parameter.distribution
    if isinstance(of, CategoricalDistribution):
        return list(of.choices)
    if isinstance(of, FloatDistribution):
        return [of.low]
    return list(range(int(of.low), int(of.high) + 1, int(of.step or 1)))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # of another type
        return False


def describe(space: SearchSpace) -> list[tuple[str, str]]:
    """Key and range of each parameter, in words, and the constraints."""
    lines = []
    for parameter in space.parameters:
        of = parameter.distribution
        if isinstance(of, CategoricalDistribution):
            text = ", ".join(str(choice) for choice in of.choices)
        else:
            kind = " (log)" if of.log else ""
            step = f" in steps of {of.step}" if of.step not in (None, 1) else ""
            text = f"{of.low:g} to {of.high:g}{kind}{step}"
        for key, named in parameter.when.items():
            text += f", when {key} is {' or '.join(str(value) for value in named)}"
        lines.append((parameter.key, text))
    lines += [("constraint", constraint.text) for constraint in space.constraints]
    lines += [("outcome constraint", outcome.text) for outcome in space.outcomes]
    return lines
