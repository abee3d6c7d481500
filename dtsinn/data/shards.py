"""Reading whole shards of the store's own layout, straight from their bytes.

zarr 3.1 decodes every chunk as several tasks of an event loop and hands it to a thread: more work
than decompressing it and its checksum. A training reads whole shards of one known
layout all day long, so this module does for that layout what the specification says
(https://zarr-specs.readthedocs.io, zarr v3, codec ``sharding_indexed``): the shard ends with an
index of offset and length of each chunk, 64-bit little-endian, and with the index's CRC-32C; a
chunk is blosc-compressed and ends with its own CRC-32C. The storage, the metadata and both codecs
are zarr's and those of its packages; arrays of any other layout are read by zarr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import google_crc32c
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, Endian, ShardingCodec
from zarr.core.sync import sync

from dtsinn.data.codecs import BLOSC_LENGTH

CHECKSUM_BYTES = 4
LITTLE = (Endian.little, None)
"""Orders of bytes that are read here; a type of one byte has none."""
NOT_WRITTEN = 2**64 - 1
"""Offset and length of a chunk that is not there (zarr specification)."""


def is_plain(array: zarr.Array) -> bool:
    """Whether the array has this store's layout: shards of single samples, coded as above."""
    codecs = array.metadata.codecs
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
        return False
    sharding = codecs[0]
    inner, index = sharding.codecs, sharding.index_codecs
    return (
        sys.byteorder == "little"
        and tuple(sharding.chunk_shape) == (1, *array.shape[1:])
        and tuple(array.shards[1:]) == tuple(array.shape[1:])
        and _match(inner, BytesCodec, BloscCodec, Crc32cCodec)
        and _match(index, BytesCodec, Crc32cCodec)
        and all(codec.endian in LITTLE for codec in (inner[0], index[0]))
        and sharding.index_location.value == "end"
    )


def _match(codecs: Sequence[Any], *kinds: type) -> bool:
    return len(codecs) == len(kinds) and all(map(isinstance, codecs, kinds))


def read_shard(array: zarr.Array, shard: int, out_NX: npt.NDArray[Any]) -> None:
    """Decode a shard of a plain array into ``out_NX``, of its type.

    Where nothing is stored it is the array's fill value.

    Args:
        array: One for which :func:`is_plain` holds.
        shard: Its number along the first axis.
        out_NX: [N, ...] the samples of the shard, contiguous.

    Raises:
        ValueError: A checksum or a length is wrong.
        Exception: What the storage raises.
    """
    key = array.metadata.encode_chunk_key((shard, *(0 for _ in array.shape[1:])))
    stored = sync((array.store_path / key).get())
    if stored is None:
        out_NX[...] = array.fill_value
        return
    content = stored.as_numpy_array()
    index_bytes = 16 * array.shards[0] + CHECKSUM_BYTES
    if len(content) < index_bytes:
        raise ValueError(f"a shard of {len(content)} bytes, without its index")
    index = _verify_checksum(content[-index_bytes:]).view("<u8").reshape(-1, 2)
    codec = numcodecs.Blosc()
    for out, (offset, length) in zip(out_NX, index.tolist(), strict=False):
        if offset == length == NOT_WRITTEN:
            out[...] = array.fill_value
            continue
        chunk = _verify_checksum(content[offset : offset + length])
        if int.from_bytes(chunk[BLOSC_LENGTH].tobytes(), "little") != out.nbytes:
            raise ValueError("a chunk of another length than its sample")
        codec.decode(chunk, out)


def _verify_checksum(content: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The content without its checksum, which is right."""
    inner, stored = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if google_crc32c.value(inner) != int.from_bytes(stored.tobytes(), "little"):
        raise ValueError("a wrong checksum")
    return inner
