"""MATLAB files of version 5 and 7: what arrays they hold, and the numbers of one.

scipy reads these too, but takes the types that a file claims on trust: one wrong byte ends the
process. Here everything is checked before it is used, and a header costs one block of reading.
The layout is that of MathWorks' "MAT-File Format": a header of 128 bytes, then elements of type,
size and content; the content of a compressed one is an element again.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import open_file

_INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")]
_CLASSES = ["cell", "struct", "object", "char", "sparse", "double", "single", *_INTEGERS]
KINDS = dict(enumerate((*_CLASSES, "function", "opaque"), start=1))
"""MATLAB's classes by number."""
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32 = 1, 5
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
"""How numbers are stored, whatever their class: MATLAB keeps whole doubles in few bytes."""
_COMPLEX, _LOGICAL = 0x800, 0x200
_LARGEST = 8
"""Bytes of the largest of them."""
_FILE_HEADER, _TAG = 128, 8
_HEAD = 4096
"""Bytes in which the head of an array ends: flags, dimensions and a name of at most 63 letters."""


class DamagedError(Exception):
    """The bytes are no MATLAB file, or not all of one."""


@dataclass(frozen=True, kw_only=True)
class Mat5Array:
    """An array of a file, as its head tells it.

    Attributes:
        name: In the file.
        kind: MATLAB's class, or ``complex`` or ``logical``.
        shape: In MATLAB's order; empty where the kind has none.
        start: Where its content begins in the file.
        size: Bytes of the content in the file.
        compressed: Whether the content is.
        numbers: Where the numbers begin in the content.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int
    compressed: bool
    numbers: int


def mat5_arrays(path: Path) -> list[Mat5Array]:
    """The arrays of a file, from their heads alone.

    Raises:
        DamagedError: The file is cut short or damaged.
    """
    arrays = []
    with open_file(path) as file:
        end = os.fstat(file.fileno()).st_size
        order = _byte_order(file)
        position = _FILE_HEADER
        while position < end:
            file.seek(position)
            kind, size = _unpack(f"{order}II", file.read(_TAG), 0)
            position += _TAG
            if position + size > end:
                raise DamagedError
            if kind in (_MATRIX, _COMPRESSED):
                arrays.append(_array(file, order, position, size, compressed=kind == _COMPRESSED))
            position += size
    return arrays


def read_mat5(path: Path, array: Mat5Array) -> npt.NDArray[Any]:
    """The numbers of an array of a numeric kind, in its shape.

    Raises:
        DamagedError: They do not fit what its head says.
    """
    with open_file(path) as file:
        order = _byte_order(file)
        file.seek(array.start)
        content = file.read(array.size)
    if array.compressed:
        # Numbers of eight bytes behind their head, and no more: what follows is never made.
        most = _TAG + array.numbers + 2 * _TAG + _LARGEST * math.prod(array.shape)
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(content, most)[_TAG:]
        except zlib.error:
            raise DamagedError from None
        if not inflater.eof:
            raise DamagedError
    kind, numbers, _ = _part(content, array.numbers, order)
    if kind not in _STORED:
        raise DamagedError
    stored = np.dtype(_STORED[kind]).newbyteorder(order)
    if len(numbers) != math.prod(array.shape) * stored.itemsize:
        raise DamagedError
    return np.frombuffer(numbers, dtype=stored).reshape(array.shape, order="F")


def _byte_order(file: BinaryIO) -> Literal["<", ">"]:
    mark = file.read(_FILE_HEADER)[-2:]
    if mark not in (b"IM", b"MI"):
        raise DamagedError
    return "<" if mark == b"IM" else ">"


def _array(file: BinaryIO, order: str, start: int, size: int, *, compressed: bool) -> Mat5Array:
    head = file.read(min(size, _HEAD))
    if compressed:
        try:
            head = zlib.decompressobj().decompress(head, _HEAD)[_TAG:]
        except zlib.error:
            raise DamagedError from None
    _, flags, position = _part(head, 0, order)
    (word,) = _unpack(f"{order}I", flags, 0)
    kind = KINDS.get(word & 0xFF, "unknown")
    shape: tuple[int, ...] = ()
    stored, part, position = _part(head, position, order)
    if stored == _INT32:  # an opaque object has none
        shape = _unpack(f"{order}{len(part) // 4}i", part, 0)
        stored, part, position = _part(head, position, order)
    if stored != _INT8 or min(shape, default=0) < 0:
        raise DamagedError
    if word & (_COMPLEX | _LOGICAL):
        kind = "complex" if word & _COMPLEX else "logical"
    return Mat5Array(
        name=part.decode("latin1"),
        kind=kind,
        shape=shape,
        start=start,
        size=size,
        compressed=compressed,
        numbers=position,
    )


def _part(content: bytes, position: int, order: str) -> tuple[int, bytes, int]:
    """Type and bytes of an element inside an array, and where the next one begins."""
    (word,) = _unpack(f"{order}I", content, position)
    if word >> 16:  # at most four bytes, beside their type and size
        kind, size, begin, after = word & 0xFFFF, word >> 16, position + 4, position + 8
    else:
        kind, (size,), begin = word, _unpack(f"{order}I", content, position + 4), position + _TAG
        after = begin + -(-size // 8) * 8
    if begin + size > len(content):
        raise DamagedError
    return kind, content[begin : begin + size], after


def _unpack(form: str, content: bytes, position: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(form, content, position)
    except struct.error:
        raise DamagedError from None
