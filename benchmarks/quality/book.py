"""The book of finished jobs: one JSON line each, only ever appended to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dtsinn.core.errors import RunError


class Book:
    """Results by the key of their job, on disk as soon as they are known.

    A line that was torn when the writer was killed is dropped when the book is opened again.

    Args:
        path: Of the file; made when it is not there.

    Raises:
        RunError: A line that is not the last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, dict[str, Any]] = {}
        """What each job gave."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                self.results[entry["key"]] = entry["result"]
            except (ValueError, KeyError, TypeError):
                raise RunError(
                    f"{path}, line {number} is damaged",
                    hint="deleting the line: its job runs again",
                ) from None
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))

    def record(self, key: str, job: dict[str, Any], result: dict[str, Any]) -> None:
        """Append a result; it is on disk when this returns."""
        line = json.dumps({"key": key, "job": job, "result": result}, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.results[key] = result
