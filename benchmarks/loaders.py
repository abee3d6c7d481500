"""Loaders: ways to read the samples of a store, from it or from copies in other formats.

Each makes passes that can be timed: it reads mixture and two tracers of the ``train`` samples and
leaves them as arrays in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.io import loadmat, savemat

from dtsinn.core.seeds import generator
from dtsinn.data.body import truth_of
from dtsinn.data.loader import Reading, SampleStream
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.writer import StoreWriter
from tests.support.s3 import BUCKET, S3

STREAM = "training stream"
DIRECT = "zarr, whole blocks"
RANDOM, IN_BLOCKS = "random", "by blocks"
STREAM_EPOCHS = 4
"""Epochs of a pass of the stream, so that its start weighs little, as in a training."""
ARRAYS = ("mixture", "tracers")


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A way to read."""

    name: str
    order: str
    read: Callable[[], int]
    """Make a pass; returns the number of samples that were read."""


def local_loaders(store: Store, folder: Path) -> list[Loader]:
    """The stream and its rivals on a local disk, other formats written into ``folder``."""
    index_N = train_samples(store)
    maps = as_memmaps(store, index_N, folder)
    plain = as_mat_files(store, index_N, folder / "plain", compressed=False)
    packed = as_mat_files(store, index_N, folder / "packed", compressed=True)
    opened = xr.open_zarr(store.header.path, chunks=None)  # as one would use it first: no dask
    order = generator(0, "order").permutation(len(index_N))

    def read_mat(paths: list[Path]) -> int:
        for position in order:
            content = loadmat(paths[position])
            for name in ARRAYS:
                np.asarray(content[name])
        return len(order)

    return [
        *store_loaders(store),
        blocks_loader("xarray", [opened[name] for name in ARRAYS], store),
        singles_loader("xarray, single samples", [opened[name] for name in ARRAYS], index_N[order]),
        singles_loader("npy memmap", maps, order, np.array),
        replace(singles_loader("npy memmap", maps, np.sort(order), np.array), order=IN_BLOCKS),
        Loader(name=".mat, one file a sample", order=RANDOM, read=lambda: read_mat(plain)),
        Loader(
            name=".mat compressed, one file a sample", order=RANDOM, read=lambda: read_mat(packed)
        ),
    ]


def store_loaders(store: Store) -> list[Loader]:
    """The training stream, and zarr without it: whole blocks in order, single samples at random."""
    index_N, arrays = train_samples(store), [store.group[name] for name in ARRAYS]
    order = generator(0, "order").permutation(index_N)
    return [
        Loader(name=STREAM, order=RANDOM, read=lambda: _stream(store)),
        blocks_loader("zarr", arrays, store),
        singles_loader("zarr, single samples", arrays, order),
    ]


