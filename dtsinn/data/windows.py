"""Windows of blocks, read ahead of their use: dask graphs built once, computed in a thread.

Whole shards of the store's own layout are read straight from their bytes: zarr 3.1 decodes every
chunk as several tasks of an event loop and hands it to a thread, which is more work than
decompressing it and its checksum. What is done here for that layout is what the specification says
(https://zarr-specs.readthedocs.io, zarr v3, codec ``sharding_indexed``): the shard ends with an
index of offset and length of each chunk, 64-bit little-endian, and with the index's CRC-32C; a
chunk is blosc-compressed and ends with its own CRC-32C. The storage, the metadata and both codecs
are zarr's and those of its packages; arrays of any other layout are read by zarr.
"""

from __future__ import annotations

import sys
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import google_crc32c
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch
import zarr
from torch import Tensor
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.sync import sync

from dtsinn.data.codecs import BLOSC_LENGTH
from dtsinn.data.order import IndexArray
from dtsinn.data.store import Store

CHECKSUM_BYTES = 4
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
        and all(codec.endian.value == "little" for codec in (inner[0], index[0]))
        and sharding.index_location.value == "end"
    )


def _match(codecs: Sequence[Any], *kinds: type) -> bool:
    return len(codecs) == len(kinds) and all(map(isinstance, codecs, kinds))


def read_shard(array: zarr.Array, shard: int, out_NX: npt.NDArray[Any]) -> None:
    """Decode a shard of a plain array into ``out_NX``, of its type; NaN where nothing is stored.

    Args:
        array: A floating-point array for which :func:`is_plain` holds.
        shard: Its number along the first axis.
        out_NX: [N, ...] the samples of the shard, contiguous.

    Raises:
        ValueError: A checksum or a length is wrong.
        Exception: What the storage raises.
    """
    key = array.metadata.encode_chunk_key((shard, *(0 for _ in array.shape[1:])))
    stored = sync((array.store_path / key).get())
    if stored is None:
        out_NX[...] = np.nan
        return
    content = stored.as_numpy_array()
    index_bytes = 16 * array.shards[0] + CHECKSUM_BYTES
    if len(content) < index_bytes:
        raise ValueError(f"a shard of {len(content)} bytes, without its index")
    index = _verify_checksum(content[-index_bytes:]).view("<u8").reshape(-1, 2)
    codec = numcodecs.Blosc()
    for out, (offset, length) in zip(out_NX, index.tolist(), strict=False):
        if offset == length == NOT_WRITTEN:
            out[...] = np.nan
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


ARRAYS = ("mixture", "tracers")
"""What training reads."""
Window = dict[int, list[Tensor]]
"""Blocks by number; of each the mixture [N, T, Y, X] and the tracers [N, K, T, Y, X]."""


class Blocks:
    """The blocks of a store that hold some samples; each is a task of dask, made once.

    Args:
        store: With ``tracers``.
        chosen: The samples that will be asked for.
    """

    def __init__(self, store: Store, chosen: IndexArray) -> None:
        import dask  # here, as in `read`: only training reads so

        self.store = store
        self.buffers = Buffers()
        self.seen: set[int] = set()
        self.plain = {
            name: is_plain(store.arrays[name]) and store.arrays[name].shards[0] == store.block
            for name in ARRAYS
        }
        read = dask.delayed(self._read, pure=False)
        self.delayed = {block: read(block) for block in np.unique(chosen // store.block).tolist()}

    def read(self, index: IndexArray) -> Window:
        """The blocks in which the samples ``index`` lie.

        Raises:
            StoreError: A chunk is missing or damaged; names array and sample.
            RunError: The storage cannot be read.
        """
        import dask

        numbers = np.unique(index // self.store.block).tolist()
        tasks = [self.delayed[number] for number in numbers]
        try:
            blocks = dask.compute(*tasks, scheduler="synchronous", traverse=False)
        except Exception as error:  # storage, zarr and its codecs raise many kinds
            samples = np.arange(self.store.header.samples)
            suspects = samples[np.isin(samples // self.store.block, numbers)]
            raise self.store.blame(suspects, error) from error
        for number, images in zip(numbers, blocks, strict=True):
            self._verify(number, images)
        return dict(zip(numbers, blocks, strict=True))

    def _read(self, number: int) -> list[Tensor]:
        """A block as float32, in memory that is used again."""
        images = []
        for name in ARRAYS:
            array, first = self.store.arrays[name], number * self.store.block
            end = min(first + self.store.block, array.shape[0])
            buffer = self.buffers.acquire((end - first, *array.shape[1:]))
            if not self.plain[name]:
                buffer.copy_(torch.from_numpy(array[first:end]))
            elif array.dtype == np.float32:
                read_shard(array, number, buffer.numpy())
            else:
                _read_and_widen(array, number, buffer)
            images.append(buffer)
        return images

    def _verify(self, number: int, images: list[Tensor]) -> None:
        """Look at all pixels once.

        Later on the checksums vouch for every chunk that is there, and one pixel of a sample tells
        whether its chunk is.
        """
        first = number * self.store.block
        pixels = 1 if number in self.seen else None
        for name, values in zip(ARRAYS, images, strict=True):
            looked_at = values.reshape(len(values), -1)[:, :pixels].numpy()
            self.store.check_values(name, np.arange(first, first + len(values)), looked_at)
        self.seen.add(number)


def _read_and_widen(array: zarr.Array, number: int, out: Tensor) -> None:
    """A shard of float16; torch widens ten times as fast as numpy."""
    stored = np.empty(out.shape, array.dtype)
    read_shard(array, number, stored)
    out.copy_(torch.from_numpy(stored))


def ahead(windows: Iterator[IndexArray], blocks: Blocks) -> Iterator[tuple[IndexArray, Window]]:
    """Read each window's blocks in a thread while the window before is used; without end."""
    with ThreadPoolExecutor(1, thread_name_prefix="dtsinn-read") as thread:
        pending: tuple[IndexArray, Future[Window]] | None = None
        for window in windows:
            following = window, thread.submit(blocks.read, window)
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following


class Buffers:
    """Tensors to be filled; as many exist as were in use at once."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[int, ...], list[npt.NDArray[np.float32]]] = defaultdict(list)

    def acquire(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor with arbitrary content; it comes back when its last view is gone."""
        idle = self._idle[shape]
        memory = idle.pop() if idle else np.empty(shape, np.float32)
        # An array of its own, which torch keeps as long as any tensor looks at it.
        buffer = memory[...]
        weakref.finalize(buffer, idle.append, memory).atexit = False
        return torch.from_numpy(buffer)
