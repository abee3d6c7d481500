"""Search spaces as YAML, read strictly and checked before anything starts.

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
    outcome_constraints: [kinetic_bias <= 5]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
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
    from_mapping,
    known_keys,
    read_yaml,
    to_mapping,
    unknown_key,
)
from dtsinn.core.errors import InputError, naming
from dtsinn.search.space.constraints import read_constraint, read_outcome
from dtsinn.search.space.space import Parameter, SearchSpace, Value
from dtsinn.training.config import RunConfig, apply_changes, load_run_config

NOT_SEARCHED = {"steps", "validate_every", "seed", "round_trip_limit"}
"""Keys that make trials comparable: ASHA stops by the steps of one common budget."""

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
    """Step of an ``int`` range."""
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
    outcome_constraints: tuple[str, ...] = ()
    """``kinetic_bias <= 5``, percent: what a finished trial must keep to be champion."""
    points: tuple[Mapping[str, Value], ...] = ()
    """Suggestions to try first, by dotted key; what one leaves out, the sampler chooses."""


def load_space(name_or_path: str) -> SearchSpace:
    """A shipped space by name, or a user's YAML file; checked against the configuration.

    Raises:
        InputError: No such space, an unknown key, an empty space or range, or a range that the
            configuration refuses.
    """
    path = find_config("spaces", name_or_path)
    where = f"space {path.stem}"
    content = from_mapping(SpaceFile, read_yaml(path), str(path))
    keys = known_keys(RunConfig)
    with naming(path):
        for key in content.fixed:
            if key not in keys:
                raise unknown_key(key, RunConfig, where)
        twice = set(content.fixed) & set(content.parameters)
        if twice:
            raise InputError(f"{where}: {sorted(twice)[0]} is both fixed and a parameter")
        _check_meant(content, where)
        # Another kind of model brings its own defaults with it.
        with naming("base"):
            base = to_mapping(load_run_config(content.base))
        base = to_mapping(from_mapping(RunConfig, apply_changes(base, content.fixed), where))
        return _build_space(path.stem, content, base)


def _check_meant(content: SpaceFile, where: str) -> None:
    """Refuse what says nothing or says it twice; a kept plan of an older version may hold it."""
    for key, spec in content.parameters.items():
        _refuse_twice(f"{where}: {key}: choice", spec.choice or ())
        for other, named in spec.when.items():
            _refuse_twice(f"{where}: {key}: when {other}", _as_tuple(named))
        if spec.int is not None and (spec.step or 0) > max(spec.int[1] - spec.int[0], 1):
            raise InputError(
                f"{where}: {key}: step", got=spec.step, wanted="at most the width of the range"
            )
    _refuse_twice(f"{where}: constraints", content.constraints)
    _refuse_twice(f"{where}: outcome_constraints", content.outcome_constraints)
    _refuse_twice(f"{where}: points", [sorted(point.items()) for point in content.points])
    for text in content.constraints:
        if not 0 < read_constraint(text, where).most < float("inf"):
            raise InputError(f"{where}: constraints", got=repr(text), wanted="a number above 0")


def _refuse_twice(what: str, values: Sequence[Any]) -> None:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise InputError(what, got=f"{value!r} twice", wanted="each value once")


def space_of(name: str, file: Mapping[str, Any]) -> SearchSpace:
    """The space that :attr:`SearchSpace.file` describes; checked again.

    Raises:
        InputError: As :func:`load_space` does.
    """
    said = {key: value for key, value in file.items() if key != "base"}
    content = from_mapping(SpaceFile, said, f"space {name}")
    base = to_mapping(from_mapping(RunConfig, file["base"], f"space {name}"))
    return _build_space(name, content, base)


def _build_space(name: str, content: SpaceFile, base: dict[str, Any]) -> SearchSpace:
    where = f"space {name}"
    if not content.parameters:
        raise InputError(f"{where} is empty", wanted="at least one parameter")
    keys = known_keys(RunConfig)
    for key in (*content.parameters, *(key for point in content.points for key in point)):
        if key not in keys:
            raise unknown_key(key, RunConfig, where)
    for key in content.parameters:
        if key in NOT_SEARCHED:
            raise InputError(f"{where}: {key} cannot be searched", hint=f"fixed: {{{key}: ...}}")
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
    space = SearchSpace(
        name=name,
        base=base,
        parameters=parameters,
        constraints=tuple(read_constraint(text, where) for text in content.constraints),
        outcomes=tuple(read_outcome(text, where) for text in content.outcome_constraints),
        points=content.points,
        file=_as_file(content, base),
    )
    for parameter in parameters:
        around = _reach(parameter, parameters)
        for value in _ends(parameter.distribution):
            space.config(around | {parameter.key: value})
    for point in space.points:
        space.check_point(point, f"{where}: points")
    return space


def _as_file(content: SpaceFile, base: dict[str, Any]) -> dict[str, Any]:
    """What a file says, without what it leaves open."""
    ranges = {
        key: {name: value for name, value in to_mapping(spec).items() if value not in (None, {})}
        for key, spec in content.parameters.items()
    }
    return {
        "description": content.description,
        "base": base,
        "parameters": ranges,
        "constraints": list(content.constraints),
        "points": [dict(point) for point in content.points],
    } | (
        # Left out where there are none: digests of plans from before stay.
        {"outcome_constraints": list(content.outcome_constraints)}
        if content.outcome_constraints
        else {}
    )


def _as_tuple(named: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return named if isinstance(named, tuple) else (named,)


def _in_order(where: str, given: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Each parameter after those that its ``when`` names."""
    known = {parameter.key: parameter for parameter in given}
    for parameter in given:
        for key, named in parameter.when.items():
            what = f"{where}: {parameter.key}: when {key}"
            if not named:
                raise InputError(what, got="no value", wanted="at least one")
            if key not in known:
                raise InputError(what, got="no parameter of this space", hint="fixed, or no when")
            distribution = known[key].distribution
            if isinstance(distribution, FloatDistribution):
                raise InputError(what, got="a continuous range", wanted="a choice or whole numbers")
            for value in named:
                if not known[key].has(value):
                    raise InputError(what, got=repr(value), wanted="a value that it can have")
    try:
        order = TopologicalSorter({p.key: p.when.keys() for p in given}).static_order()
        return tuple(known[key] for key in order)
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InputError(f"{where}: parameters wait for each other", got=circle) from None


def _reach(parameter: Parameter, parameters: Sequence[Parameter]) -> dict[str, Any]:
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


def _ends(distribution: BaseDistribution) -> list[Any]:
    """Values at which the configuration is tried: all choices, or both ends."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return [distribution.low, distribution.high]
    raise InputError(f"no such distribution: {distribution}")
