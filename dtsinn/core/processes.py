"""Worker processes that start from a clean ``__main__``, whatever script or notebook asks for them.

Python's own spawned processes run the caller's script again, from top to bottom, unless it hides
behind ``if __name__ == "__main__":``. A script that simulates would so simulate in each worker,
which Python refuses, and the caller learns only that a worker died. Our workers need nothing of the
script: what they run is imported by its module's name, or travels by value.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

_LOCK = threading.Lock()
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
"""Variables that libraries of numbers read when they are loaded."""


class _Worker(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 (as multiprocessing calls it)
        with _nameless_main():
            return SpawnProcess._Popen(process_obj)


class _CleanSpawnContext(SpawnContext):
    Process = _Worker


@contextmanager
def _nameless_main() -> Iterator[None]:
    """Hide from multiprocessing where ``__main__`` comes from: that is what it would run again."""
    main: Any = sys.modules["__main__"]
    with _LOCK:
        kept = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
        main.__spec__ = main.__file__ = None
        try:
            yield
        finally:
            del main.__spec__, main.__file__
            vars(main).update(kept)


SPAWN = _CleanSpawnContext()
"""Makes processes, queues and locks as ``multiprocessing.get_context("spawn")`` does."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let processes that start here compute with one thread each."""
    kept = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
