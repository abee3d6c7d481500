"""A lock between processes: a file that the operating system frees when its holder ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def hold_lock(path: Path, wait_s: float = -1, *, busy: Exception | None = None) -> Iterator[None]:
    """Hold the lock at ``path`` while the body runs; its folder is made.

    Args:
        path: File that is locked; it stays.
        wait_s: Longest wait for another holder, in seconds; 0 asks once, -1 waits for ever.
        busy: Raised when another holder does not let go; by default filelock's own error.

    Raises:
        Timeout: Another holder does not let go; an ``OSError`` of filelock.
        OSError: The file cannot be made or locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise busy or error from None
    try:
        yield
    finally:
        lock.release()
