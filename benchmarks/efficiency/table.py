"""A table of curves: every point of a grid, at every report; kept as compressed JSON.

Shape letters: P point of the grid, R report.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.efficiency.curves import (
    LOST,
    MORE_SEEDS,
    PROBLEMS,
    REPORTS,
    STEPS_OF_REPORT,
    Job,
    Point,
    Problem,
    job_of,
    jobs_of,
    make,
)
from benchmarks.report import Say, Work, Workers
from benchmarks.stores import WORK
from benchmarks.workers import Book
from dtsinn.core.errors import RunError

Floats = npt.NDArray[np.float64]
KEPT = ("val", "test", "seconds")
DECIMALS = 3
"""That are kept, of dB and of seconds."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Curves of one seed; NaN from the report on that a training diverged before."""

    val_PR: Floats
    """PSNR of the ``val`` subjects, dB."""
    test_PR: Floats
    """PSNR of the ``test`` subjects, dB."""
    seconds_PR: Floats
    """CPU seconds since the beginning."""


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """All points of a problem's grid, and some of them with other seeds."""

    problem: Problem
    curves: Curves
    """Of all points, in the order of the grid, with seed 0."""
    repeated: tuple[int, ...]
    """Points that were trained with other seeds too."""
    more: tuple[Curves, ...]
    """Of the repeated points, for each other seed."""

    @property
    def steps(self) -> int:
        """Training steps of a whole curve."""
        return REPORTS * STEPS_OF_REPORT

    def index(self, point: Point) -> int:
        """Row of a point."""
        sizes = [len(values) for values in self.problem.grid.values()]
        return int(np.ravel_multi_index(point, sizes))


def collect(problem: Problem, book: Book) -> CurveTable:
    """The table of a problem from the book of its curves, with the repeats that are there.

    Raises:
        RunError: A curve is not there yet.
    """
    ordered = [job_of(problem, point, 0) for point in problem.points]
    rows = {job.key: row for row, job in enumerate(ordered)}
    first, more = jobs_of(problem)
    by_seed = [[job for job in more if job.seed == seed] for seed in MORE_SEEDS]
    number = 0
    while number < problem.repeated and all(of[number].key in book.results for of in by_seed):
        number += 1
    return CurveTable(
        problem=problem,
        curves=_curves(ordered, book),
        repeated=tuple(rows[job.key] for job in first[:number]),
        more=tuple(_curves(of[:number], book) for of in by_seed if number),
    )


def save(table: CurveTable, folder: Path) -> Path:
    """Write ``efficiency-<name>.json.gz``; equal tables give equal bytes."""
    content = {
        "grid": {key: list(values) for key, values in table.problem.grid.items()},
        "steps": table.steps,
        "repeated": list(table.repeated),
        "curves": [_plain(curves) for curves in (table.curves, *table.more)],
    }
    path = _path(folder, table.problem.name)
    folder.mkdir(parents=True, exist_ok=True)
    packed = gzip.compress(json.dumps(content, allow_nan=False).encode(), mtime=0)
    path.write_bytes(packed)
    return path


def load(name: str, folder: Path) -> CurveTable:
    """The kept table of a problem.

    Raises:
        RunError: It was made for another grid, or for other steps.
    """
    path, problem = _path(folder, name), PROBLEMS[name]
    content = json.loads(gzip.decompress(path.read_bytes()))
    grid = {key: list(values) for key, values in problem.grid.items()}
    if content["grid"] != grid or content["steps"] != REPORTS * STEPS_OF_REPORT:
        raise RunError(
            f"{path.name} holds another grid", hint="python -m benchmarks efficiency-tables"
        )
    first, *more = (_filled(curves) for curves in content["curves"])
    return CurveTable(
        problem=problem, curves=first, repeated=tuple(content["repeated"]), more=tuple(more)
    )


def run(*, workers: Workers = 2, work: Work = WORK, out: Path, say: Say) -> None:
    """Train every configuration of both grids and keep the curves; under an hour on two cores."""
    book = make(work, workers=workers, say=say)
    for problem in PROBLEMS.values():
        path = save(collect(problem, book), out)
        say(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


def _path(folder: Path, name: str) -> Path:
    return folder / f"efficiency-{name}.json.gz"


def _curves(jobs: Sequence[Job], book: Book) -> Curves:
    missing = [job.key for job in jobs if job.key not in book.results]
    if missing:
        raise RunError(
            f"{len(missing)} of {len(jobs)} curves are missing",
            got=missing[0],
            hint="python -m benchmarks efficiency-tables",
        )
    results = [book.results[job.key] for job in jobs]
    return _filled({name: [result[name] for result in results] for name in KEPT})


def _filled(content: dict[str, Any]) -> Curves:
    """Curves from lists, of which those that diverged are shorter."""
    arrays: dict[str, Floats] = {}
    for name in KEPT:
        value_PR = np.full((len(content[name]), REPORTS), np.nan)
        for row, values in enumerate(content[name]):
            value_PR[row, : len(values)] = np.maximum(values, LOST).round(DECIMALS)
        arrays[f"{name}_PR"] = value_PR
    return Curves(**arrays)


def _plain(curves: Curves) -> dict[str, list[list[float]]]:
    return {
        name: [row[np.isfinite(row)].tolist() for row in getattr(curves, f"{name}_PR")]
        for name in KEPT
    }
