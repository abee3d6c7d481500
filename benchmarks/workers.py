"""Jobs that are done once: a book of their results on disk, and the workers that fill it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.report import Say
from dtsinn.core.errors import RunError

Result = dict[str, Any]


class AnyJob(Protocol):
    """A piece of work that can be sent to another process."""

    @property
    def key(self) -> str:
        """Name of the job: equal for two jobs with the same result."""

    @property
    def described(self) -> dict[str, Any]:
        """The job as plain data."""

    def describe_result(self, result: Result) -> str:
        """What it was and what it gave, in words."""


J = TypeVar("J", bound=AnyJob)
Do = Callable[[J], Awaitable[Result]]
"""Has a job done, and waits for its result."""


class Book:
    """Results by the key of their job, on disk as soon as they are known: a JSON line each.

    Lines are only ever appended. One that was torn when the writer was killed is dropped when the
    book is opened again.

    Args:
        path: The file; made when it is not there.

    Raises:
        RunError: A line that is not the last one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, Result] = {}
        """What each job gave."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                self.results[entry["key"]] = entry["result"]
            except (ValueError, KeyError, TypeError):
                raise RunError(
                    f"{path}, line {number} is damaged",
                    hint="deleting the line: its job runs again",
                ) from None
        if whole != content:
            os.truncate(path, len(whole))

    def record(self, key: str, job: dict[str, Any], result: Result) -> None:
        """Append a result; it is on disk when this returns."""
        line = json.dumps({"key": key, "job": job, "result": result}, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.results[key] = json.loads(line)["result"]  # as whoever opens the book again has it


def run_rows(
    rows: Sequence[Callable[[Do[J]], Awaitable[object]]],
    book: Book,
    perform: Callable[[J], Result],
    *,
    jobs: int,
    workers: int,
    say: Say,
) -> None:
    """Run rows of jobs side by side; the jobs of one row wait for each other.

    Args:
        rows: Each is given what has a job done, and awaits it job by job.
        book: Where results are recorded, each as soon as it is there; what it knows is not done
            again.
        perform: Does a job, in another process: a function of a module.
        jobs: Of all rows together.
        workers: Processes; 1 stays in this one.
        say: Told of each finished job, with the time that is left.
    """
    pool = make_pool(workers) if workers > 1 else ThreadPoolExecutor(1)
    finished, begun = 0, time.monotonic()

    async def do(job: J) -> Result:
        nonlocal jobs, finished
        if job.key in book.results:
            jobs -= 1
            return book.results[job.key]
        result = await asyncio.get_running_loop().run_in_executor(pool, perform, job)
        book.record(job.key, job.described, result)
        finished += 1
        left = (time.monotonic() - begun) / finished * (jobs - finished)
        told = job.describe_result(result)
        say(f"[{finished}/{jobs}] {told}; about {left / 60:.0f} min left")
        return result

    async def run() -> None:
        await asyncio.gather(*(row(do) for row in rows))

    try:
        asyncio.run(run())
    finally:
        pool.shutdown(cancel_futures=True)


def make_pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes, which have nothing of this one."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
