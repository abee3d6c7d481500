"""Sidecars: the few PET-BIDS fields that an import needs; nothing else is kept or told."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import isotope_half_life


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What the JSON file beside an image says; None where it does not.

    All times are on one clock, whose zero PET-BIDS calls ``TimeZero``.

    Attributes:
        frame_start: [T] s, ``FrameTimesStart``.
        frame_duration: [T] s, ``FrameDuration``; end times in files that fell into the trap.
        scan_start: s, ``ScanStart``.
        injection_time: s, ``InjectionStart``.
        half_life: s, ``RadionuclideHalfLife`` (dcm2niix writes what the scanner used), or that of
            ``TracerRadionuclide``.
        units: ``Units``, cut to 16 harmless characters.
        decay_corrected: ``ImageDecayCorrected``.
        decay_reference: s, ``ImageDecayCorrectionTime``.
        decay_factor: [T] ``DecayCorrectionFactor``.
    """

    frame_start: tuple[float, ...]
    frame_duration: tuple[float, ...]
    scan_start: float | None
    injection_time: float | None
    half_life: float | None
    units: str | None
    decay_corrected: bool | None
    decay_reference: float | None
    decay_factor: tuple[float, ...] | None


def read_sidecar(path: Path, where: str) -> Sidecar:
    """Read a PET-BIDS sidecar; messages name ``where`` and the field, never path or content.

    Raises:
        InputError: No such file, no JSON, or a field of another type than PET-BIDS says.
    """
    fields = _Fields(_read_json(path, where), where)
    half_life = fields.number("RadionuclideHalfLife")
    nuclide = fields.text("TracerRadionuclide")
    if half_life is None and nuclide is not None:
        half_life = isotope_half_life(nuclide)
    units = fields.text("Units")
    return Sidecar(
        frame_start=fields.needed_numbers("FrameTimesStart"),
        frame_duration=fields.needed_numbers("FrameDuration"),
        scan_start=fields.number("ScanStart"),
        injection_time=fields.number("InjectionStart"),
        half_life=half_life,
        units=None if units is None else re.sub(r"[^A-Za-z0-9/*^.%-]", "", units)[:16],
        decay_corrected=fields.flag("ImageDecayCorrected"),
        decay_reference=fields.number("ImageDecayCorrectionTime"),
        decay_factor=fields.numbers("DecayCorrectionFactor"),
    )


class _Fields:
    """Fields of a JSON mapping, by type; ``null`` counts as absent."""

    def __init__(self, content: dict[str, Any], where: str) -> None:
        self.content, self.where = content, where

    def number(self, name: str) -> float | None:
        value = self.content.get(name)
        if value is None:
            return None
        if not _is_number(value):
            raise self._wrong(name, "a finite number")
        return float(value)

    def numbers(self, name: str) -> tuple[float, ...] | None:
        value = self.content.get(name)
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

    def flag(self, name: str) -> bool | None:
        value = self.content.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false, without quotes")
        return value

    def text(self, name: str) -> str | None:
        value = self.content.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def _wrong(self, name: str, wanted: str) -> InputError:
        kind = type(self.content[name]).__name__
        return InputError(f"{self.where}: {name}", got=f"something else, {kind}", wanted=wanted)


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
        got = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"{where} cannot be read", got=got, wanted="the JSON file beside the image"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds no fields", got=type(content).__name__, wanted="a mapping")
    return content
