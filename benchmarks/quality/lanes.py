"""Lanes: jobs that wait for each other in a row, several rows side by side on the workers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.quality.book import Book
from benchmarks.quality.jobs import Job, perform
from benchmarks.report import Say

Result = dict[str, Any]
Lane = Generator[Job, Result, None]
"""Yields jobs and is sent their results."""


@dataclass(kw_only=True)
class _Row:
    """A lane on its way."""

    lane: Lane
    left: int
    """Jobs that are still to come, the next one included."""
    job: Job | None = None


def run_lanes(
    lanes: Sequence[tuple[Lane, int]], book: Book, *, workers: int, say: Say
) -> dict[str, Result]:
    """Do all jobs of all lanes; those that the book knows are not done again.

    The lane with most jobs left goes first, so that all end at about the same time.

    Args:
        lanes: Each with the number of its jobs.
        book: Where results are recorded, each as soon as it is there.
        workers: Processes; 1 stays in this one.
        say: Told of each finished job, with the time that is left.

    Returns:
        The results by key.
    """
    rows = [_Row(lane=lane, left=left) for lane, left in lanes]
    used: dict[str, Result] = {}
    for row in rows:
        _advance(row, None, book, used)
    progress = _Progress(sum(row.left for row in rows if row.job is not None), say)
    with _submitter(workers) as submit:
        running: dict[Future[Result], _Row] = {}
        waiting = [row for row in rows if row.job is not None]
        while waiting or running:
            waiting.sort(key=lambda row: row.left)
            while waiting and len(running) < workers:
                row = waiting.pop()
                assert row.job is not None  # noqa: S101 (for the type checker)
                running[submit(row.job)] = row
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                row, result = running.pop(future), future.result()
                assert row.job is not None  # noqa: S101 (for the type checker)
                book.record(row.job.key, asdict(row.job), result)
                used[row.job.key] = result
                before = row.left
                job = row.job
                _advance(row, result, book, used)
                progress.done(job, result, before - (row.left if row.job else 0))
                if row.job is not None:
                    waiting.append(row)
    return used


def _advance(row: _Row, result: Result | None, book: Book, used: dict[str, Result]) -> None:
    """Move on to the lane's next job that the book does not know; None when there is none."""
    try:
        if result is None:
            row.job = next(row.lane)
        else:
            row.left -= 1
            row.job = row.lane.send(result)
        while row.job.key in book.results:
            known = book.results[row.job.key]
            used[row.job.key] = known
            row.left -= 1
            row.job = row.lane.send(known)
    except StopIteration:
        row.job = None


@contextmanager
def _submitter(workers: int) -> Iterator[Callable[[Job], Future[Result]]]:
    """How a job is started: in a process of its own, or here and now."""
    if workers == 1:
        yield _here
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(max_workers=workers, mp_context=context)
    try:
        yield lambda job: pool.submit(perform, job)
    finally:
        pool.shutdown(cancel_futures=True)


def _here(job: Job) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(perform(job))
    return future


class _Progress:
    """Says what is done and how long the rest takes, from the jobs so far."""

    def __init__(self, total: int, say: Say) -> None:
        self.total, self.say = total, say
        self.finished, self.begun = 0, time.monotonic()

    def done(self, job: Job, result: Result, jobs: int) -> None:
        """Tell of a job; ``jobs`` were behind it in its lane and are known now, itself included."""
        self.finished += jobs
        left = (time.monotonic() - self.begun) / self.finished * (self.total - self.finished)
        self.say(
            f"[{self.finished}/{self.total}] {job.data}, {job.method}, {job.task} {job.number}: "
            f"{_found(job, result)}; about {left / 60:.0f} min left"
        )


def _found(job: Job, result: Result) -> str:
    drawn = ", ".join(f"{name} {value:.3g}" for name, value in job.parameters.items())
    if "val_psnr" not in result:
        return "scored"
    psnr = result["val_psnr"]
    found = "diverged" if psnr is None else f"{psnr:.2f} dB on val"
    return f"{drawn + ': ' if drawn else ''}{found}, {result['cpu_seconds']:.1f} CPU s"
