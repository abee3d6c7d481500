"""Deleting a folder so that nobody ever finds half of it: it is renamed aside, then deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

ASIDE = ".disposed"
"""Ends the names of folders that are being deleted; a dot begins them."""


def delete_safely(folder: Path) -> None:
    """Delete a folder; one that lies aside already, as a kill leaves it, is deleted too.

    Raises:
        OSError: It cannot be renamed or deleted.
    """
    aside = _aside(folder)
    if aside.exists():
        shutil.rmtree(aside)
    if folder.exists():
        folder.rename(aside)
        shutil.rmtree(aside)


def interrupted_deletions(parent: Path) -> list[Path]:
    """Folders inside ``parent``, by the names they had, of which a kill left something aside."""
    found = sorted(parent.glob(f".*{ASIDE}"))
    return [one.with_name(one.name[1 : -len(ASIDE)]) for one in found]


def bytes_of(folder: Path) -> int:
    """Bytes of all files in a folder, and of what lies aside of it."""
    files = [path for one in (folder, _aside(folder)) for path in one.rglob("*")]
    return sum(path.lstat().st_size for path in files if not path.is_dir())


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{ASIDE}")
