"""Small files that are replaced whole: a reader finds the old content or the new one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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
    told = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(told)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
