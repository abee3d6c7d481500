"""Codecs of stores: those that are read, none of which makes more of a chunk than its array holds.

zarr's own take the length of a chunk from the chunk itself, whatever its array says: a few bytes
can ask for gigabytes.
"""

from __future__ import annotations

import functools
import gzip
import io
import math
from collections.abc import Iterable
from typing import Any

import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.codecs import VLenUTF8Codec as TextCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.registry import register_codec

from dtsinn.core.bounds import MOST_TEXT

BLOSC_LENGTH = slice(4, 8)
"""Where a blosc chunk says how many bytes it holds (c-blosc, README_CHUNK_FORMAT)."""


class LimitedBlosc(BloscCodec):  # type: ignore[misc]
    """Blosc, whose chunks say their length first."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        head = chunk_bytes.as_numpy_array()[BLOSC_LENGTH].tobytes()
        _refuse_above(int.from_bytes(head, "little"), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class LimitedGzip(GzipCodec):  # type: ignore[misc]
    """Gzip, inflated as far as the array goes."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        with gzip.GzipFile(fileobj=io.BytesIO(chunk_bytes.to_bytes())) as file:
            content = file.read(_most_bytes(chunk_spec) + 1)
        _refuse_above(len(content), chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(content)


class LimitedZstd(ZstdCodec):  # type: ignore[misc]
    """Zstandard, whose frames must say their length, as those of zarr do."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        _refuse_above(_zstd_length(chunk_bytes.to_bytes()), chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class VLenUTF8Codec(TextCodec):  # type: ignore[misc]
    """Texts, whose number stands first; zarr wants a class of this very name."""

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        texts = int.from_bytes(chunk_bytes.as_numpy_array()[:4].tobytes(), "little")
        if texts != math.prod(chunk_spec.shape):
            raise ValueError(f"a chunk of {texts} texts")
        return super()._decode_sync(chunk_bytes, chunk_spec)


LIMITED: dict[str, type[Any]] = {
    "blosc": LimitedBlosc,
    "gzip": LimitedGzip,
    "zstd": LimitedZstd,
    "vlen-utf8": VLenUTF8Codec,
}
"""What stands in for zarr's own codecs, by their names."""
_READ = (BytesCodec, Crc32cCodec, TransposeCodec, ShardingCodec, *LIMITED.values())


@functools.cache
def limit_codecs() -> None:
    """Let zarr decode with :data:`LIMITED`, in this process."""
    for name, codec in LIMITED.items():
        register_codec(name, codec)
        zarr.config.set({f"codecs.{name}": f"{codec.__module__}.{codec.__qualname__}"})


def foreign_codec(codecs: Iterable[Any]) -> str:
    """The first of an array's codecs that is not read, or ""."""
    for codec in codecs:
        if not isinstance(codec, _READ):
            return type(codec).__name__
        if isinstance(codec, ShardingCodec):
            inside = foreign_codec([*codec.codecs, *codec.index_codecs])
            if inside:
                return inside
    return ""


def _most_bytes(chunk: ArraySpec) -> int:
    """What a chunk may inflate to: its numbers, and room for checksums and texts."""
    size: int = chunk.dtype.to_native_dtype().itemsize
    return int(math.prod(chunk.shape)) * size + MOST_TEXT


def _refuse_above(length: int, chunk: ArraySpec) -> None:
    if length > _most_bytes(chunk):
        raise ValueError(f"a chunk of {length} bytes or more, which its array does not hold")


def _zstd_length(content: bytes) -> int:
    """The length that a Zstandard frame says it has (RFC 8878, section 3.1.1.1)."""
    descriptor = content[4] if len(content) > 4 else 0
    size_flag, single = descriptor >> 6, descriptor >> 5 & 1
    width = (single, 2, 4, 8)[size_flag]
    if not width:
        raise ValueError("a chunk that does not say its length")
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    length = int.from_bytes(content[start : start + width], "little")
    return length + 256 if width == 2 else length
