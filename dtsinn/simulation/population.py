"""Populations: how the people of a study differ, beyond the spread of their tracers' tables.

A population is a file of ``configs/populations``: voxels, doses, input functions, and groups of
patients. ``uniform`` asks for none of them, and draws what was drawn before there were populations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dtsinn.core.checks import not_negative, positive, short_name
from dtsinn.core.config import STRICT, load_config
from dtsinn.core.errors import InputError
from dtsinn.core.input_function import Feng, InputFunction, MeasuredCurve
from dtsinn.core.tracer import PARAMETERS
from dtsinn.simulation.input_function import FloatArray, log_normal

ANY = "any"
"""Stands for the tracers that a group does not name."""
LARGEST_CV = 0.5
"""Above it, spreads are refused: subjects would be absurd (uncited)."""
FIRST_PASS_MIN = 2.0
"""Time in which a measured curve goes over from its peak to its tail, minutes (uncited)."""
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Factors on the kinetic parameters of a tissue."""

    __pydantic_config__ = STRICT

    K1: float = 1.0
    k2: float = 1.0
    k3: float = 1.0
    k4: float = 1.0
    vB: float = 1.0

    @property
    def row(self) -> FloatArray:
        """[P] in the order of :data:`dtsinn.core.tracer.PARAMETERS`."""
        return np.array([getattr(self, name) for name in PARAMETERS])


OTHER_KINETICS = Factors(K1=1.3, k2=0.9, k3=0.75, k4=1.2, vB=1.3)
"""What the kinetics ``other`` make of each table (uncited): a fast delivery, a longer stay and a
slower binding together, which none of a tracer's own spreads gives."""


@dataclass(frozen=True, kw_only=True)
class InputShape:
    """Coefficients of variation of the shape of input functions; 0 leaves them as they are.

    Attributes:
        peak: Of the height of the first pass.
        tail: Of each slow part of the curve, on its own.
        metabolism: Of the half-time and of the steepness of the parent fraction, on their own.
        infusion_s: Shortest and longest injection, evenly drawn, s; a measured curve keeps its own.
    """

    __pydantic_config__ = STRICT

    peak: float
    tail: float
    metabolism: float
    infusion_s: Range


@dataclass(frozen=True, kw_only=True)
class Group:
    """People with something in common.

    Attributes:
        name: Of the group, as the store names it.
        share: Of the subjects, against those of the other groups that apply.
        source: Where the numbers come from, or "uncited".
        lesions: Tissue of the lesions that its subjects have; empty without.
        severity: How far subjects lie between a control, 0, and the typical patient, 1; evenly
            drawn, the exponent of every factor.
        kinetics: By tracer, or :data:`ANY`, and tissue: factors on the tracer's own kinetics.
    """

    __pydantic_config__ = STRICT

    name: str
    share: float
    source: str
    lesions: str = ""
    severity: Range = (1.0, 1.0)
    kinetics: Mapping[str, Mapping[str, Factors]] = field(default_factory=dict)

    def of_tracer(self, tracer: str) -> Mapping[str, Factors]:
        """Factors by tissue of a tracer."""
        return self.kinetics.get(tracer, self.kinetics.get(ANY, {}))

    def applies(self, tracers: Sequence[str], tissues: Sequence[str]) -> bool:
        """Whether it says anything of a tracer in a tissue that is there, or nothing at all."""
        if not self.kinetics:
            return True
        return any(set(self.of_tracer(tracer)) & set(tissues) for tracer in tracers)


