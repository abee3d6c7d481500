"""Windows of blocks, read ahead of their use: dask graphs built once, computed in a thread."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dtsinn.data.order import IndexArray
from dtsinn.data.store import Store

ARRAYS = ("mixture", "tracers", "regions")
"""What training reads, of regions where there are any."""
Window = dict[int, dict[str, Tensor]]
"""Blocks by number; of each the mixture [N, T, Y, X], the tracers [N, K, T, Y, X], and the labels
of regions [N, Y, X], which travel as float32 too."""


class Blocks:
    """The blocks of a store that hold some samples; each is a task of dask, made once.

    Args:
        store: With ``tracers``.
        chosen: The samples that will be asked for.
    """

    def __init__(self, store: Store, chosen: IndexArray) -> None:
        import dask  # here, as in `read` and `_read`: what only names stores needs no zarr

        from dtsinn.data.shards import is_plain

        self.store = store
        self.buffers = Buffers()
        self.seen: set[int] = set()
        self.names = [name for name in ARRAYS if name in store.arrays]
        self.plain = {
            name: is_plain(store.arrays[name]) and store.arrays[name].shards[0] == store.block
            for name in self.names
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

    def _read(self, number: int) -> dict[str, Tensor]:
        """A block as float32, in memory that is used again."""
        from dtsinn.data.shards import read_shard

        images = {}
        for name in self.names:
            array, first = self.store.arrays[name], number * self.store.block
            end = min(first + self.store.block, array.shape[0])
            buffer = self.buffers.acquire((end - first, *array.shape[1:]))
            if not self.plain[name]:
                buffer.copy_(torch.from_numpy(array[first:end]))
            elif array.dtype == np.float32:
                read_shard(array, number, buffer.numpy())
            else:
                stored = np.empty(buffer.shape, array.dtype)
                read_shard(array, number, stored)
                buffer.copy_(torch.from_numpy(stored))  # ten times as fast as numpy widens it
            images[name] = buffer
        return images

    def _verify(self, number: int, images: dict[str, Tensor]) -> None:
        """Look at all pixels once.

        Later on the checksums vouch for every chunk that is there, and one pixel of a sample tells
        whether its chunk is.
        """
        first = number * self.store.block
        pixels = 1 if number in self.seen else None
        for name, values in images.items():
            looked_at = values.reshape(len(values), -1)[:, :pixels].numpy()
            self.store.check_values(name, np.arange(first, first + len(values)), looked_at)
        self.seen.add(number)


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
