"""Checks of single numbers in configurations."""

from __future__ import annotations

import math

from dtsinn.core.errors import InputError


def positive(what: str, value: float, unit: str) -> None:
    """Refuse a number that is not finite and above 0.

    Raises:
        InputError: It is not.
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(what, got=value, wanted=f"a number above 0 {unit}".rstrip())


def not_negative(what: str, value: float) -> None:
    """Refuse a number that is not finite and at least 0.

    Raises:
        InputError: It is not.
    """
    if not (math.isfinite(value) and value >= 0):
        raise InputError(what, got=value, wanted="a number, 0 or above")
