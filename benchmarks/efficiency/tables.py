"""Making the tables: all curves of both grids, resumably, on a few processes of one thread."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from benchmarks.efficiency.curve import Job, perform
from benchmarks.efficiency.problem import PROBLEMS, Point, Problem, prepared
from benchmarks.quality.book import Book
from benchmarks.report import Say
from dtsinn.core.progress import no_progress
from dtsinn.core.seeds import generator

MORE_SEEDS = (1, 2)
SAY_EVERY_S = 20.0


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
        say: Told of progress, now and then.
    """
    book = Book(work / "efficiency.jsonl")
    firsts: list[Job] = []
    repeats: list[Job] = []
    for problem in PROBLEMS.values():
        store = prepared(problem, work, no_progress)
        first, more = jobs_of(problem, store.header.path)
        firsts += first
        repeats += more
    jobs = [job for job in (*firsts, *repeats) if job.key not in book.results]
    begun = said = time.monotonic()
    for done, (job, curve) in enumerate(_performed(jobs, workers), start=1):
        book.record(job.key, job.described, curve)
        now = time.monotonic()
        if now - said > SAY_EVERY_S or done == len(jobs):
            said, left = now, (now - begun) / done * (len(jobs) - done)
            say(f"{done} of {len(jobs)} curves, about {left / 60:.0f} min left; {job.key}")
    return book


def _performed(jobs: list[Job], workers: int) -> Iterator[tuple[Job, dict[str, list[float]]]]:
    """Jobs with their curves, as they end."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=workers, mp_context=context)
    try:
        coming = iter(jobs)
        running: dict[Future[dict[str, list[float]]], Job] = {}
        while True:
            while len(running) < workers and (job := next(coming, None)) is not None:
                running[pool.submit(perform, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)
