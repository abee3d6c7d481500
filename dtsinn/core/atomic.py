"""Files and folders that are replaced whole: a reader finds the old content or the new one."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import PackageError
from dtsinn.core.lock import hold_lock

NEW, LOCK = "new", "lock"
"""In a hidden neighbour: what is to take the place, and the lock of who writes it."""


def replace_file(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Put ``content`` in the place of the file ``path``, or of whatever but a folder lies there.

    It is synced to disk before it takes the name, and the name of the neighbour that it is
    written to is drawn, so that writers who share a disk cannot meet in it.

    Args:
        path: Of the file; its folder exists.
        content: All of it; a text is written as UTF-8.
        mode: Of the new file from the moment it exists, less the process's umask.

    Raises:
        OSError: It cannot be written; nothing has changed and nothing stays.
        UnicodeEncodeError: The text is none that UTF-8 can write.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def fresh_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the name ``folder`` when all went well.

    Its files are synced to disk before the renaming. When the body raises, nothing stays; what a
    kill leaves, a hidden neighbour that ends in ``.partial``, is removed by the next call.

    Raises:
        PackageError: ``folder`` exists (or came to exist meanwhile), or cannot be made.
    """
    if os.path.lexists(folder):
        raise PackageError(f"{folder} exists already", hint="another name, or remove it first")
    with ExitStack() as stack:
        try:
            partial = stack.enter_context(_hidden_neighbour(folder.absolute())) / NEW
        except OSError as error:
            raise in_our_words(error, f"{folder} cannot be made", PackageError) from None
        yield partial
        for path in (*partial.rglob("*"), partial):
            _sync(path)
        _take_name(partial, folder)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when all went well.

    Of several that are written there at the same time the last one stays, whole. When the body
    raises, nothing has changed; what a kill leaves, a hidden neighbour that ends in ``.partial``,
    is removed by the next call. A kill between the two renamings leaves no ``folder``: it is
    brought back before.

    Raises:
        OSError: It cannot be made or put in place.
    """
    place = folder.absolute()  # ``.`` has a name and a parent only then
    _bring_back(place)
    with _hidden_neighbour(place) as own:
        yield own / NEW
        for number in count():
            with suppress(FileNotFoundError):
                place.rename(own / f"old-{number}")
            try:
                (own / NEW).rename(place)
            except OSError as error:  # another one was put there between the two
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                return


@contextmanager
def _hidden_neighbour(place: Path) -> Iterator[Path]:
    """Yield a folder beside ``place`` that holds the empty folder :data:`NEW`, and remove it.

    Its name is drawn, so that writers who share a disk cannot meet in it, and it is locked while
    the body runs: what is not locked, a dead process left, and is removed.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.partial"):
        with suppress(OSError):  # a file system without locks tells nothing
            if {LOCK} < {path.name for path in left.iterdir()}:
                with hold_lock(left / LOCK, 0):
                    shutil.rmtree(left, ignore_errors=True)
    own = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
    own.mkdir()
    try:
        with ExitStack() as stack:
            with suppress(OSError):
                stack.enter_context(hold_lock(own / LOCK))
            (own / NEW).mkdir()  # once it is locked: without, nobody takes it for left
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _bring_back(place: Path) -> None:
    """Give a folder its name again that a kill left aside; of one that is there, do nothing."""
    asides = place.parent.glob(f".{glob.escape(place.name)}.*.partial/old-*")
    for aside in sorted(asides, key=lambda path: path.stat().st_mtime, reverse=True):
        if os.path.lexists(place):
            return
        with suppress(OSError):  # another process does the same
            aside.rename(place)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_name(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        raise in_our_words(error, f"{folder} cannot be put in place", PackageError) from None
