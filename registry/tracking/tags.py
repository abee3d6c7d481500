"""Tags as data: whatever somebody wrote there, a command reads a value of its kind, or none.

Everybody who may log can write any tag, so one is a number only when it reads as one within its
bounds, and never a path, a part of a filter, or words that steer a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter

from dtsinn.core.bounds import parse_json
from dtsinn.core.display import printable
from dtsinn.core.errors import InputError
from dtsinn.registry.tracking.names import check_key

LATEST_ms = 4_102_444_800_000
"""Times from then on, the year 2100, are none: Python's calendar ends soon after."""
LARGEST = 1e15
"""Largest number that a table shows; none of ours comes near."""
LINE_LENGTH = 100
"""Characters of a text in a table."""

_NATURAL = re.compile(r"[0-9]{1,15}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"(?:m-)?[0-9a-f]{32}")
_STORE = re.compile(r"(?:(?:file|s3|gs|az|abfs)://)?(?!.*(?:://|::))[^\x00-\x1f]{1,4096}")
_T = TypeVar("_T")

Tags = Mapping[str, str]


def natural(tags: Tags, key: str, absent: int = 0, *, most: int = 10**15) -> int:
    """A number that counts something, from 0 to ``most``."""
    found = int(tags[key]) if _NATURAL.fullmatch(tags.get(key, "")) else absent
    return found if found <= most else absent


def moment(tags: Tags, key: str, absent: int = 0) -> int:
    """A time in ms since 1970 UTC, until the year 2100."""
    return natural(tags, key, absent, most=LATEST_ms)


def digest(tags: Tags, key: str) -> str:
    """A SHA-256 in hexadecimal digits, which may be a folder's name; else nothing."""
    return tags[key] if _DIGEST.fullmatch(tags.get(key, "")) else ""


def mlflow_id(tags: Tags, key: str) -> str:
    """MLflow's id of a run or logged model; else nothing."""
    return tags[key] if _ID.fullmatch(tags.get(key, "")) else ""


def run_key(tags: Tags, key: str) -> str:
    """A run's key, which may stand in a filter; else nothing."""
    try:
        return check_key(tags[key]) if key in tags else ""
    except InputError:
        return ""


def store_path(tags: Tags, key: str) -> str:
    """Where a store is said to lie: a folder, or in a bucket that the user's own settings reach.

    Nothing of any other URL: its opening would ask whatever host it names.
    """
    return tags[key] if _STORE.fullmatch(tags.get(key, "")) else ""


def line(tags: Tags, key: str) -> str:
    """A text as one line of a table."""
    text = printable(tags.get(key, ""))
    return text if len(text) <= LINE_LENGTH else f"{text[:LINE_LENGTH]}..."


def numbers(tags: Tags, key: str) -> dict[str, float]:
    """Finite numbers by name; others are left out."""
    found = _json(tags.get(key, ""))
    items = found.items() if isinstance(found, dict) else ()
    values = {printable(name): as_number(value) for name, value in items}
    return {name: value for name, value in values.items() if value is not None}


class Spread(NamedTuple):
    """A mean over subjects with its interval, where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Subjects; 0.1.0 wrote no number of them."""


def interval(tags: Tags, key: str) -> Spread | None:
    """A mean with its interval and its number of subjects, which 0.1.0 did not write."""
    found = _json(tags.get(key, ""))
    mean, *rest = found if isinstance(found, list) and len(found) in (3, 4) else [None]
    value, numbers = as_number(mean), [as_number(one) for one in rest]
    if value is None or [one is None for one in rest] != [one is None for one in numbers]:
        return None
    low, high, n = (*numbers, None)[:3]
    if (low is None) != (high is None) or (n or 0) < 0 or (n or 0) % 1:
        return None
    return Spread(value, low, high, None if n is None else int(n))


def parse_as(kind: TypeAdapter[_T], text: str) -> _T | None:
    """JSON as a type says it, strictly."""
    try:
        return kind.validate_json(text, strict=True)
    except ValueError:
        return None


def as_number(value: object) -> float | None:
    """A JSON number as a finite float."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not -LARGEST < value < LARGEST
    ):
        return None
    return float(value)


def _json(text: str) -> Any:
    try:
        return parse_json(text.encode())
    except ValueError:  # also of a number with thousands of digits
        return None
