"""Reading samples for training: dask blocks, in seeded random order, ahead of their use.

An epoch visits the store's blocks in a random order that (seed, epoch) fixes. Consecutive blocks
form a window; its samples are shuffled and yielded while a thread reads the next window, so memory
holds two windows whatever the size of the store. The order is known before anything is read, so a
run resumes at any sample without reading what came before.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dtsinn.core.errors import StoreError
from dtsinn.core.seeds import generator
from dtsinn.data.store import Samples, Store

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a split is read.

    Attributes:
        split: Which samples.
        seed: Of the order.
        window: Blocks that are shuffled together, at least 1.
        rank: This process among ``ranks`` that share an epoch.
        ranks: Number of such processes.
        start: Samples of this rank to pass over, as when a run is resumed.
    """

    split: str = "train"
    seed: int = 0
    window: int = 4
    rank: int = 0
    ranks: int = 1
    start: int = 0


class SampleStream(IterableDataset[dict[str, Tensor]]):
    """Endless samples of a split, each once per epoch over all ranks and loader workers.

    Yields dictionaries of ``index`` [], ``mixture`` [T, Y, X] and ``tracers`` [K, T, Y, X]
    (kBq/mL).

    Raises:
        StoreError: While reading: a chunk is missing or damaged; names array and sample.
    """

    def __init__(self, store: Store, reading: Reading) -> None:
        super().__init__()
        self.store = store
        self.reading = reading
        self.chosen = np.flatnonzero(store.split_N == reading.split)
        if not len(self.chosen):
            raise StoreError(
                f"{store.header.path} has no sample in split {reading.split}",
                hint="a store of more subjects",
            )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        workers, index = (worker.num_workers, worker.id) if worker else (1, 0)
        part = self.reading.rank * workers + index
        windows = self._windows(part, self.reading.ranks * workers)
        for samples in _ahead(windows, _Blocks(self.store)):
            for position in range(len(samples.index_N)):
                assert samples.tracers_NKTYX is not None  # noqa: S101 (for the type checker)
                yield {
                    "index": torch.tensor(int(samples.index_N[position])),
                    "mixture": torch.from_numpy(samples.mixture_NTYX[position]),
                    "tracers": torch.from_numpy(samples.tracers_NKTYX[position]),
                }

    def order(self, epoch: int, part: int = 0, parts: int = 1) -> list[IndexArray]:
        """The samples of an epoch's windows, in the order in which one part yields them."""
        rng = generator(self.reading.seed, "order", epoch)
        blocks = rng.permutation(np.unique(self.chosen // self.store.block))
        own = blocks[part::parts]
        rng = generator(self.reading.seed, "window", epoch, part)
        windows = []
        for first in range(0, len(own), self.reading.window):
            inside = np.isin(
                self.chosen // self.store.block, own[first : first + self.reading.window]
            )
            windows.append(rng.permutation(self.chosen[inside]))
        return windows

    def _windows(self, part: int, parts: int) -> Iterator[IndexArray]:
        """Windows of all epochs to come, without the first ``start`` samples."""
        skip = self.reading.start
        for epoch in itertools.count():
            windows = self.order(epoch, part, parts)
            if not windows:
                return
            for window in windows:
                if skip < len(window):
                    yield window[skip:]
                skip = max(0, skip - len(window))


def batches(
    store: Store, reading: Reading, batch: int, workers: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of a :class:`SampleStream`, each entry with a leading batch axis."""
    stream = SampleStream(store, reading)
    return iter(DataLoader(stream, batch_size=batch, num_workers=workers))


class _Blocks:
    """The dask graphs of a store's blocks, built once and computed a window at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.names = ["mixture", "tracers"]
        self.delayed = {name: self._graphs(name) for name in self.names}

    def _graphs(self, name: str) -> list[object]:
        array = self.store.group[name]
        blocks = da.from_zarr(array, chunks=(self.store.block, *array.shape[1:]))
        return list(blocks.to_delayed().ravel())

    def read(self, index: IndexArray) -> Samples:
        """The samples at ``index``, in that order; whole blocks are read."""
        size = self.store.block
        blocks = np.unique(index // size)
        tasks = [[self.delayed[name][block] for block in blocks] for name in self.names]
        try:
            values = dask.compute(tasks, scheduler="synchronous")[0]
        except Exception as error:  # zarr and its codecs raise many kinds
            raise self.store.blame(np.sort(index), error) from error
        where = np.concatenate(
            [np.arange(b * size, b * size + len(v)) for b, v in zip(blocks, values[0], strict=True)]
        )
        rows = np.searchsorted(where, index)
        arrays = {
            name: np.concatenate(parts)[rows]
            for name, parts in zip(self.names, values, strict=True)
        }
        return self.store.samples_of(index, arrays)


def _ahead(windows: Iterator[IndexArray], blocks: _Blocks) -> Iterator[Samples]:
    """Read each window in a thread while the one before is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="dtsinn-read") as thread:
        pending: Future[Samples] | None = None
        for window in windows:
            following = thread.submit(blocks.read, window)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
