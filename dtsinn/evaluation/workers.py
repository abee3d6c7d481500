"""Who works on the cells of an evaluation: this process, or several of this machine.

A cluster's is :mod:`dtsinn.search.engine.tasks`: all are one :data:`Share`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from dtsinn.core.errors import RunError
from dtsinn.core.processes import SPAWN, one_thread_each
from dtsinn.core.progress import Progress

Work = Callable[..., Any]
"""Called with what all tasks share and a task; and with ``progress`` and ``workers`` where the
whole machine is for one task."""
Share = Callable[[Work, Any, Sequence[Any], Progress], Iterator[tuple[int, Any]]]
"""Work, what all tasks share, tasks, progress -> number and result of each task that is done."""

_shared: Any = None
"""In a worker: what all its tasks share."""


def run_here(
    work: Work, shared: Any, tasks: Sequence[Any], progress: Progress
) -> Iterator[tuple[int, Any]]:
    """Do one task after the other in this process."""
    for number, task in enumerate(tasks):
        yield number, work(shared, task, progress=progress, workers=None)


def share_among(workers: int | None) -> Share:
    """What does tasks in so many processes; by default one per core."""
    return partial(_run_in_processes, workers or os.cpu_count() or 1)


def _run_in_processes(
    workers: int, work: Work, shared: Any, tasks: Sequence[Any], progress: Progress
) -> Iterator[tuple[int, Any]]:
    """Do tasks as processes get free.

    Raises:
        RunError: A process was killed; what was done before is kept by whoever does it.
    """
    workers = min(workers, len(tasks))
    if workers < 2:
        yield from run_here(work, shared, tasks, progress)
        return
    others, done = set(multiprocessing.active_children()), 0
    pool = ProcessPoolExecutor(workers, mp_context=SPAWN, initializer=_prepare, initargs=(shared,))
    try:
        with one_thread_each():
            futures = {pool.submit(_work, work, task): n for n, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures[future], future.result()
            done += 1
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process was killed",
            got="no word of it; most often the machine has no memory left",
            hint=f"the same command with fewer --workers: {done} of {len(tasks)} cells are kept",
        ) from error
    finally:
        if done < len(tasks):
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _prepare(shared: Any) -> None:
    """Begin a worker: it has one thread, and ends with the process that started it."""
    import torch

    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _work(work: Work, task: Any) -> Any:
    return work(_shared, task)
