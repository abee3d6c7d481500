"""The ledger: every event of a search, appended to one file before anything else hears of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dtsinn.core.errors import InputError


class Ledger:
    """An append-only file of JSON lines.

    An event is on the disk when :meth:`append` returns. A torn last line, as a kill leaves it, is
    cut off when the ledger is opened again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)

    def append(self, event: dict[str, Any]) -> None:
        """Write one event, whole and synced."""
        line = json.dumps(event, sort_keys=True, allow_nan=False) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All events, in order.

        Raises:
            InputError: A line is no JSON.
        """
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{self.path}, line {number} is damaged", got=error) from None


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
