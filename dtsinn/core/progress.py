"""How long work reports its progress: a function called with (what, done, total)."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of its parts are done, and how many there are."""


def no_progress(what: str, done: int, total: int) -> None:
    """Do nothing."""
