"""Search spaces: which configuration keys a search moves, and over what.

A space is YAML: a base run configuration by name, fixed settings on top of it, and parameters,
each a configuration key with one range. A parameter with ``when`` is searched only where another
one has one of the named values::

    base: default
    fixed: {steps: 2000}
    parameters:
      model.blocks: {choice: [1, 2, 3]}
      model.width: {int: [8, 48], step: 8}
      model.coupling: {choice: [additive, two-sided]}
      model.clamp: {float: [0.4, 2.0], when: {model.coupling: two-sided}}
      loss.backward: {float: [0.0, 0.2]}
      optimizer.learning_rate: {log: [5e-4, 8e-3]}
    constraints: [parameters <= 3e6, memory <= 8 GiB]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from optuna import Trial
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
from dtsinn.search.limits import Limit, read_limit
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
    when: Mapping[str, Value | tuple[Value, ...]] = field(default_factory=dict)
    """Other keys, and the values of each at which this parameter is searched."""


@dataclass(frozen=True, kw_only=True)
class SpaceFile:
    """What the YAML file of a space says."""

    __pydantic_config__ = STRICT

    description: str = ""
    base: str = "default"
    """Name or path of the run configuration that the parameters change."""
    fixed: Mapping[str, Value] = field(default_factory=dict)
    parameters: Mapping[str, Range] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    """``parameters <= 3e6`` or ``memory <= 8 GiB``: what no trial may exceed."""


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

    @property
    def count(self) -> Whole | None:
        """Number of its values; None where they are continuous."""
        of = self.distribution
        if isinstance(of, FloatDistribution):
            return 1 if of.low == of.high else None
        return len(values_of(self))


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A checked space."""

    name: str
    base: dict[str, Any]
    """The base run configuration with the fixed settings, as plain data."""
    parameters: tuple[Parameter, ...]
    """Each after those that it depends on."""
    limits: tuple[Limit, ...] = ()

    def config(self, suggestion: Mapping[str, Any]) -> RunConfig:
        """The run configuration of a suggestion.

        Raises:
            InputError: The configuration refuses a value.
        """
        base = to_mapping(from_mapping(RunConfig, self.base, self.name))
        mapping = changed(base, suggestion)
        return from_mapping(RunConfig, mapping, f"space {self.name}")

    def draw(self, trial: Trial) -> dict[str, Any]:
        """Let an Optuna trial choose every parameter that is searched; its values by dotted key."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(values):
                values[parameter.key] = _suggested(trial, parameter)
        return values

    def start(self) -> dict[str, Any] | None:
        """The base configuration as a first suggestion, where the space contains it."""
        flat = flatten(self.base)
        point: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.holds(point):
                point[parameter.key] = flat[parameter.key]
                if not _contains(parameter.distribution, flat[parameter.key]):
                    return None
        return point

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
    parameters = _in_order(
        where,
        [
            Parameter(
                key=key,
                distribution=_distribution(f"{where}: {key}", spec),
                when={other: _as_tuple(named) for other, named in spec.when.items()},
            )
            for key, spec in content.parameters.items()
        ],
    )
    limits = tuple(read_limit(text, where) for text in content.constraints)
    space = SearchSpace(name=path.stem, base=base, parameters=parameters, limits=limits)
    for parameter in parameters:
        around = _reached(parameter, parameters)
        for value in _ends(parameter.distribution):
            space.config(around | {parameter.key: value})
    return space


def _as_tuple(named: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return named if isinstance(named, tuple) else (named,)


def _in_order(where: str, given: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Each parameter after those that its ``when`` names."""
    known = {parameter.key: parameter for parameter in given}
    for parameter in given:
        for key, named in parameter.when.items():
            what = f"{where}: {parameter.key}: when {key}"
            if key not in known:
                raise InputError(what, got="no parameter of this space", hint="fixed, or no when")
            distribution = known[key].distribution
            if isinstance(distribution, FloatDistribution):
                raise InputError(what, got="a continuous range", wanted="a choice or whole numbers")
            for value in named:
                if not _contains(distribution, value):
                    raise InputError(what, got=repr(value), wanted="a value that it can have")
    try:
        order = TopologicalSorter({p.key: p.when.keys() for p in given}).static_order()
        return tuple(known[key] for key in order)
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InputError(f"{where}: parameters wait for each other", got=circle) from None


def _reached(parameter: Parameter, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Values of the other parameters at which this one is searched."""
    values: dict[str, Any] = {}
    waiting = [parameter]
    while waiting:
        for key, named in waiting.pop().when.items():
            values[key] = named[0]
            waiting += [other for other in parameters if other.key == key]
    return values


def _distribution(
    where: str, spec: Range
) -> CategoricalDistribution | IntDistribution | FloatDistribution:
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


def _suggested(trial: Trial, parameter: Parameter) -> Any:
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
    lines += [("constraint", limit.text) for limit in space.limits]
    return lines
