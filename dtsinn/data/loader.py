"""Reading samples for training: dask blocks, in seeded random order, ahead of their use.

An epoch visits the store's blocks in a random order that (seed, epoch) fixes. Consecutive blocks
form a window; its samples are shuffled and yielded while a thread reads the next window, so memory
holds two windows whatever the size of the store. The order is known before anything is read, so a
run resumes at any sample without reading what came before.

A sample is a view of its block, in memory that is used again when nobody looks at it any more:
between zarr and the batch nothing is copied.
"""

from __future__ import annotations

import atexit
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dtsinn.core.errors import InputError, StoreError
from dtsinn.core.processes import SPAWN
from dtsinn.data.order import IndexArray, blocks_of_epoch, samples_of_blocks, windows_of_epoch
from dtsinn.data.store import Store
from dtsinn.data.windows import Blocks, ahead


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

    def __post_init__(self) -> None:
        lowest = {"window": 1, "rank": 0, "ranks": 1, "start": 0}
        for key, least in lowest.items():
            if getattr(self, key) < least:
                raise InputError(key, got=getattr(self, key), wanted=f"at least {least}")
        if self.rank >= self.ranks:
            raise InputError("rank", got=self.rank, wanted=f"0 to {self.ranks - 1}")


class SampleStream(IterableDataset[dict[str, Tensor]]):
    """Endless samples of a split, each once per epoch over all ranks and loader workers.

    How epochs are shared and where they end: :mod:`dtsinn.data.order`. Yields dictionaries of
    ``index`` [], ``mixture`` [T, Y, X] and ``tracers`` [K, T, Y, X] (kBq/mL, float32), and where
    the store has them ``regions`` [Y, X], labels as float32; views of a block that lives as long as
    they do.

    Args:
        store: With ``tracers``.
        reading: How to read it.
        batch: Samples that a loader takes from one worker before it turns to the next.

    Raises:
        StoreError: The split is empty or has no truth. While reading: a chunk is missing or
            damaged; names array and sample.
        InputError: While reading: several workers and a ``start`` inside a batch.
    """

    def __init__(self, store: Store, reading: Reading, batch: int = 1) -> None:
        super().__init__()
        self.store = store
        self.reading = reading
        self.batch = batch
        self.chosen = np.flatnonzero(store.split_N == reading.split)
        if not len(self.chosen):
            raise StoreError(
                f"{store.header.path} has no sample in split {reading.split}",
                hint="a store of more subjects",
            )
        if not store.header.has_truth:
            raise StoreError(f"{store.header.path} has no array tracers", wanted="the truth")

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        place, skip = self._place(number, workers)
        part = self.reading.rank * workers + place
        windows = self._windows(part, self.reading.ranks * workers, skip)
        for index_N, blocks in ahead(windows, Blocks(self.store, self.chosen)):
            for sample, index in zip(index_N.tolist(), torch.from_numpy(index_N), strict=True):
                block, row = divmod(sample, self.store.block)
                yield {"index": index} | {name: it[row] for name, it in blocks[block].items()}
            del blocks  # before the window after the next one is read

    def order(self, epoch: int, part: int = 0, parts: int = 1) -> list[IndexArray]:
        """The samples of an epoch's windows, in the order in which one part yields them."""
        return list(
            windows_of_epoch(
                self.chosen,
                self.store.block,
                seed=self.reading.seed,
                epoch=epoch,
                window=self.reading.window,
                part=part,
                parts=parts,
            )
        )

    def _place(self, worker: int, workers: int) -> tuple[int, int]:
        """Whose samples a worker yields, and how many of them were yielded before ``start``.

        A loader takes batches from its workers in turn and begins with the first one, so after a
        start in mid-turn the first worker goes on where another one stopped.
        """
        if workers == 1:
            return 0, self.reading.start
        done, inside = divmod(self.reading.start, self.batch)
        if inside:
            raise InputError(
                "start with several loader workers",
                got=self.reading.start,
                wanted=f"whole batches of {self.batch}",
            )
        place = (worker + done) % workers
        return place, (done - place + workers - 1) // workers * self.batch

    def _windows(self, part: int, parts: int, skip: int) -> Iterator[IndexArray]:
        """A part's windows of all epochs to come, without its first ``skip`` samples."""
        for epoch in itertools.count():
            if skip:
                seed, block = self.reading.seed, self.store.block
                own = blocks_of_epoch(
                    self.chosen, block, seed=seed, epoch=epoch, part=part, parts=parts
                )
                samples = len(samples_of_blocks(self.chosen, block, own))
                if skip >= samples:
                    skip -= samples
                    continue
            for window in self.order(epoch, part, parts):
                if skip < len(window):
                    yield window[skip:]
                skip = max(0, skip - len(window))


def batches(
    store: Store, reading: Reading, batch: int, workers: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of a :class:`SampleStream`, each entry with a leading batch axis.

    Args:
        store: With ``tracers``.
        reading: How to read it.
        batch: Samples of a batch.
        workers: Processes that read; with 0 it is this one.
    """
    stream = SampleStream(store, reading, batch)
    if workers:
        # Spawned: a forked process would share the event loops of zarr and of object storage.
        loader = DataLoader(
            stream,
            batch_size=batch,
            num_workers=workers,
            multiprocessing_context=SPAWN,
            worker_init_fn=_exit_without_finalizing,
        )
        return iter(loader)
    return _make_batches(iter(stream), batch)


def stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Samples as one batch, as a torch loader would, but a single sample is not copied."""
    if len(samples) == 1:
        return {name: value.unsqueeze(0) for name, value in samples[0].items()}
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _exit_without_finalizing(worker: int) -> None:
    """Let a loader's worker end where its work does.

    While an interpreter is finalized its daemon threads (zarr's event loop, a read ahead) are cut
    off wherever they wake; inside C++ that aborts the process, which torch reports as a crash.
    """
    atexit.register(os._exit, 0)


def _make_batches(samples: Iterator[dict[str, Tensor]], batch: int) -> Iterator[dict[str, Tensor]]:
    while True:
        yield stack(list(itertools.islice(samples, batch)))
