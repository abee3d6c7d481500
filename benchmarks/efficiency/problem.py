"""The two problems: a study each, and a grid of configurations that all are trained on it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.config import to_mapping
from dtsinn.core.progress import Progress
from dtsinn.data.store import Store, open_store
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study

Value = str | int | float
Point = tuple[int, ...]
"""A configuration of a grid: the index of each parameter's value."""

REPORTS = 27
"""Validations of a curve, at equal distances: rungs stand at 1/27, 1/9, 1/3 of the budget."""
STEPS_OF_REPORT = 10
WARM_UP = 12
"""Steps of the warm-up: the same part of the budget, 1/23, that the space ``quick`` has."""
SPLITS = {"train": 88 / 112, "val": 8 / 112, "test": 16 / 112}
LEARNING_RATES = (2e-4, 5.4e-4, 1.5e-3, 4e-3, 1.1e-2, 3e-2)
"""Log-spaced around the useful ones (uncited); the highest diverge with most networks."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a table tabulates."""

    name: str
    title: str
    request: StudyRequest
    grid: Mapping[str, Sequence[Value]]
    """Values by configuration key; every combination is trained."""
    repeated: int = 0
    """Points, drawn at random, that are trained with two more seeds."""

    @property
    def points(self) -> list[Point]:
        """All points of the grid."""
        return list(itertools.product(*(range(len(values)) for values in self.grid.values())))

    def settings(self, point: Point) -> dict[str, Value]:
        """The settings of a point by configuration key."""
        return {key: values[i] for (key, values), i in zip(self.grid.items(), point, strict=True)}


FIRST = Problem(
    name="table-1",
    title="FMZ then FDG, noise mid",
    request=StudyRequest(subjects=112, slices=1, size=32, noise="mid", seed=31),
    grid={
        "optimizer.learning_rate": LEARNING_RATES,
        "model.blocks": (1, 2, 3),
        "model.width": (8, 16, 24),
        "model.coupling": ("additive", "two-sided"),
        "model.subnet": ("bottleneck", "residual", "separable"),
    },
    repeated=60,
)
"""Settings are chosen on this one."""
SECOND = Problem(
    name="table-2",
    title="raclopride then FDG, noise high",
    request=StudyRequest(
        tracers=("raclopride", "fdg"), subjects=112, slices=1, size=32, noise="high", seed=32
    ),
    grid={**FIRST.grid, "model.width": (8,)},
)
"""The chosen settings are judged on this one."""
PROBLEMS = {problem.name: problem for problem in (FIRST, SECOND)}


def prepared(problem: Problem, work: Path, progress: Progress) -> Store:
    """The problem's store in the folder ``work``; it is simulated where it is not there yet."""
    said = json.dumps([to_mapping(problem.request), SPLITS], sort_keys=True)
    path = work / f"{problem.name}-{hashlib.sha256(said.encode()).hexdigest()[:8]}.zarr"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        simulate_study(problem.request, str(path), splits=SPLITS, progress=progress)
    return open_store(str(path), need_truth=True)
