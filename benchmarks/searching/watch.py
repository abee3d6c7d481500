"""What a session costs, trial by trial, seen from the driver's own thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtsinn.search.engine.driver import Driver

PAGE_bytes = 4096
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The end of a trial; times in s since some moment."""

    wall: float
    cpu: float
    """Of the driver's thread."""
    memory_MB: float
    """Resident, of the driver's process."""


class Watch:
    """Stands before a driver, in Ray's eyes is it, and takes times.

    Attributes:
        marks: One at the start and one per trial's end.
        asked: Wall and CPU seconds of each suggestion.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.marks = [_mark()]
        self.asked: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    def suggest(self, ray_id: str) -> dict[str, Any] | None:
        """As the driver does."""
        wall, cpu = time.monotonic(), time.thread_time()
        found = self.driver.suggest(ray_id)
        if found is not None:
            self.asked.append((time.monotonic() - wall, time.thread_time() - cpu))
        return found

    def handle_end(self, ray_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """As the driver does."""
        self.driver.handle_end(ray_id, result, error)
        self.marks.append(_mark())


@dataclass(frozen=True, kw_only=True)
class Block:
    """Means over some trials that followed each other; ms per trial."""

    first: int
    last: int
    wall: float
    """Without suggestions."""
    cpu: float
    """Of the driver's thread, without suggestions."""
    suggest: float
    """Wall time of a suggestion."""


def block(watch: Watch, first: int, last: int) -> Block:
    """Costs of the trials from the ``first``-th on to before the ``last``-th, by order of ends."""
    before, after = watch.marks[first], watch.marks[last]
    asked, count = watch.asked[first:last], last - first
    return Block(
        first=first,
        last=last,
        wall=1e3 * (after.wall - before.wall - sum(one[0] for one in asked)) / count,
        cpu=1e3 * (after.cpu - before.cpu - sum(one[1] for one in asked)) / count,
        suggest=1e3 * sum(one[0] for one in asked) / count,
    )


def resident() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_bytes / MB


def _mark() -> Mark:
    return Mark(wall=time.monotonic(), cpu=time.thread_time(), memory_MB=resident())
