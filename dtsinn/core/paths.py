"""Local paths and URLs as people write them."""

from __future__ import annotations

import os
from pathlib import Path, PurePath


def home_path(text: str | Path) -> Path:
    """A local path, in which a leading ``~`` is the home folder as in a shell."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own fails without such a user)


def is_file(path: Path) -> bool:
    """Whether a path is a file; one that cannot even be asked for is none."""
    try:
        return path.is_file()
    except OSError:  # too long a name, no permission
        return False


def is_url(path: str) -> bool:
    """Whether ``path`` is an fsspec URL such as ``s3://bucket/store.zarr``."""
    return "://" in path


def local_or_url(path: str) -> str:
    """``path``, of a URL such as ``file:///data/store.zarr`` the local path that it means.

    What is local is thereby read, written and guarded in one way, however it is named.
    """
    scheme, _, rest = path.partition("://")
    return rest if scheme.lower() in ("file", "local") else path


def name_of_store(path: str) -> str:
    """What a store is called where others read it: a URL whole, of a path no folder."""
    return path if is_url(path) else PurePath(path).name or "store"
