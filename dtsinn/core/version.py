"""Which code made a result: the package's version, in a checkout the commit, and its libraries."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import dtsinn

LIBRARIES = "torch", "ray", "optuna", "mlflow", "zarr"
"""Whose versions tell most about what a command does."""


@functools.cache
def code_version() -> str:
    """For example ``0.1.0+g1a2b3c4d``, with ``.dirty`` when the checkout was changed."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return dtsinn.__version__
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=.dirty", "--abbrev=8"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return dtsinn.__version__
    return f"{dtsinn.__version__}+g{done.stdout.strip()}"


@functools.cache
def source_digest() -> str:
    """Digest of all files of the package: what is cached under it was made by the same code.

    A version cannot tell two changed checkouts apart, and a commit may change no code.
    """
    package, total = Path(dtsinn.__file__).parent, hashlib.sha256()
    files = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if "__pycache__" not in folder
    )
    for path in files:
        content = path.read_bytes()
        total.update(f"{path.relative_to(package).as_posix()} {len(content)} ".encode() + content)
    return total.hexdigest()


def collect_versions() -> dict[str, str]:
    """Versions of dtsinn, Python and the main libraries, none of which is imported."""
    return {
        "dtsinn": code_version(),
        "Python": sys.version.split()[0],
        **{name: find_version(name) or "missing" for name in LIBRARIES},
    }


def find_version(package: str) -> str | None:
    """A package's version as it was installed; None where it was not."""
    from importlib import metadata  # slow to import, and no part of most commands

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