@dataclass(frozen=True, kw_only=True)
class Population:
    """How people differ, beyond the spread of their tracers' tables.

    Attributes:
        name: Short name, as on the command line.
        description: One line for people.
        source: Where the numbers come from that have no source of their own, or "uncited".
        groups: Of which each subject belongs to one.
        voxel: Range of the coefficient of variation of k2, k3 and k4 between the voxels of a
            region, of which each subject has one. That of the activity is the tracers'.
        dose: Range of a factor on each tracer's dose, evenly drawn on a logarithmic scale.
        input: Of the shape of input functions, or None.
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    source: str
    groups: tuple[Group, ...]
    voxel: Range = (0.0, 0.0)
    dose: Range = (1.0, 1.0)
    input: InputShape | None = None

    def __post_init__(self) -> None:
        where = f"population {self.name!r}"
        short_name("population", self.name)
        _check_range(f"{where}: voxel", self.voxel, LARGEST_CV)
        positive(f"{where}: dose", self.dose[0], "")
        _check_range(f"{where}: dose", self.dose)
        if self.input is not None:
            for key in ("peak", "tail", "metabolism"):
                _check_range(f"{where}: input.{key}", (0.0, getattr(self.input, key)), LARGEST_CV)
            _check_range(f"{where}: input.infusion_s", self.input.infusion_s)
        names = [group.name for group in self.groups]
        if not names or len(set(names)) != len(names):
            raise InputError(f"{where}: groups", got=names, wanted="at least one, none twice")
        for group in self.groups:
            _check_group(f"{where}: group {group.name!r}", group)

    def applying(
        self, tracers: Sequence[str], tissues: Sequence[str], lesions: Sequence[str], always: bool
    ) -> tuple[Group, ...]:
        """The groups to which subjects of a study may belong.

        Args:
            tracers: Names of both.
            tissues: Of the anatomy.
            lesions: Those of them that are lesions'.
            always: Every subject of the anatomy has lesions.

        Raises:
            InputError: There is none.
        """
        found = tuple(
            group
            for group in self.groups
            if group.applies(tracers, tissues)
            and (group.lesions in lesions if group.lesions else not always)
        )
        if not found and always:  # no group says anything of such lesions: they are the table's
            found = tuple(group for group in self.groups if not group.kinetics)
        if not found:
            raise InputError(
                f"population {self.name!r}",
                got=f"no group for {' and '.join(tracers)} in such an anatomy",
                wanted="a group without kinetics, as control",
            )
        return found


def load_population(name_or_path: str) -> Population:
    """The population of a shipped name or of a user's YAML file.

    Raises:
        InputError: No such population, or its file holds something wrong.
    """
    return load_config(Population, "populations", name_or_path)


def draw_group(groups: Sequence[Group], rng: np.random.Generator) -> tuple[Group, float]:
    """One of the groups, by their shares, and the severity of a subject in it."""
    shares = np.array([group.share for group in groups])
    group = groups[int(rng.choice(len(groups), p=shares / shares.sum()))]
    return group, float(rng.uniform(*group.severity))


def draw_dose(population: Population, rng: np.random.Generator) -> float:
    """A factor on a dose."""
    low, high = population.dose
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def reshape_input(
    shape: InputShape, curve: InputFunction, rng: np.random.Generator
) -> InputFunction:
    """An input function of another shape.

    Args:
        shape: How much shapes differ.
        curve: As the tracer's own spread makes it.
        rng: Source of randomness.
    """
    peak = float(log_normal(rng, shape.peak))
    tails = log_normal(rng, shape.tail, (2,)).tolist()
    half_time, steepness = log_normal(rng, shape.metabolism, (2,)).tolist()
    infusion = float(rng.uniform(*shape.infusion_s))
    feng, table, parent = curve.feng, curve.table, curve.parent
    if feng is not None:
        feng = Feng(
            A1=feng.A1 * peak,
            A2=feng.A2 * tails[0],
            A3=feng.A3 * tails[1],
            l1=feng.l1,
            l2=feng.l2,
            l3=feng.l3,
        )
    if table is not None:
        early = np.exp(-np.array(table.time_min) / FIRST_PASS_MIN)
        factors = peak**early * tails[0] ** (1.0 - early)
        table = MeasuredCurve(
            time_min=table.time_min, blood=tuple((np.array(table.blood) * factors).tolist())
        )
    if parent is not None:
        parent = dataclasses.replace(
            parent,
            half_time_min=parent.half_time_min * half_time,
            exponent=parent.exponent * steepness,
        )
    return dataclasses.replace(
        curve,
        feng=feng,
        table=table,
        parent=parent,
        infusion_s=0.0 if feng is None else infusion,
    )


def _check_range(what: str, values: Range, most: float = np.inf) -> None:
    low, high = values
    for value in values:
        not_negative(what, value)
    if low > high or high > most:
        wanted = "the smaller number first" if low > high else f"at most {most:g}"
        raise InputError(what, got=f"{low:g} to {high:g}", wanted=wanted)


def _check_group(where: str, group: Group) -> None:
    short_name(where, group.name)
    positive(f"{where}: share", group.share, "")
    _check_range(f"{where}: severity", group.severity)
    if not group.source.strip():
        raise InputError(f"{where}: source is empty", wanted="a source, or uncited")
    for tracer, tissues in group.kinetics.items():
        for tissue, factors in tissues.items():
            for name in PARAMETERS:
                positive(f"{where}: kinetics.{tracer}.{tissue}.{name}", getattr(factors, name), "")
