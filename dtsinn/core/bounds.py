"""Files from anywhere: only regular ones are opened, and a size is known before memory is taken.

A pipe, a socket or a device never ends or never begins; a few megabytes of zeros, compressed,
become gigabytes. Every reader of a user's file opens it here, and asks :func:`refuse_more` before
it takes what a header promises.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dtsinn.core.errors import InputError

OPTION = "DTSINN_MAX_MEMORY"
"""Environment variable that raises or lowers the bound of :func:`most_memory`."""
MOST_TEXT = 16 * 2**20
"""Bytes of a file of text that is parsed whole: plans, sidecars, manifests, metadata."""
MOST_MEMORY = 10**9
"""Bytes that the content of any one file may take, however small the file is."""
MOST_GROWTH = 64
"""How often the size of its file a large content may be: double precision is four times
the 16 bits of most scans, and gzip makes reconstructed images up to ten times smaller."""
MEMORY_SHARE = 0.75
"""Share of this machine's memory that one content may take at most."""


class UnfitFileError(OSError):
    """What lies there is no regular file, or one too large for its kind; no words of its path."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.strerror = why


def is_outage(error: BaseException) -> bool:
    """Whether the storage refused or could not be reached, rather than gave bad content."""
    network = {"botocore", "aiobotocore", "aiohttp"}
    if isinstance(error, UnfitFileError):
        return False
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in network


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; never waits for the other end of a pipe.

    Raises:
        OSError: It cannot be opened. :class:`UnfitFileError`: It is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise UnfitFileError(f"{kind}, no regular file")


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """All of a regular file of at most ``most`` bytes.

    Raises:
        OSError: It cannot be read. :class:`UnfitFileError`: It is no regular file, or larger.
    """
    with open_file(path) as file:
        size = max(os.fstat(file.fileno()).st_size, 2**16)  # 0 of what the kernel makes up
        content = file.read(min(most, size) + 1)
    if len(content) > most:
        raise UnfitFileError(f"more than {in_words(most)}")
    return content


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """All of a regular file of text.

    Raises:
        OSError: As :func:`read_bytes`.
        UnicodeDecodeError: It is no such text.
    """
    return read_bytes(path).decode(encoding).replace("\r\n", "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: As :func:`read_bytes`.
        ValueError: It is no JSON, or is nested too deep.
    """
    return parse_json(read_bytes(path))


def parse_json(content: bytes) -> Any:
    """What the bytes of a JSON file say.

    Raises:
        ValueError: They are no JSON in UTF-8, too many, or nested too deep.
    """
    if len(content) > MOST_TEXT:
        raise ValueError(f"more than {in_words(MOST_TEXT)}")
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("too many levels") from None


def most_memory(held: int) -> int:
    """Bytes that the content of a file of ``held`` bytes may take, by the user's word or by ours.

    Raises:
        InputError: :data:`OPTION` is no size.
    """
    allowed = os.environ.get(OPTION, "")
    if allowed:
        return size_of(allowed)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(MOST_MEMORY, min(MOST_GROWTH * held, int(MEMORY_SHARE * machine)))


def refuse_more(
    what: str, needed: int, held: int = 0, error: type[InputError] = InputError
) -> None:
    """Refuse a content that would take more memory than its file may.

    Args:
        what: The file, and what of it, for the message.
        needed: Bytes that it would take.
        held: Bytes of the file.
        error: What is raised.

    Raises:
        InputError: It would.
    """
    most = most_memory(held)
    if needed > most:
        raise error(
            f"{what} needs more memory than is allowed",
            got=in_words(needed) + (f" from a file of {in_words(held)}" if held else ""),
            wanted=f"at most {in_words(most)}",
            hint=f"{OPTION}={in_words(2 * needed).replace(' ', '')} before the command, if it is "
            "meant",
        )


@contextlib.contextmanager
def allowing(size: str | None) -> Iterator[None]:
    """Let contents take ``size``, such as ``8GB``, for as long as this lasts; None changes nothing.

    Raises:
        InputError: It is no size.
    """
    before = os.environ.get(OPTION)
    if size is not None:
        size_of(size)
        os.environ[OPTION] = size
    try:
        yield
    finally:
        if before is not None:
            os.environ[OPTION] = before
        elif size is not None:
            del os.environ[OPTION]


def inflated_size(file: BinaryIO, most: int, wbits: int) -> int:
    """Bytes that the rest of ``file`` holds once inflated; counting ends above ``most``.

    Args:
        file: Where the compressed bytes begin.
        most: How far to count.
        wbits: As :func:`zlib.decompressobj` takes it.

    Raises:
        zlib.error: They are no such bytes.
    """
    inflater, size = zlib.decompressobj(wbits), 0
    while not inflater.eof and size <= most:
        content = inflater.unconsumed_tail or file.read(2**16)
        if not content:
            raise zlib.error("the file ends too early")
        size += len(inflater.decompress(content, 2**20))
    return size


def size_of(text: str) -> int:
    """Bytes that a size such as ``8GB``, ``500 MB`` or ``2GiB`` means.

    Raises:
        InputError: It is none, or a number without a unit below 1 MB: ``8`` means no 8 bytes.
    """
    pattern = r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([kmgt]?)(i?)(b|bytes)?\s*"
    found = re.fullmatch(pattern, text, re.IGNORECASE)
    size = 0.0
    if found:
        number, prefix, binary, byte = found.groups()
        power = " kmgt".index(prefix.lower() or " ")
        size = float(number) * (1024 if binary else 1000) ** power
        if not (prefix or byte) and size < 10**6:
            size = 0.0
    if size < 1:
        raise InputError("most memory", got=repr(text[:40]), wanted="a size such as 8GB or 500MB")
    return int(size)


def in_words(size: int) -> str:
    """Bytes as ``1.5 GB``."""
    for unit, power in (("TB", 4), ("GB", 3), ("MB", 2), ("kB", 1)):
        if size >= 1000**power:
            number = size / 1000**power
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{size} bytes"
