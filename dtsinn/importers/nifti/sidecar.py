"""Sidecars: the few PET-BIDS fields that an import needs; nothing else is kept or told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import is_same_nuclide, isotope_half_life

MBQ = {"kbq": 1e-3, "mbq": 1.0, "gbq": 1e3, "bq": 1e-6, "mci": 37.0, "uci": 0.037, "ci": 37e3}
"""MBq of one unit of activity, by its name in lower case."""
KG = {"kg": 1.0, "g": 1e-3, "lb": 0.45359237, "lbs": 0.45359237}
"""kg of one unit of weight."""


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What the JSON file beside an image says; None where it does not.

    All times are on one clock, whose zero PET-BIDS calls ``TimeZero``.

    Attributes:
        frame_start: [T] s, ``FrameTimesStart``.
        frame_duration: [T] s, ``FrameDuration``; end times in files that fell into the trap.
        scan_start: s, ``ScanStart``.
        injection_times: s, ``InjectionStart``: one, or one for each tracer of a mixture; None in
            it where one is missing.
        half_life: s, ``RadionuclideHalfLife``: what the scanner used, as dcm2niix writes it; None
            where it lists one for each tracer.
        nuclides: s, half-lives of ``TracerRadionuclide``, one or one for each tracer, else such a
            list of half-lives; None in it where the nuclide is not known.
        units: ``Units``, cut to 16 harmless characters.
        decay_corrected: ``ImageDecayCorrected``.
        decay_reference: s, ``ImageDecayCorrectionTime``.
        decay_factor: [T] ``DecayCorrectionFactor``, or dcm2niix's ``DecayFactor``.
        weight_kg: ``BodyWeight``, or dcm2niix's ``PatientWeight``.
        dose_MBq: ``InjectedRadioactivity`` in ``InjectedRadioactivityUnits``.
    """

    frame_start: tuple[float, ...]
    frame_duration: tuple[float, ...]
    scan_start: float | None
    injection_times: tuple[float | None, ...]
    half_life: float | None
    nuclides: tuple[float | None, ...]
    units: str | None
    decay_corrected: bool | None
    decay_reference: float | None
    decay_factor: tuple[float, ...] | None
    weight_kg: float | None
    dose_MBq: float | None


def read_sidecar(path: Path, where: str) -> Sidecar:
    """Read a PET-BIDS sidecar; messages name ``where`` and the field, never path or content.

    Raises:
        InputError: No such file, no JSON, or a field of another type than PET-BIDS says.
    """
    fields = _Fields(_read_json(path, where), where)
    units = fields.text("Units")
    half_lives = fields.one_or_more("RadionuclideHalfLife", fields.as_number)
    nuclides = tuple(
        None if name is None else isotope_half_life(name)
        for name in fields.one_or_more("TracerRadionuclide", fields.as_text)
    )
    if len(half_lives) > 1:
        nuclides = _agree(half_lives, nuclides, where)
    return Sidecar(
        frame_start=fields.needed_numbers("FrameTimesStart"),
        frame_duration=fields.needed_numbers("FrameDuration"),
        scan_start=fields.number_if_any("ScanStart"),
        injection_times=fields.one_or_more("InjectionStart", fields.as_number),
        half_life=half_lives[0] if len(half_lives) == 1 else None,
        nuclides=nuclides,
        units=None if units is None else re.sub(r"[^A-Za-z0-9/*^.%-]", "", units)[:16],
        decay_corrected=fields.flag("ImageDecayCorrected"),
        decay_reference=fields.number("ImageDecayCorrectionTime"),
        decay_factor=fields.factors("DecayCorrectionFactor") or fields.factors("DecayFactor"),
        weight_kg=fields.quantity("BodyWeight", KG, "kg")
        or fields.quantity("PatientWeight", KG, "kg"),
        dose_MBq=fields.quantity("InjectedRadioactivity", MBQ, None),
    )


