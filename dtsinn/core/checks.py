"""Checks of single numbers in configurations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from dtsinn.core.errors import InputError

SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}")
"""Names of tracers, protocols and scanners: they enter stores, paths and comma-separated lists."""


def same_word(given: str, known: Iterable[str]) -> str:
    """The one of ``known`` that ``given`` is in any letters, or ``given`` itself."""
    return next((word for word in known if word.lower() == given.lower()), given)


def short_name(what: str, name: str) -> None:
    """Refuse a name that is empty, long, or more than letters, digits and ``_ . + -``.

    Raises:
        InputError: It is.
    """
    if not SHORT_NAME.fullmatch(name):
        raise InputError(
            f"{what}: name",
            got=repr(name[:40]),
            wanted="at most 32 letters, digits, dots, dashes, pluses and underscores",
        )


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
