"""Copies of a store's samples in other formats, to read the same data in other ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.data.writer import StoreWriter
from tests.support.s3 import BUCKET, S3

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
