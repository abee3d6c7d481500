"""Search spaces: which configuration keys a search moves, and over what.

A space is YAML: a base run configuration by name, fixed settings on top of it, and parameters,
each a configuration key with one range::

    base: default
    fixed: {steps: 2000}
    parameters:
      model.blocks: {choice: [1, 2, 3]}
      model.width: {int: [8, 48], step: 8}
      loss.backward: {float: [0.0, 0.2]}
      optimizer.learning_rate: {log: [5e-4, 8e-3]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dtsinn.core.config import (
    STRICT,
    find_config,
    flatten,
    from_mapping,
    known_keys,
    read_yaml,
    to_mapping,
    unknown_key,
)
from dtsinn.core.errors import InputError
from dtsinn.training.config import RunConfig, changed, load_run_config

NOT_SEARCHED = {"steps", "validate_every", "seed", "round_trip_limit"}
"""Keys that make trials comparable: ASHA stops by the steps of one common budget."""

Value = str | int | float | bool
Whole = int
Number = float


@dataclass(frozen=True, kw_only=True)
class Range:
    """The range of one parameter: exactly one of ``choice``, ``int``, ``float``, ``log``."""

    __pydantic_config__ = STRICT

    choice: tuple[Value, ...] | None = None
    int: tuple[Whole, Whole] | None = None
    float: tuple[Number, Number] | None = None
    log: tuple[Number, Number] | None = None
    step: Whole | None = None
    """Of an ``int`` range."""


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """What the YAML file of a space says."""

    __pydantic_config__ = STRICT

    description: str = ""
    base: str = "default"
    """Name or path of the run configuration that the parameters change."""
    fixed: Mapping[str, Value] = field(default_factory=dict)
    parameters: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A checked space."""

    name: str
    base: dict[str, Any]
    """The base run configuration with the fixed settings, as plain data."""
    distributions: dict[str, BaseDistribution]
    """Optuna distributions by dotted configuration key."""

    def config(self, suggestion: Mapping[str, Any]) -> RunConfig:
        """The run configuration of a suggestion.

        Raises:
            InputError: The configuration refuses a value.
        """
        base = to_mapping(from_mapping(RunConfig, self.base, self.name))
        mapping = changed(base, suggestion)
        return from_mapping(RunConfig, mapping, f"space {self.name}")

    def start(self) -> dict[str, Any] | None:
        """The base configuration as a first suggestion, where the space contains it."""
        flat = flatten(self.base)
        point = {key: flat[key] for key in self.distributions}
        inside = all(_contains(d, point[key]) for key, d in self.distributions.items())
        return point if inside else None


def load_space(name_or_path: str) -> SearchSpace:
    """A shipped space by name, or a user's YAML file; checked against the configuration.

    Raises:
        InputError: No such space, an unknown key, an empty space or range, or a range that the
            configuration refuses.
    """
    path = find_config("spaces", name_or_path)
    where = f"space {path.stem}"
    content = from_mapping(SpaceFile, read_yaml(path), str(path))
    if not content.parameters:
        raise InputError(f"{where} is empty", wanted="at least one parameter")
    base = to_mapping(load_run_config(content.base))
    keys = known_keys(RunConfig)
    for key in (*content.fixed, *content.parameters):
        if key not in keys:
            raise unknown_key(key, RunConfig, where)
    for key in set(content.parameters) & NOT_SEARCHED:
        raise InputError(f"{where}: {key} cannot be searched", hint=f"fixed: {{{key}: ...}}")
    # Another kind of model brings its own defaults with it.
    base = to_mapping(from_mapping(RunConfig, changed(base, content.fixed), where))
    twice = set(content.fixed) & set(content.parameters)
    if twice:
        raise InputError(f"{where}: {sorted(twice)[0]} is both fixed and a parameter")
    distributions = {
        key: _distribution(f"{where}: {key}", spec) for key, spec in content.parameters.items()
    }
    space = SearchSpace(name=path.stem, base=base, distributions=distributions)
    for key, distribution in distributions.items():
        for value in _ends(distribution):
            space.config({key: value})
    return space


def _distribution(where: str, spec: Range) -> BaseDistribution:
    given = [name for name in ("choice", "int", "float", "log") if getattr(spec, name) is not None]
    if len(given) != 1:
        raise InputError(where, got=given or "no range", wanted="one of choice, int, float, log")
    if spec.step is not None and (given != ["int"] or spec.step < 1):
        raise InputError(f"{where}: step", got=spec.step, wanted="1 or more, of an int range")
    if spec.choice is not None:
        if not spec.choice:
            raise InputError(f"{where}: choice is empty", wanted="at least one value")
        return CategoricalDistribution(spec.choice)
    low, high = getattr(spec, given[0])
    if low > high or (spec.log and low <= 0):
        wanted = "two numbers above 0, the smaller first" if spec.log else "the smaller first"
        raise InputError(f"{where}: {given[0]}", got=f"[{low}, {high}]", wanted=wanted)
    if spec.int is not None:
        step = spec.step or 1
        return IntDistribution(low, high - (high - low) % step, step=step)
    return FloatDistribution(low, high, log=spec.log is not None)


def _ends(distribution: BaseDistribution) -> list[Any]:
    """Values at which the configuration is tried: all choices, or both ends."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return [distribution.low, distribution.high]
    raise InputError(f"no such distribution: {distribution}")


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return distribution._contains(distribution.to_internal_repr(value))


def describe(space: SearchSpace) -> list[tuple[str, str]]:
    """Key and range of each parameter, in words."""
    lines = []
    for key, distribution in space.distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            text = ", ".join(str(choice) for choice in distribution.choices)
        elif isinstance(distribution, IntDistribution | FloatDistribution):
            kind = " (log)" if distribution.log else ""
            step = f" in steps of {distribution.step}" if distribution.step not in (None, 1) else ""
            text = f"{distribution.low:g} to {distribution.high:g}{kind}{step}"
        lines.append((key, text))
    return lines
