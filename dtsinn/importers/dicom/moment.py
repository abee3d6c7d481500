"""Moments in a DICOM header: they are only ever subtracted, so that no date leaves it."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import DAY_S


@dataclass(frozen=True, kw_only=True, repr=False)
class Moment:
    """A date and time, or a time of a day that is not said.

    Attributes:
        day: Days since some origin, or None.
        seconds: Since midnight.
    """

    day: int | None
    seconds: float

    def since(self, other: Moment) -> float:
        """Seconds from ``other`` to this moment; the nearest way round without both days."""
        seconds = self.seconds - other.seconds
        if self.day is not None and other.day is not None:
            return seconds + DAY_S * (self.day - other.day)
        return (seconds + DAY_S / 2) % DAY_S - DAY_S / 2

    def later(self, seconds: float) -> Moment:
        """The moment ``seconds`` after this one."""
        days, rest = divmod(self.seconds + seconds, DAY_S)
        return Moment(day=None if self.day is None else self.day + int(days), seconds=rest)


def day_of(text: str, what: str) -> int:
    """Days since some origin of a DA, YYYYMMDD or the older YYYY.MM.DD; ``what`` is for errors.

    Raises:
        InputError: The text is no date.
    """
    try:
        return dt.datetime.strptime(text.replace(".", ""), "%Y%m%d").toordinal()
    except ValueError:
        raise InputError(f"{what} is no date") from None


def zone_of(text: str, what: str) -> float:
    """Seconds from UTC of an offset such as ``+0130``.

    Raises:
        InputError: The text is no offset.
    """
    match = re.fullmatch(r"([+-])(\d\d)(\d\d)", text)
    if match is None:
        raise InputError(f"{what} is no offset from UTC")
    sign, hours, minutes = match.groups()
    return (3600.0 * int(hours) + 60.0 * int(minutes)) * (1 if sign == "+" else -1)


def seconds_of(text: str, what: str) -> float:
    """Seconds since midnight of a TM, HHMMSS.FFFFFF with parts left out from the right.

    Raises:
        InputError: The text is no time of day.
    """
    match = re.fullmatch(r"(\d\d):?(\d\d)?:?(\d\d(?:\.\d*)?)?", text)
    if match is None:
        raise InputError(f"{what} is no time of day")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if hours >= 24 or minutes >= 60 or seconds > 60:
        raise InputError(f"{what} is no time of day")
    return 3600 * hours + 60 * minutes + seconds
