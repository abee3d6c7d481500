"""Constraints of a space: what a suggestion may cost at most, and what may come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from dtsinn.core.checks import same_word
from dtsinn.core.errors import InputError

MiB, GiB = 2.0**20, 2.0**30
UNITS = {"": 1.0, "MiB": MiB, "GiB": GiB}
FORM = re.compile(
    r"(parameters|memory)\s*<=\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*(MiB|GiB)?", re.I
)


OUTCOMES = ("kinetic_error", "kinetic_bias", "conservation")
"""What comes of a trial and may be limited, in percent: objectives of the same names."""
OUTCOME_FORM = re.compile(
    rf"({'|'.join(OUTCOMES)})\s*<=\s*([0-9]+(?:\.[0-9]*)?(?:e-?[0-9]+)?)\s*%?", re.I
)


@dataclass(frozen=True, kw_only=True)
class OutcomeConstraint:
    """The most that a finished trial may show in validation, to be champion."""

    metric: str
    """One of :data:`OUTCOMES`."""
    most: float
    """Percent."""
    text: str
    """As it was written."""


def read_outcome(text: str, where: str) -> OutcomeConstraint:
    """An outcome constraint such as ``kinetic_bias <= 5``, in percent.

    Raises:
        InputError: It has another form, or a limit that is not above 0.
    """
    found = OUTCOME_FORM.fullmatch(text.strip())
    if not found or not 0 < float(found.group(2)) < float("inf"):
        raise InputError(
            f"{where}: an outcome constraint cannot be read",
            got=repr(text),
            wanted=f"{' or '.join(OUTCOMES)} <= PERCENT, above 0",
        )
    return OutcomeConstraint(
        metric=found.group(1).lower(), most=float(found.group(2)), text=text.strip()
    )


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """The most of something."""

    quantity: Literal["parameters", "memory"]
    """Trainable parameters, or bytes that a training takes."""
    most: float
    text: str
    """As it was written."""


def read_constraint(text: str, where: str) -> Constraint:
    """A constraint such as ``parameters <= 3e6`` or ``memory <= 8 GiB``.

    Raises:
        InputError: It has another form.
    """
    found = FORM.fullmatch(text.strip())
    unit = same_word(found.group(3) or "", UNITS) if found else ""
    if not found or (found.group(1).lower() == "memory") != bool(unit):
        raise InputError(
            f"{where}: a constraint cannot be read",
            got=repr(text),
            wanted="parameters <= NUMBER, or memory <= NUMBER MiB or GiB",
        )
    quantity: Any = found.group(1).lower()
    return Constraint(
        quantity=quantity, most=float(found.group(2)) * UNITS[unit], text=text.strip()
    )