def blocks_loader(name: str, arrays: Sequence[Any], store: Store) -> Loader:
    """Whole blocks, in order."""
    index_N = train_samples(store)

    def read() -> int:
        for block in np.unique(index_N // store.block).tolist():
            for array in arrays:
                np.asarray(array[block * store.block : (block + 1) * store.block])
        return _in_blocks(store, index_N)

    return Loader(name=f"{name}, whole blocks", order=IN_BLOCKS, read=read)


def singles_loader(
    name: str,
    arrays: Sequence[Any],
    order: npt.NDArray[np.intp],
    load: Callable[[Any], object] = np.asarray,
) -> Loader:
    """Single samples, at random; ``load`` has one of them in memory."""

    def read() -> int:
        for sample in order.tolist():
            for array in arrays:
                load(array[sample])
        return len(order)

    return Loader(name=name, order=RANDOM, read=read)


def train_samples(store: Store) -> npt.NDArray[np.intp]:
    """Positions of the samples that are read."""
    return np.flatnonzero(store.split_N == "train")


def measure(loaders: Sequence[Loader], rounds: int) -> list[dict[str, Any]]:
    """Passes of all loaders, interleaved, after one round that is not counted.

    Returns:
        Milliseconds a sample of each ``way`` in its ``order``: median, ``_low`` and ``_high`` of
        the rounds, of ``cpu``, process CPU time of all threads, and of ``wall`` time.
    """
    taken = np.array([[_time_pass(one) for one in loaders] for _ in range(rounds + 1)])[1:]
    costs = []
    for loader, times in zip(loaders, 1e3 * taken.transpose(1, 2, 0), strict=True):
        cost: dict[str, Any] = {"way": loader.name, "order": loader.order}
        for clock, ms in zip(("cpu", "wall"), times, strict=True):
            cost[clock] = float(np.median(ms))
            cost |= {f"{clock}_low": float(ms.min()), f"{clock}_high": float(ms.max())}
        costs.append(cost)
    return costs


def _stream(store: Store) -> int:
    """Yield whole epochs; the window that was read ahead at the end is counted and waited for."""
    stream = SampleStream(store, Reading(seed=0))
    windows = [window for epoch in range(STREAM_EPOCHS) for window in stream.order(epoch)]
    samples = iter(stream)
    for _ in range(sum(len(window) for window in windows)):
        next(samples)
    samples.close()  # type: ignore[attr-defined]
    ahead = stream.order(STREAM_EPOCHS)[0]
    return sum(_in_blocks(store, window) for window in [*windows, ahead])


def _in_blocks(store: Store, index_N: npt.NDArray[np.intp]) -> int:
    """Samples of the blocks in which the given ones lie."""
    blocks = np.unique(index_N // store.block)
    ends = np.minimum((blocks + 1) * store.block, store.header.samples)
    return int((ends - blocks * store.block).sum())


def _time_pass(loader: Loader) -> tuple[float, float]:
    """Seconds a sample of one pass: process CPU and wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    samples = loader.read()
    return (time.process_time() - cpu) / samples, (time.perf_counter() - wall) / samples


def as_memmaps(
    store: Store, index_N: npt.NDArray[np.intp], folder: Path
) -> list[npt.NDArray[np.float32]]:
    """The samples ``index_N`` as one .npy file per array, opened as memory maps."""
    samples = store.read(index_N)
    maps = []
    for name, values in (("mixture", samples.mixture_NTYX), ("tracers", truth_of(samples))):
        np.save(folder / f"{name}.npy", values)
        maps.append(np.load(folder / f"{name}.npy", mmap_mode="r"))
    return maps


def as_mat_files(
    store: Store, index_N: npt.NDArray[np.intp], folder: Path, *, compressed: bool
) -> list[Path]:
    """One .mat file a sample, as the published code reads them."""
    folder.mkdir()
    paths = []
    for index in index_N:
        samples = store.read([int(index)])
        paths.append(folder / f"{index}.mat")
        content = {"mixture": samples.mixture_NTYX[0], "tracers": truth_of(samples)[0]}
        savemat(paths[-1], content, do_compression=compressed)
    return paths


def as_float16(store: Store, path: Path) -> Store:
    """The store anew, its floats in half of the space."""
    header = store.header
    plan = StorePlan(
        tracers=header.tracers,
        protocol=header.protocol,
        half_life=header.half_life,
        size=header.size,
        voxel_size=header.voxel_size,
        subject=tuple(store.subject_N),
        slice_position=tuple(store.slice_N),
        split=tuple(store.split_N),
        block=store.block,
        dtype="float16",
    )
    writer = StoreWriter(str(path), plan)
    for block in writer.begin():
        where = plan.block_samples(block)
        samples = store.read(np.arange(where.start, where.stop))
        images = {"mixture": samples.mixture_NTYX, "tracers": truth_of(samples)}
        writer.write(block, images)
    writer.seal()
    return open_store(str(path), need_truth=True)


def in_bucket(store: Store, server: S3) -> Store:
    """The store's files in a bucket; the server's address must be in the environment."""
    server.files().put(store.header.path, f"{BUCKET}/store.zarr", recursive=True)
    return open_store(server.url("store.zarr"), need_truth=True)


def stored_mib(store: Store) -> float:
    """Size of a sample's mixture and tracers on disk, MiB; of a local store."""
    folders = [Path(store.header.path) / name for name in ARRAYS]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return float(sum(path.stat().st_size for path in files) / store.header.samples / 2**20)


def rounding(store: Store, half: Store) -> dict[str, float]:
    """What float16 changes, root mean squares over all samples.

    Returns:
        ``mixture`` and ``tracers``: error over the float32 values. ``noise``: error of the mixture
        over its noise (mixture minus the sum of the true tracers).
    """
    squares = np.zeros(5)
    for start in range(0, store.header.samples, store.block):
        index = np.arange(start, min(start + store.block, store.header.samples))
        full, less = store.read(index), half.read(index)
        truth, error = truth_of(full), less.mixture_NTYX - full.mixture_NTYX
        noise = full.mixture_NTYX - truth.sum(axis=1)
        images = (error, full.mixture_NTYX, noise, truth_of(less) - truth, truth)
        squares += [np.square(image, dtype=np.float64).sum() for image in images]
    error, mixture, noise, tracers_error, tracers = np.sqrt(squares).tolist()
    return {
        "mixture": error / mixture,
        "tracers": tracers_error / tracers,
        "noise": error / noise,
    }
