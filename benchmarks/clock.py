"""What calls take, measured where they are made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def timed_calls(owner: Any, name: str) -> Iterator[list[float]]:
    """Seconds of each call of ``owner.name``, within."""
    seconds: list[float] = []
    call = getattr(owner, name)

    def timed(*given: Any, **named: Any) -> Any:
        begun = time.monotonic()
        try:
            return call(*given, **named)
        finally:
            seconds.append(time.monotonic() - begun)

    with patch.object(owner, name, timed):
        yield seconds
