"""What reporting and keeping take inside the worker: kept by the worker, read afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ray import tune

from benchmarks.clock import timed_calls
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
    begun = time.monotonic()
    with timed_calls(tune, "report") as reports, timed_calls(TrainingState, save) as saves:
        try:
            yield
        finally:
            times = Times(reports=reports, saves=saves, total=time.monotonic() - begun)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(asdict(times)), encoding="utf-8")


def read_times(folder: Path) -> list[Times]:
    """Of all trials."""
    return [Times(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
