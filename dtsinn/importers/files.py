"""Files of a study: their state, what they can hold at most, and failures that pass."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dtsinn.core.bounds import refuse_more
from dtsinn.core.errors import InputError, RunError

MOST_VOXELS = 2**31
"""Voxels of a frame at most: a header that claims more is damaged."""
MOST_PACKED = 1032
"""How often deflate makes data smaller at most (zlib, "Maximum Compression Factor")."""

BYTES_OF_NUMBER = 8
"""Bytes of a voxel while it is read: double precision, whatever the file keeps."""

Stamp = tuple[int, int]


def read_stamps(paths: Iterable[Path], where: str) -> tuple[Stamp, ...]:
    """Size in bytes and time of change, ns, of each file; ``where`` is for messages.

    Raises:
        InputError: A file is gone.
    """
    try:
        found = [path.stat() for path in paths]
    except OSError as error:  # its text holds the path
        raise InputError(f"{where}: a file cannot be read", got=error.strerror) from None
    return tuple((one.st_size, one.st_mtime_ns) for one in found)


def fingerprint(*parts: Any) -> str:
    """Plain data as one text, for :attr:`dtsinn.importers.source.Source.fingerprint`."""
    return json.dumps(parts, sort_keys=True)


def refuse_absurd(
    where: str, frame: Sequence[int], frames: int, promised: int, held: int, *, packed: bool
) -> None:
    """Refuse a header that promises more than a frame, its file or memory can hold.

    Args:
        where: Place in the plan, for messages.
        frame: Lengths of the axes of one frame.
        frames: How many of them are read together.
        promised: Bytes of the file that the header counts on, once it is decompressed.
        held: Bytes of the file.
        packed: Whether the file may be compressed.

    Raises:
        InputError: It does.
    """
    if math.prod(frame) > MOST_VOXELS:
        raise InputError(
            f"{where}: size of a frame",
            got=" x ".join(map(str, frame)),
            wanted=f"at most {MOST_VOXELS} voxels",
        )
    if promised > held * (MOST_PACKED if packed else 1):
        raise InputError(
            f"{where} is damaged",
            got=f"a file of {held} bytes, whose header promises {promised} bytes of voxels",
            hint="copy it again",
        )
    refuse_more(where, math.prod(frame) * frames * BYTES_OF_NUMBER, held)


def refuse_passing(where: str, error: Exception) -> None:
    """Tell a failure of reading that may pass from bytes that are wrong.

    Args:
        where: Place in the plan, for messages.
        error: What a reader raised.

    Raises:
        RunError: Memory was short, or the system refused: an error of readers themselves, such
            as a file that ends too early, has no number of the system.
    """
    is_system = isinstance(error, OSError) and error.errno is not None
    if is_system or isinstance(error, MemoryError):
        got = getattr(error, "strerror", None) or type(error).__name__
        raise RunError(
            f"{where} cannot be read for now",
            got=got,
            hint="the same command again when that is mended: it goes on where it stopped",
        ) from None
