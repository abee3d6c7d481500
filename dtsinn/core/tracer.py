"""Tracers: isotope, input function, regional kinetics and how much these differ between people."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from dtsinn.core.config import STRICT, config_names, find_config, from_mapping, read_yaml
from dtsinn.core.errors import InputError

PARAMETERS = ("K1", "k2", "k3", "k4", "vB")
"""Order of the kinetic parameters wherever they stand in an array."""


@dataclass(frozen=True, kw_only=True)
class TissueKinetics:
    """Typical kinetics of one tissue; checked by the :class:`Tracer` that holds it.

    Attributes:
        K1: Uptake from plasma, mL/cm3/min.
        k2: Return to plasma, 1/min.
        k3: Binding or trapping, 1/min; 0 in a one-tissue model.
        k4: Release, 1/min; 0 in a one-tissue model and for irreversible trapping.
        vB: Blood volume as a fraction of the tissue, 0 to 1.
        source: Where the numbers come from, or "uncited".
    """

    __pydantic_config__ = STRICT

    K1: float
    k2: float
    k3: float = 0.0
    k4: float = 0.0
    vB: float
    source: str = "uncited"


@dataclass(frozen=True, kw_only=True)
class ParentFraction:
    """Unmetabolised part of the activity in plasma, ``1 / (1 + (t / half_time)^exponent)``.

    Attributes:
        half_time_min: Time after injection at which half is left, minutes.
        exponent: Steepness of the Hill curve.
    """

    __pydantic_config__ = STRICT

    half_time_min: float
    exponent: float


@dataclass(frozen=True, kw_only=True)
class InputFunction:
    """Feng's model 2 of the activity in blood, decay-corrected to the injection.

    With s = t - delay >= 0 in minutes:
    ``C = (A1 s - A2 - A3) e^(-l1 s) + A2 e^(-l2 s) + A3 e^(-l3 s)``
    (Feng, Huang, Wang 1993).

    Attributes:
        A1: kBq/mL/min at the reference dose and weight.
        A2: kBq/mL at the reference dose and weight.
        A3: kBq/mL at the reference dose and weight.
        l1: 1/min.
        l2: 1/min.
        l3: 1/min.
        delay_min: Between the injection and the arrival of the tracer, minutes.
        reference_dose_MBq: Dose for which the amplitudes hold, MBq.
        reference_weight_kg: Body weight for which they hold, kg.
        parent: Unmetabolised part, or None where the tracer is not metabolised.
        source: Where the numbers come from, or "uncited".
    """

    __pydantic_config__ = STRICT

    A1: float
    A2: float
    A3: float
    l1: float
    l2: float
    l3: float
    delay_min: float
    reference_dose_MBq: float
    reference_weight_kg: float
    parent: ParentFraction | None = None
    source: str = "uncited"


@dataclass(frozen=True, kw_only=True)
class ParameterSpread:
    """Coefficients of variation of the kinetic parameters (0.15 is 15 %)."""

    __pydantic_config__ = STRICT

    K1: float
    k2: float
    k3: float
    k4: float
    vB: float


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much a tracer's kinetics differ, as coefficients of variation.

    Attributes:
        subject: Between subjects; one factor for all regions of a subject.
        region: Between the regions of a subject, on top of the factor of the subject.
        voxel: Of K1 between the voxels of a region.
        input: Of the amplitude and of each rate of the input function between subjects.
        dose: Of the injected dose between subjects.
    """

    __pydantic_config__ = STRICT

    subject: ParameterSpread
    region: ParameterSpread
    voxel: float
    input: float
    dose: float


@dataclass(frozen=True, kw_only=True)
class Tracer:
    """A radiotracer and everything that simulating it needs.

    Attributes:
        name: Short name, as on the command line.
        label: Name in print, such as "18F-FDG".
        isotope: Such as "F-18".
        half_life: s.
        model_order: 1 or 2 tissue compartments.
        dose_MBq: Typical injected dose, MBq.
        input: Input function at a reference dose and weight.
        spread: Differences between subjects, regions and voxels.
        tissues: Kinetics by region name.
        sources: Remarks on where numbers come from that belong to no single field.
    """

    __pydantic_config__ = STRICT

    name: str
    label: str
    isotope: str
    half_life: float
    model_order: int
    dose_MBq: float
    input: InputFunction
    spread: Spread
    tissues: Mapping[str, TissueKinetics]
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"tracer {self.name!r}"
        _positive(f"{where}: half_life", self.half_life, "s")
        _positive(f"{where}: dose_MBq", self.dose_MBq, "MBq")
        if self.model_order not in (1, 2):
            raise InputError(f"{where}: model_order", got=self.model_order, wanted="1 or 2")
        _check_input(f"{where}: input", self.input)
        _check_spread(f"{where}: spread", self.spread)
        if not self.tissues:
            raise InputError(f"{where} has no tissues", wanted="kinetics for at least one region")
        for region, tissue in self.tissues.items():
            _check_tissue(f"{where}: tissues.{region}", tissue, self.model_order)

    @property
    def decay_constant(self) -> float:
        """Decay constant of the isotope, 1/s."""
        return math.log(2.0) / self.half_life


def tracer_names() -> list[str]:
    """Names of the tracers that ship with dtsinn."""
    return config_names("tracers")


def load_tracer(name_or_path: str) -> Tracer:
    """The tracer of a shipped name or of a user's YAML file.

    Raises:
        InputError: No such tracer, or its file holds something wrong.
    """
    path = find_config("tracers", name_or_path)
    return from_mapping(Tracer, read_yaml(path), str(path))


def _check_tissue(where: str, tissue: TissueKinetics, model_order: int) -> None:
    for name in PARAMETERS:
        _not_negative(f"{where}.{name}", getattr(tissue, name))
    if tissue.vB >= 1:
        raise InputError(f"{where}.vB", got=tissue.vB, wanted="a fraction below 1")
    if model_order == 1 and (tissue.k3 or tissue.k4):
        raise InputError(
            f"{where} has k3 or k4 in a one-tissue model",
            got=f"k3={tissue.k3:g}, k4={tissue.k4:g}",
            wanted="both 0",
            hint="model_order: 2",
        )


def _check_input(where: str, curve: InputFunction) -> None:
    for name in ("A1", "A2", "A3", "delay_min"):
        _not_negative(f"{where}.{name}", getattr(curve, name))
    for name in ("l1", "l2", "l3"):
        _positive(f"{where}.{name}", getattr(curve, name), "1/min")
    _positive(f"{where}.reference_dose_MBq", curve.reference_dose_MBq, "MBq")
    _positive(f"{where}.reference_weight_kg", curve.reference_weight_kg, "kg")
    if curve.parent is not None:
        _positive(f"{where}.parent.half_time_min", curve.parent.half_time_min, "min")
        _positive(f"{where}.parent.exponent", curve.parent.exponent, "")


def _check_spread(where: str, spread: Spread) -> None:
    values = {
        **{f"subject.{key}": value for key, value in dataclasses.asdict(spread.subject).items()},
        **{f"region.{key}": value for key, value in dataclasses.asdict(spread.region).items()},
        "voxel": spread.voxel,
        "input": spread.input,
        "dose": spread.dose,
    }
    for key, value in values.items():
        _not_negative(f"{where}.{key}", value)
        if value >= 1:
            raise InputError(
                f"{where}.{key}", got=value, wanted="a coefficient of variation below 1"
            )


def _positive(what: str, value: float, unit: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(what, got=value, wanted=f"a number above 0 {unit}".rstrip())


def _not_negative(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(what, got=value, wanted="a number, 0 or above")
