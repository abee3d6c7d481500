"""Input functions: the activity that an injection brings into the blood, as numbers.

:mod:`dtsinn.simulation.input_function` makes curves of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from dtsinn.core.checks import not_negative, positive
from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ParentFraction:
    """Unmetabolised part of the activity in plasma, ``1 / (1 + (t / half_time)^exponent)``.

    Attributes:
        half_time_min: Time after injection at which half is left, minutes.
        exponent: Steepness of the Hill curve.
        source: Where the numbers come from, or "uncited".
    """

    __pydantic_config__ = STRICT

    half_time_min: float
    exponent: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Feng:
    """Feng's model 2 (Feng, Huang, Wang 1993); s >= 0 in minutes since the arrival.

    ``C = (A1 s - A2 - A3) e^(-l1 s) + A2 e^(-l2 s) + A3 e^(-l3 s)``

    Attributes:
        A1: kBq/mL/min.
        A2: kBq/mL.
        A3: kBq/mL.
        l1: 1/min.
        l2: 1/min.
        l3: 1/min.
    """

    __pydantic_config__ = STRICT

    A1: float
    A2: float
    A3: float
    l1: float
    l2: float
    l3: float


@dataclass(frozen=True, kw_only=True)
class MeasuredCurve:
    """Blood samples of a measured curve, linear in between and log-linear after the last two.

    Attributes:
        time_min: [N] minutes since the arrival, ascending from 0.
        blood: [N] kBq/mL, decay-corrected to the injection; the first is 0.
    """

    __pydantic_config__ = STRICT

    time_min: tuple[float, ...]
    blood: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class InputFunction:
    """Activity in whole blood, decay-corrected to the injection, at a reference dose and weight.

    Attributes:
        feng: A formula; exactly one of ``feng`` and ``table`` is given.
        table: A measured curve.
        infusion_s: Length of the injection, s: the formula's curve, which belongs to a bolus, is
            averaged over it (Feng convolved with an infusion). 0 is a bolus; a table, which was
            measured with its own injection, takes no other.
        delay_min: Between the injection and the arrival of the tracer, minutes.
        reference_dose_MBq: Dose for which the amplitudes hold, MBq.
        reference_weight_kg: Body weight for which they hold, kg.
        parent: Unmetabolised part, or None where the tracer is not metabolised.
        source: Where the numbers come from, or "uncited".
    """

    __pydantic_config__ = STRICT

    feng: Feng | None = None
    table: MeasuredCurve | None = None
    infusion_s: float = 0.0
    delay_min: float
    reference_dose_MBq: float
    reference_weight_kg: float
    parent: ParentFraction | None = None
    source: str

    def check(self, where: str) -> None:
        """Refuse numbers that make no curve; ``where`` names them in the message.

        Raises:
            InputError: Naming the first that is wrong.
        """
        if (self.feng is None) == (self.table is None):
            raise InputError(
                where,
                got="both feng and table" if self.feng else "neither feng nor table",
                wanted="one of them",
            )
        if self.feng is not None:
            for name in ("A1", "A2", "A3"):
                not_negative(f"{where}.feng.{name}", getattr(self.feng, name))
            if not (self.feng.A1 or self.feng.A2 or self.feng.A3):
                raise InputError(f"{where}.feng", got="A1, A2 and A3 of 0", wanted="some activity")
            for name in ("l1", "l2", "l3"):
                positive(f"{where}.feng.{name}", getattr(self.feng, name), "1/min")
        if self.table is not None:
            _check_table(f"{where}.table", self.table)
        not_negative(f"{where}.delay_min", self.delay_min)
        not_negative(f"{where}.infusion_s", self.infusion_s)
        if self.table is not None and self.infusion_s:
            raise InputError(f"{where}.infusion_s beside a table", got=self.infusion_s, wanted="0")
        positive(f"{where}.reference_dose_MBq", self.reference_dose_MBq, "MBq")
        positive(f"{where}.reference_weight_kg", self.reference_weight_kg, "kg")
        if self.parent is not None:
            positive(f"{where}.parent.half_time_min", self.parent.half_time_min, "min")
            positive(f"{where}.parent.exponent", self.parent.exponent, "")


def _check_table(where: str, table: MeasuredCurve) -> None:
    times, values = table.time_min, table.blood
    if len(times) != len(values) or len(times) < 3:
        raise InputError(
            where,
            got=f"{len(times)} times and {len(values)} values",
            wanted="as many values as times, at least 3",
        )
    if times[0] != 0 or values[0] != 0:
        raise InputError(
            f"{where}: first sample",
            got=f"{values[0]:g} kBq/mL at {times[0]:g} min",
            wanted="0 at 0 min, the arrival",
        )
    for before, after in itertools.pairwise(times):
        if not before < after:
            raise InputError(
                f"{where}.time_min", got=f"{after:g} after {before:g}", wanted="ascending"
            )
    for value in values:
        not_negative(f"{where}.blood", value)
    if not any(values):
        raise InputError(f"{where}.blood", got="nothing but 0", wanted="some activity")
