"""Files and folders that are replaced whole: a reader finds the old content or the new one."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import PackageError


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
    """Yield an empty hidden neighbour of ``folder`` that takes its name when all went well.

    Its files are synced to disk before the renaming. When the body raises, nothing stays. The
    neighbour's name is drawn, so that writers who share a disk cannot meet in it.

    Raises:
        PackageError: ``folder`` exists (or came to exist meanwhile), or cannot be made.
    """
    if os.path.lexists(folder):
        raise PackageError(f"{folder} exists already", hint="another name, or remove it first")
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise in_our_words(error, f"{folder} cannot be made", PackageError) from None
    try:
        yield partial
        for path in (*partial.rglob("*"), partial):
            _sync(path)
        _take_name(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already when all went well


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``folder`` when all went well.

    Of several that are written there at the same time the last one stays, whole. When the body
    raises, nothing has changed; a kill leaves a hidden neighbour that ends in ``.partial``. One
    that came between the two renamings leaves no ``folder``: it is brought back by the next call.

    Raises:
        OSError: It cannot be made or put in place.
    """
    place = folder.absolute()  # ``.`` has a name and a parent only then
    place.parent.mkdir(parents=True, exist_ok=True)
    _bring_back(place)
    with TemporaryDirectory(".partial", f".{place.name}.", place.parent) as own:
        partial = Path(own) / "new"
        partial.mkdir()
        yield partial
        for number in count():
            with suppress(FileNotFoundError):
                place.rename(Path(own) / f"old-{number}")
            try:
                partial.rename(place)
            except OSError as error:  # another one was put there between the two
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                return


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
