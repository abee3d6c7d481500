"""``reading``: what the training stream costs, beside other ways to read the same samples."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.io import loadmat, savemat

from benchmarks.quality.method import calibrate
from benchmarks.quality.methods import OURS, all_methods
from benchmarks.report import Result, Rounds, Say, Steps, Table, facts_table, make_table
from dtsinn.core.seeds import generator
from dtsinn.data.body import truth_of
from dtsinn.data.loader import Reading, SampleStream
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState
from tests.support.s3 import BUCKET, S3, s3_server

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


Cost = dict[str, Any]
THROUGHPUT_TARGET = 0.85
"""Samples of the stream over those of whole blocks read with zarr alone, at least."""
WAIT_TARGET = 0.02
"""Largest part of a step that may be spent waiting for data."""
READ_TARGET = 0.03
"""Largest part of a step's CPU time that may be spent reading."""
BUCKET_ROUNDS = 3
"""Passes over the bucket, at most: they are slow."""


def run(store: Store, folder: Path, *, rounds: Rounds = 5, steps: Steps = 300, say: Say) -> Result:
    """Measure reading and report.

    Args:
        store: Local data with ``train`` and ``val`` subjects.
        folder: Where copies in other formats go.
        rounds: Passes over the ``train`` samples with every way, interleaved.
        steps: Training steps over which the shares are taken.
        say: Told what is being done.
    """
    busy = os.getloadavg()[0]
    say("writing the samples in other formats")
    half = as_float16(store, folder / "half.zarr")
    smaller = [replace(one, name=f"{one.name}, float16") for one in store_loaders(half)[:2]]
    loaders = [*local_loaders(store, folder), *smaller]
    say(f"reading all train samples in {len(loaders)} ways")
    costs = measure(loaders, rounds)
    sizes = {"float32": stored_mib(store), "float16": stored_mib(half)}
    errors = rounding(store, half)
    say("reading them from an S3 server")
    remote = _from_bucket(store, folder, min(rounds, BUCKET_ROUNDS))
    say("training coupling blocks")
    shares = measure_shares(store, steps, costs[0]["cpu"])
    return Result(
        name="reading",
        title="Reading samples for training",
        notes=_notes(store, rounds, steps, busy),
        tables=[
            _targets(costs, shares),
            _costs("Reading a sample (mixture and two tracers) from a local disk", costs),
            _costs("The same from an S3 server on this machine", remote),
            _half_table(sizes, errors),
        ],
        data={
            "local": costs,
            "bucket": remote,
            "shares": shares,
            "stored_MiB_a_sample": sizes,
            "float16_error": errors,
            "load_average_before": busy,
            "targets": {
                "throughput": THROUGHPUT_TARGET,
                "waiting": WAIT_TARGET,
                "reading": READ_TARGET,
            },
        },
    )


def measure_shares(store: Store, steps: int, reading_milliseconds: float) -> dict[str, float]:
    """Train coupling blocks and look at where a step's time goes.

    Returns:
        ``step_milliseconds``, CPU time a step, reading included, validations left out;
        ``waiting``, wall time in which the step waits for its sample, over the step's wall time;
        ``reading``, CPU time of reading a sample over that of a step.
    """
    config = load_run_config("invertible", [f"steps={steps}", f"validate_every={steps}"])
    (report,) = train(store, TrainingState(config, store.header.protocol.frames))
    ours = all_methods()[OURS]
    (speed,) = calibrate(store, [lambda: ours.rounds(store, ours.settings({}))])
    step = 1e3 * speed.step
    return {
        "step_milliseconds": step,
        "waiting": report.metrics["waiting_for_data"],
        "reading": reading_milliseconds / step,
    }


def _from_bucket(store: Store, folder: Path, rounds: int) -> list[Cost]:
    with s3_server(folder) as server, mock.patch.dict(os.environ, server.environment):
        return measure(store_loaders(in_bucket(store, server)), rounds)


def _targets(costs: Sequence[Cost], shares: Mapping[str, float]) -> Table:
    of = {cost["way"]: cost for cost in costs}
    stream, direct = of[STREAM], of[DIRECT]
    least = f"at least {THROUGHPUT_TARGET:.1%}"
    shown = {
        "throughput of the stream over zarr's whole blocks, per CPU second": (
            direct["cpu"] / stream["cpu"],
            least,
        ),
        "the same, per second": (direct["wall"] / stream["wall"], least),
        "waiting for data, of a step's time": (shares["waiting"], f"at most {WAIT_TARGET:.1%}"),
        "reading, of a step's CPU time": (shares["reading"], f"at most {READ_TARGET:.1%}"),
    }
    return make_table(
        shown.items(),
        {
            "share": lambda one: one[0],
            "measured": lambda one: f"{one[1][0]:.1%}",
            "target": lambda one: one[1][1],
        },
        "Targets; a training step of coupling blocks takes "
        f"{shares['step_milliseconds']:.1f} CPU ms",
    )


def _costs(title: str, costs: Sequence[Cost]) -> Table:
    return make_table(
        costs,
        {
            "way": lambda one: one["way"],
            "order": lambda one: one["order"],
            "CPU ms [range]": "{cpu:.2f} [{cpu_low:.2f}, {cpu_high:.2f}]".format_map,
            "ms [range]": "{wall:.2f} [{wall_low:.2f}, {wall_high:.2f}]".format_map,
            "CPU over stream": lambda one: f"{one['cpu'] / costs[0]['cpu']:.2f}x",
        },
        title,
    )


def _half_table(sizes: dict[str, float], errors: dict[str, float]) -> Table:
    gain = sizes["float32"] / sizes["float16"]
    facts = {
        "MiB a sample on disk, float32": f"{sizes['float32']:.3f}",
        "MiB a sample on disk, float16": f"{sizes['float16']:.3f} ({gain:.2f}x less)",
        "error of the mixture, relative": f"{errors['mixture']:.1e}",
        "error of the tracers, relative": f"{errors['tracers']:.1e}",
        "error of the mixture over its noise": f"{errors['noise']:.1e}",
    }
    return facts_table(facts, "What float16 stores gain and lose", "measured")


def _notes(store: Store, rounds: int, steps: int, busy: float) -> list[str]:
    header = store.header
    sample = 3 * header.protocol.frames * header.size[0] * header.size[1] * 4 / 2**20
    return [
        f"{header.size[0]} x {header.size[1]} pixels, {header.protocol.frames} frames: "
        f"{sample:.2f} MiB a sample; lz4 with shuffle and crc32c, one chunk a sample, shards of "
        f"{store.block}. Page cache warm.",
        f"Milliseconds a sample: median of {rounds} interleaved passes over the train samples "
        f"(bucket: {min(rounds, BUCKET_ROUNDS)}) after one that is not counted, in brackets the "
        "range. CPU time is the process's, all threads, without the S3 server's.",
        "The stream reads blocks through dask in a thread, verifies the checksum of every chunk, "
        "looks for NaN and shuffles the samples of four blocks; it decodes the store's own layout "
        "without zarr's event loop. The memmap has neither compression nor checksum, .mat files "
        "have no checksum unless they are compressed.",
        f"Shares over {steps} steps, batch 1, one torch thread. Errors are root mean squares over "
        "all samples.",
        f"Load average when it began, with what simulated the data: {busy:.1f} on "
        f"{os.cpu_count()} cores.",
    ]
