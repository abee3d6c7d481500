"""Ways to read the samples of a store, each of them a pass that can be timed.

A pass reads mixture and two tracers of the ``train`` samples and leaves them as arrays in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.io import loadmat, savemat

from dtsinn.core.seeds import generator
from dtsinn.data.loader import Reading, SampleStream
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.data.writer import StoreWriter
from tests.support.s3 import BUCKET, S3

STREAM = "training stream"
DIRECT = "zarr, whole blocks"
RANDOM, IN_BLOCKS = "random", "by blocks"
STREAM_EPOCHS = 4
"""Epochs of a pass of the stream, so that its start weighs little, as in a training."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to read."""

    name: str
    order: str
    read: Callable[[], int]
    """Make a pass; returns the number of samples that were read."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Milliseconds a sample of a way: median and range of the rounds."""

    way: str
    order: str
    cpu: float
    """Process CPU time, all threads."""
    cpu_low: float
    cpu_high: float
    wall: float
    wall_low: float
    wall_high: float


def local_ways(store: Store, folder: Path) -> list[Way]:
    """The stream and its rivals on a local disk, other formats written into ``folder``."""
    index_N = train_samples(store)
    maps = as_memmaps(store, index_N, folder)
    plain = as_mat_files(store, index_N, folder / "plain", compressed=False)
    packed = as_mat_files(store, index_N, folder / "packed", compressed=True)
    order = generator(0, "order").permutation(len(index_N))

    def from_memmap(positions: Sequence[int]) -> int:
        for position in positions:
            for mapped in maps:
                np.array(mapped[position])
        return len(positions)

    def from_mat(paths: list[Path]) -> int:
        for position in order:
            content = loadmat(paths[position])
            for name in ARRAYS:
                np.asarray(content[name])
        return len(order)

    return [
        *stream_and_zarr(store),
        *xarray_ways(store),
        Way(name="npy memmap", order=RANDOM, read=lambda: from_memmap(order.tolist())),
        Way(name="npy memmap", order=IN_BLOCKS, read=lambda: from_memmap(range(len(index_N)))),
        Way(name=".mat, one file a sample", order=RANDOM, read=lambda: from_mat(plain)),
        Way(name=".mat compressed, one file a sample", order=RANDOM, read=lambda: from_mat(packed)),
    ]


def stream_and_zarr(store: Store) -> list[Way]:
    """The training stream, and zarr without it: whole blocks in order, single samples at random."""
    index_N = train_samples(store)
    arrays = [store.group[name] for name in ARRAYS]
    order = generator(0, "order").permutation(index_N)

    def blocks() -> int:
        numbers = np.unique(index_N // store.block)
        for block in numbers.tolist():
            for array in arrays:
                array[block * store.block : (block + 1) * store.block]
        return _in_blocks(store, index_N)

    def singles() -> int:
        for sample in order.tolist():
            for array in arrays:
                array[sample]
        return len(order)

    return [
        Way(name=STREAM, order=RANDOM, read=lambda: _stream(store)),
        Way(name=DIRECT, order=IN_BLOCKS, read=blocks),
        Way(name="zarr, single samples", order=RANDOM, read=singles),
    ]


def xarray_ways(store: Store) -> list[Way]:
    """Xarray as one would use it first: slices of the opened data set, without dask."""
    index_N = train_samples(store)
    data = xr.open_zarr(store.header.path, chunks=None)
    order = generator(0, "order").permutation(index_N)

    def singles() -> int:
        for sample in order.tolist():
            for name in ARRAYS:
                np.asarray(data[name][sample])
        return len(order)

    def blocks() -> int:
        for block in np.unique(index_N // store.block).tolist():
            for name in ARRAYS:
                np.asarray(data[name][block * store.block : (block + 1) * store.block])
        return _in_blocks(store, index_N)

    return [
        Way(name="xarray, whole blocks", order=IN_BLOCKS, read=blocks),
        Way(name="xarray, single samples", order=RANDOM, read=singles),
    ]


def train_samples(store: Store) -> npt.NDArray[np.intp]:
    """Positions of the samples that are read."""
    return np.flatnonzero(store.split_N == "train")


def measure(ways: Sequence[Way], rounds: int) -> list[Cost]:
    """Passes of all ways, interleaved, after one round that is not counted."""
    taken = np.array([[_timed(way) for way in ways] for _ in range(rounds + 1)])[1:]
    costs = []
    for way, (cpu, wall) in zip(ways, 1e3 * taken.transpose(1, 2, 0), strict=True):
        costs.append(
            Cost(
                way=way.name,
                order=way.order,
                cpu=float(np.median(cpu)),
                cpu_low=float(cpu.min()),
                cpu_high=float(cpu.max()),
                wall=float(np.median(wall)),
                wall_low=float(wall.min()),
                wall_high=float(wall.max()),
            )
        )
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


def _timed(way: Way) -> tuple[float, float]:
    """Seconds a sample of one pass: process CPU and wall."""
    cpu, wall = time.process_time(), time.perf_counter()
    samples = way.read()
    return (time.process_time() - cpu) / samples, (time.perf_counter() - wall) / samples


ARRAYS = ("mixture", "tracers")


def as_memmaps(
    store: Store, index_N: npt.NDArray[np.intp], folder: Path
) -> list[npt.NDArray[np.float32]]:
    """The samples ``index_N`` as one .npy file per array, opened as memory maps."""
    samples = store.read(index_N)
    maps = []
    for name, values in (("mixture", samples.mixture_NTYX), ("tracers", _truth(samples))):
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
        content = {"mixture": samples.mixture_NTYX[0], "tracers": _truth(samples)[0]}
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
        images = {"mixture": samples.mixture_NTYX, "tracers": _truth(samples)}
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
    sums = dict.fromkeys(
        ("mixture", "mixture error", "tracers", "tracers error", "noise"), np.float64(0)
    )
    for start in range(0, store.header.samples, store.block):
        index = np.arange(start, min(start + store.block, store.header.samples))
        full, less = store.read(index), half.read(index)
        sums["mixture"] += np.square(full.mixture_NTYX, dtype=np.float64).sum()
        sums["tracers"] += np.square(_truth(full), dtype=np.float64).sum()
        sums["noise"] += np.square(full.mixture_NTYX - _truth(full).sum(axis=1)).sum()
        sums["mixture error"] += np.square(less.mixture_NTYX - full.mixture_NTYX).sum()
        sums["tracers error"] += np.square(_truth(less) - _truth(full)).sum()
    return {
        "mixture": float(np.sqrt(sums["mixture error"] / sums["mixture"])),
        "tracers": float(np.sqrt(sums["tracers error"] / sums["tracers"])),
        "noise": float(np.sqrt(sums["mixture error"] / sums["noise"])),
    }


def _truth(samples: Samples) -> npt.NDArray[np.float32]:
    assert samples.tracers_NKTYX is not None  # noqa: S101 (the store was opened with need_truth)
    return samples.tracers_NKTYX
