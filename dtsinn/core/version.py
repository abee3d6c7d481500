"""Which code made a result: the package's version and, in a checkout, the commit."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import dtsinn


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
