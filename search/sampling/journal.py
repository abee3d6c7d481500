"""The file of an Optuna study that has one writer and can be made anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class JournalFile(JournalFileBackend):
    """Optuna's file, written without Optuna's lock and syncs.

    The search's driver is its only writer, and what is lost of it, the ledger tells again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write events of Optuna's, a line each."""
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
