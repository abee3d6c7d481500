"""The two problems, a study and a grid each, and the learning curves of every configuration.

A curve is a training of the product, scored on ``val`` and ``test`` at each report.
Shape letters: N sample, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.prepare import WORK, Study
from benchmarks.report import Say, Work, Workers
from benchmarks.workers import Book, Result, run_rows
from dtsinn.core.errors import DivergedError, RunError
from dtsinn.core.seeds import generator
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.deploy.onnx_graphs import InferenceGraph
from dtsinn.evaluation.metrics import psnr
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.simulation.request import StudyRequest
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

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
class Problem(Study):
    """What a table tabulates."""

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
    splits=SPLITS,
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
    splits=SPLITS,
    grid={**FIRST.grid, "model.width": (8,)},
)
"""The chosen settings are judged on this one."""
PROBLEMS = {problem.name: problem for problem in (FIRST, SECOND)}


LOST = -99.0
"""PSNR in dB that stands for an answer that is not finite, or still worse."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training: settings on top of the default configuration, and a seed."""

    problem: str
    settings: dict[str, Value]
    seed: int
    store: str
    """Path."""
    steps: int = REPORTS * STEPS_OF_REPORT

    @property
    def key(self) -> str:
        """Name of the job, the same wherever the store lies."""
        said = " ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.problem} seed={self.seed} steps={self.steps} {said}"

    @property
    def described(self) -> dict[str, Any]:
        """The job as plain data, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "store"}

    def describe_result(self, result: Result) -> str:
        """What it was and what it gave, in words."""
        return f"{self.key}, {len(result['val'])} reports"


class Remembering(Store):
    """A store whose ``val`` and ``test`` subjects stay in memory: they are asked for often."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.group, store.arrays, store.header)
        self.kept: dict[str, list[Samples]] = {}

    def subjects(self, split: str) -> Iterator[Samples]:
        """The subjects of ``split``, read once."""
        if split not in self.kept:
            self.kept[split] = list(super().subjects(split))
        return iter(self.kept[split])


def perform(job: Job) -> dict[str, list[float]]:
    """Train; PSNR in dB and CPU seconds since the beginning, each a value per report.

    Returns:
        ``val`` and ``test``, mean of subjects and tracers, of the weights at the report; and
        ``seconds``, scoring of ``test`` left out. A training that diverged has fewer reports.
    """
    torch.set_num_threads(1)
    store = _opened(job.store)
    overrides = {
        "steps": job.steps,
        "validate_every": job.steps // REPORTS,
        "optimizer.warm_up": WARM_UP,
        "seed": job.seed,
        **job.settings,
    }
    config = load_run_config("invertible", [f"{key}={value}" for key, value in overrides.items()])
    state = TrainingState(config, store.header.protocol.frames)
    curve: dict[str, list[float]] = {"val": [], "test": [], "seconds": []}
    try:
        for report in train(store, state):
            curve["val"].append(report.metrics["val_psnr"])
            curve["test"].append(_test_psnr(state.validated_network, store))
            curve["seconds"].append(report.metrics["cpu_seconds"])
    except DivergedError:
        pass
    return curve


@functools.cache
def _opened(path: str) -> Remembering:
    return Remembering(open_store(path, need_truth=True))


def _test_psnr(network: SeparatorNetwork, store: Store) -> float:
    """Mean PSNR in dB of the ``test`` subjects, all in one batch; :data:`LOST` where not finite."""
    subjects, protocol = list(store.subjects("test")), store.header.protocol
    mixture_NTYX = torch.from_numpy(np.concatenate([each.mixture_NTYX for each in subjects]))
    training = network.training
    graph = InferenceGraph(network, torch.tensor(protocol.frame_duration))
    with torch.no_grad():
        answer_NKTYX = graph(mixture_NTYX.to(memory_format=torch.channels_last))[0].numpy()
    network.train(training)
    ends = np.cumsum([len(each.mixture_NTYX) for each in subjects])
    parts = np.split(answer_NKTYX, ends[:-1])
    scores = [psnr(each, part, protocol) for each, part in zip(subjects, parts, strict=True)]
    mean = float(np.mean(scores))
    return mean if np.isfinite(mean) else LOST


MORE_SEEDS = (1, 2)


def job_of(problem: Problem, point: Point, seed: int, store: str = "") -> Job:
    """The training of a point with a seed; only its doing needs the store's path."""
    settings = problem.settings(point)
    return Job(problem=problem.name, settings=settings, seed=seed, store=store)


def jobs_of(problem: Problem, store: str = "") -> tuple[list[Job], list[Job]]:
    """Jobs of all points with seed 0, and of the repeated points with the other seeds.

    Points come in random order: what is left after some time is as dear as what is done.
    """
    points = problem.points
    order = generator("efficiency", problem.name, "order").permutation(len(points))
    shuffled = [points[i] for i in order]
    first = [job_of(problem, point, 0, store) for point in shuffled]
    repeated = shuffled[: problem.repeated]
    return first, [job_of(problem, point, s, store) for point in repeated for s in MORE_SEEDS]


def make(work: Path, *, workers: int, say: Say) -> Book:
    """Train what the book in ``work`` does not know yet.

    Args:
        work: Folder of stores and book.
        workers: Processes.
        say: Told of each curve.
    """
    book = Book(work / "efficiency.jsonl")
    parts = [jobs_of(one, one.prepare(work).header.path) for one in PROBLEMS.values()]
    jobs = [job for first, _ in parts for job in first] + [job for _, more in parts for job in more]
    rows = [lambda do, job=job: do(job) for job in jobs]
    run_rows(rows, book, perform, jobs=len(jobs), workers=workers, say=say)
    return book


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


@functools.cache
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
