"""A tracker for tests that look at everything but what is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dtsinn.core.tracker import Point, RunStart, RunStatus


class NullTracker:
    """Records nothing."""

    place = "nowhere"

    def begin(self, run: RunStart) -> None:
        """Forget it."""

    def report(self, key: str, points: Sequence[Point]) -> None:
        """Forget it."""

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Forget it."""

    def end(
        self,
        key: str,
        status: RunStatus,
        time_ms: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Forget it."""

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Forget it."""

    def running(self, parent_key: str) -> list[str]:
        """None."""
        return []
