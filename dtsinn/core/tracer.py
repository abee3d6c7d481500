"""Tracers: isotope, input function, regional kinetics and how much these differ between people."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from dtsinn.core.checks import not_negative, positive, short_name
from dtsinn.core.config import STRICT, config_names, load_config
from dtsinn.core.errors import InputError
from dtsinn.core.input_function import InputFunction
from dtsinn.core.isotopes import is_same_nuclide, isotope_half_life
from dtsinn.core.plausibility import check_dose, check_half_life
from dtsinn.core.readout import Readout

NOT_READ = frozenset({"csf", "outside"})
"""Regions that no tracer is read from: there is no tissue."""
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
        source: Where the numbers come from, or "uncited"; where only some are cited, which.
    """

    __pydantic_config__ = STRICT

    K1: float
    k2: float
    k3: float = 0.0
    k4: float = 0.0
    vB: float
    source: str


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
        voxel: Of the activity between the voxels of a tissue; blood is mixed well and has none.
        input: Of the input function between subjects: amplitude, each rate (of a table: its
            speed), delay and metabolism.
        dose: Of the injected dose between subjects.
    """

    __pydantic_config__ = STRICT

    subject: ParameterSpread
    region: ParameterSpread
    voxel: float
    input: float
    dose: float


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the numbers come from that have no source of their own beside them, or "uncited"."""

    __pydantic_config__ = STRICT

    half_life: str
    model_order: str
    dose_MBq: str
    spread: str


@dataclass(frozen=True, kw_only=True)
class Tracer:
    """A radiotracer and everything that simulating it needs.

    Attributes:
        name: Short name, as on the command line.
        label: Name in print, such as "18F-FDG".
        target: What its uptake shows, in a few words.
        isotope: Such as "F-18".
        half_life: s.
        model_order: 1 or 2 tissue compartments.
        dose_MBq: Typical injected dose, MBq.
        input: Input function at a reference dose and weight.
        spread: Differences between subjects, regions and voxels.
        tissues: Kinetics by region name.
        readout_regions: Regions that the tracer is given for, the most telling first: those that
            figures and read-outs show, where a subject has them. They decide no image.
        readout: The number that is read from them; None where nothing is known.
        sources: Of the numbers that have none beside them.
    """

    __pydantic_config__ = STRICT

    name: str
    label: str
    target: str
    isotope: str
    half_life: float
    model_order: int
    dose_MBq: float
    input: InputFunction
    spread: Spread
    tissues: Mapping[str, TissueKinetics]
    sources: Sources
    readout_regions: tuple[str, ...] = ()
    readout: Readout | None = None

    def __post_init__(self) -> None:
        where = f"tracer {self.name!r}"
        short_name("tracer", self.name)
        for key in ("label", "isotope"):
            value = getattr(self, key)
            if not value.strip() or not value.isprintable():
                raise InputError(f"{where}: {key}", got=repr(value), wanted="a name in print")
        positive(f"{where}: half_life", self.half_life, "s")
        known = isotope_half_life(self.isotope)
        if known is None:
            self._check_unknown_half_life(where)
        if known is not None and not is_same_nuclide(self.half_life, known):
            raise InputError(
                f"{where}: half_life of {self.isotope}",
                got=f"{self.half_life:g} s",
                wanted=f"about {known:g} s",
                hint="seconds, not minutes" if abs(self.half_life * 60 / known - 1) < 0.1 else "",
            )
        positive(f"{where}: dose_MBq", self.dose_MBq, "MBq")
        check_dose(where, None, self.dose_MBq, ["unusual_dose"])
        if self.model_order not in (1, 2):
            raise InputError(f"{where}: model_order", got=self.model_order, wanted="1 or 2")
        self.input.check(f"{where}: input")
        _check_spread(f"{where}: spread", self.spread)
        if not self.tissues:
            raise InputError(f"{where} has no tissues", wanted="kinetics for at least one region")
        for region, tissue in self.tissues.items():
            _check_tissue(f"{where}: tissues.{region}", tissue, self.model_order)
        _check_readout(f"{where}: readout_regions", self.readout_regions)
        if self.readout is not None:
            self.readout.check(f"{where}: readout", tuple(self.tissues))

    def _check_unknown_half_life(self, where: str) -> None:
        try:
            check_half_life(f"{where}: half_life", self.half_life)
        except InputError as error:
            hint = "seconds, not minutes, or an isotope such as F-18"
            raise InputError(error.what, got=error.got, wanted=error.wanted, hint=hint) from None

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
    return load_config(Tracer, "tracers", name_or_path)


def _check_tissue(where: str, tissue: TissueKinetics, model_order: int) -> None:
    for name in PARAMETERS:
        not_negative(f"{where}.{name}", getattr(tissue, name))
    if not tissue.source.strip():
        raise InputError(f"{where}.source is empty", wanted="a source, or uncited")
    if tissue.vB >= 1:
        raise InputError(f"{where}.vB", got=tissue.vB, wanted="a fraction below 1")
    if model_order == 1 and (tissue.k3 or tissue.k4):
        raise InputError(
            f"{where} has k3 or k4 in a one-tissue model",
            got=f"k3={tissue.k3:g}, k4={tissue.k4:g}",
            wanted="both 0",
            hint="model_order: 2",
        )


def _check_readout(where: str, regions: tuple[str, ...]) -> None:
    for region in regions:
        if not region.strip() or region in NOT_READ or regions.count(region) > 1:
            raise InputError(
                where, got=repr(region), wanted="names of regions, none twice, never csf"
            )


def _check_spread(where: str, spread: Spread) -> None:
    values = {
        **{f"subject.{key}": value for key, value in dataclasses.asdict(spread.subject).items()},
        **{f"region.{key}": value for key, value in dataclasses.asdict(spread.region).items()},
        "voxel": spread.voxel,
        "input": spread.input,
        "dose": spread.dose,
    }
    for key, value in values.items():
        not_negative(f"{where}.{key}", value)
        if value >= 1:
            raise InputError(
                f"{where}.{key}", got=value, wanted="a coefficient of variation below 1"
            )
