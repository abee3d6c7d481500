"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import PackageError


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
        for path in (*partial.iterdir(), partial):
            _sync(path)
        _take_name(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already when all went well


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
