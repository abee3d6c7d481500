"""Numbers, times and subjects as people read them: one way for all tables, pages and figures."""

from __future__ import annotations

import re

SIMULATED = re.compile(r".+-\d+-(\d{4,})")
"""Ids of simulated subjects: what they are for, the seed, and their number, counted from 0."""


def value_text(value: object, digits: int = 3) -> str:
    """A value of a setting or a metric; of a float at most ``digits`` significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(value_text(part, digits) for part in value)
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def short(number: float, decimals: int = 2) -> str:
    """A number with at most so many decimals, and none that are zero."""
    return f"{number:.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{number:.0f}"


def percent(share: float) -> str:
    """A part of the whole: ``41 %``."""
    return f"{100 * share:.0f} %"


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit that suits a length of time: how many seconds it has, and its name."""
    if seconds < 120:
        return 1.0, "s"
    return (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")


def duration(seconds: float, decimals: int = 1) -> str:
    """A length of time as people write it: ``41 s``, ``12.5 min``, ``3.2 h``.

    Seconds have one decimal less than minutes and hours.
    """
    scale, unit = time_unit(seconds)
    return f"{short(seconds / scale, decimals - (unit == 's'))} {unit}"


def minutes(seconds: float) -> str:
    """A time in minutes, without the unit: two decimals at most below ten, else one."""
    return short(seconds / 60, 2 if abs(seconds) < 600 else 1)


def minutes_text(start_s: float, duration_s: float) -> str:
    """A frame as people write it, such as ``2.5–5``; seconds in, minutes out."""
    start, end = minutes(start_s), minutes(start_s + duration_s)
    if start == end:  # a frame of seconds, late in the scan
        start, end = short(start_s / 60), short((start_s + duration_s) / 60)
    return f"{start}–{end}"


def subject_text(subject: str) -> str:
    """A subject's name: ``subject 17`` of the simulated ``study-0-0016``, else its id.

    Files and programs go by the id; people count from 1.
    """
    found = SIMULATED.fullmatch(subject)
    return f"subject {int(found[1]) + 1}" if found else f"subject {subject}"


def printable(text: str) -> str:
    """A text on one line, without what steers a terminal: escapes, controls, reversed reading.

    Args:
        text: Anything; what cannot be shown becomes U+FFFD, white space a single space.
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
