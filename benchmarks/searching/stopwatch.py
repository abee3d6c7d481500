"""What reporting and keeping take inside the worker: kept by the worker, read afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray import tune

from dtsinn.training.state import TrainingState


@dataclass(kw_only=True)
class Times:
    """Of one trial, in seconds."""

    reports: list[float] = field(default_factory=list)
    """Of each ``tune.report``: it returns when the driver has answered."""
    saves: list[float] = field(default_factory=list)
    """Of writing each checkpoint."""
    total: float = 0.0
    """From the trainable's first line to its last."""

    @property
    def training(self) -> float:
        """What is left of it."""
        return self.total - sum(self.reports) - sum(self.saves)


@contextmanager
def timed(folder: Path, name: str, save: str) -> Iterator[None]:
    """Time a trial inside its worker and write the times to ``folder``.

    Args:
        folder: Of all trials' times.
        name: Of the trial.
        save: Method of :class:`TrainingState` that writes its checkpoints.
    """
    times, begun = Times(), time.monotonic()

    def watched(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
        def inner(*given: Any, **named: Any) -> Any:
            started = time.monotonic()
            try:
                return call(*given, **named)
            finally:
                into.append(time.monotonic() - started)

        return inner

    write = getattr(TrainingState, save)
    with (
        patch.object(tune, "report", watched(tune.report, times.reports)),
        patch.object(TrainingState, save, watched(write, times.saves)),
    ):
        try:
            yield
        finally:
            times.total = time.monotonic() - begun
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(asdict(times)), encoding="utf-8")


def read_times(folder: Path) -> list[Times]:
    """Of all trials."""
    return [Times(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
