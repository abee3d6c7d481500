"""Local paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def home_path(text: str | Path) -> Path:
    """A local path, in which a leading ``~`` is the home folder as in a shell."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own fails without such a user)


def is_file(path: Path) -> bool:
    """Whether a path is a file; one that cannot even be asked for is none."""
    try:
        return path.is_file()
    except OSError:  # too long a name, no permission
        return False
