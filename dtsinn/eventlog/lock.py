"""One writer per event log: a lock that says who holds it, and goes with its process."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_json
from dtsinn.core.errors import InputError

LOCK, HOLDER = "driver.lock", "driver.json"
"""In the folder of a search or a run: what is locked, and who by."""


@contextmanager
def driving(folder: Path, what: str = "search") -> Iterator[None]:
    """Be the only driver of the search or run in ``folder``, and so its log's only writer.

    The operating system frees the lock when the process ends, however it ends.

    Args:
        folder: Of the search or run.
        what: What it is, for the error.

    Raises:
        InputError: Another process drives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    if not _acquire(lock):
        raise _driven(folder, what)
    try:
        own = {"host": socket.gethostname(), "pid": os.getpid()}
        replace_file(folder / HOLDER, json.dumps(own))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def check_undriven(folder: Path, what: str = "search") -> None:
    """Refuse a search or run that a process drives now; nothing is made and nothing held.

    Raises:
        InputError: Another process drives it.
    """
    if is_driven(folder):
        raise _driven(folder, what)


def is_driven(folder: Path) -> bool:
    """Whether a process drives the search or run now."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    if not _acquire(lock):
        return True
    lock.release()
    return False


def _acquire(lock: FileLock) -> bool:
    """Take a lock that is free; returns whether it was.

    Raises:
        InputError: It is no plain file, or cannot be written.
    """
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        got = getattr(error, "strerror", None) or error
        raise InputError(f"{lock.lock_file} cannot be locked", got=got) from None
    return True


def holder(folder: Path) -> str:
    """Who drives it, in words."""
    try:
        known = read_json(folder / HOLDER)
        return f"process {int(known['pid'])} on {known['host']}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "another process"


def _driven(folder: Path, what: str) -> InputError:
    stop = f"dtsinn stop {folder.name}, or " if what == "search" else ""
    return InputError(
        f"{what} {folder.name} is being driven already",
        got=f"by {holder(folder)}",
        hint=f"{stop}another --name",
    )