def _agree(
    half_lives: tuple[float | None, ...], nuclides: tuple[float | None, ...], where: str
) -> tuple[float | None, ...]:
    """One half-life for each tracer, by a list of half-lives and one of nuclides.

    Raises:
        InputError: They contradict each other.
    """
    pairs = list(zip_longest(half_lives, nuclides or half_lives, fillvalue=0.0))
    if not all(None in pair or is_same_nuclide(*pair) for pair in pairs):  # type: ignore[arg-type]
        told, wanted = (
            " and ".join("n/a" if one is None else f"{one:g} s" for one in values)
            for values in (half_lives, nuclides)
        )
        raise InputError(
            f"{where}: RadionuclideHalfLife and TracerRadionuclide contradict each other",
            got=told,
            wanted=f"{wanted}, of its nuclides",
        )
    return tuple(one if other is None else other for one, other in pairs)


class _Fields:
    """Fields of a JSON mapping, by type; ``null`` and BIDS's ``"n/a"`` count as absent."""

    def __init__(self, content: dict[str, Any], where: str) -> None:
        self.content, self.where = content, where

    def value(self, name: str) -> Any:
        value = self.content.get(name)
        nothing = all(map(_is_missing, value)) if isinstance(value, list) else _is_missing(value)
        return None if nothing else value

    def number_if_any(self, name: str) -> float | None:
        """A number of a field that an import can do without, and that may hold anything."""
        value = self.value(name)
        return float(value) if _is_number(value) else None

    def number(self, name: str) -> float | None:
        value = self.value(name)
        return None if value is None else self.as_number(name, value)

    def as_number(self, name: str, value: Any) -> float:
        if not _is_number(value):
            raise self._wrong(name, "a finite number")
        return float(value)

    def numbers(self, name: str) -> tuple[float, ...] | None:
        value = self.value(name)
        if value is None:
            return None
        if not (isinstance(value, list) and all(map(_is_number, value))):
            raise self._wrong(name, "a list of finite numbers")
        return tuple(map(float, value))

    def needed_numbers(self, name: str) -> tuple[float, ...]:
        value = self.numbers(name)
        if value is None:
            raise InputError(f"{self.where}: {name} is missing", wanted="seconds for every frame")
        return value

    def factors(self, name: str) -> tuple[float, ...] | None:
        """Factors of the frames; dcm2niix writes 0 where a header does not tell them."""
        factors = tuple(factor or 0.0 for factor in self.one_or_more(name, self.as_number))
        return factors if any(factors) else None

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false, without quotes")
        return value

    def text(self, name: str) -> str | None:
        value = self.value(name)
        return None if value is None else self.as_text(name, value)

    def as_text(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def one_or_more(self, name: str, read: Callable[[str, Any], T]) -> tuple[T | None, ...]:
        """A field that has one value, or a list; None in it where a value is missing."""
        value = self.value(name)
        values = value if isinstance(value, list) else [value]
        read_all = (None if _is_missing(one) else read(name, one) for one in values)
        return () if value is None else tuple(read_all)

    def quantity(self, name: str, units: Mapping[str, float], usual: str | None) -> float | None:
        """A number in the unit that ``nameUnits`` says; None where that is not a number and unit.

        A mixture may list a dose for each tracer: that is not read.
        """
        value, unit = self.number_if_any(name), self.value(f"{name}Units") or usual
        known = units.get(str(unit).strip().lower())
        return value * known if known is not None and value is not None and value > 0 else None

    def _wrong(self, name: str, wanted: str) -> InputError:
        kind = type(self.content[name]).__name__
        return InputError(f"{self.where}: {name}", got=f"something else, {kind}", wanted=wanted)


_UNREADABLE = {
    UnicodeDecodeError: "bytes that are no text in UTF-8",
    RecursionError: "too many levels",
}


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "n/a"))


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and -1e300 < value < 1e300  # no NaN, infinity or integer beyond floats


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, "utf-8-sig"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{where} is no JSON", got=f"a mistake at {place}") from None
    except (OSError, ValueError, RecursionError) as error:
        # The text of these errors holds the path, which may name a person.
        got = getattr(error, "strerror", None) or _UNREADABLE.get(type(error), "a broken file")
        raise InputError(
            f"{where} cannot be read", got=got, wanted="the JSON file beside the image"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds no fields", got=type(content).__name__, wanted="a mapping")
    return content
