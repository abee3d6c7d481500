"""Checking a store: every chunk, every invariant, and the digest."""

from __future__ import annotations

import numpy as np

from dtsinn.core.errors import StoreError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.data.digest import content_digest
from dtsinn.data.layout import SPLITS
from dtsinn.data.store import Samples, Store, open_store


def check_store(path: str, progress: Progress = no_progress) -> Store:
    """Read and verify all of a store.

    Raises:
        StoreError: The first thing that is wrong, with array and sample.
    """
    store = open_store(path)
    _check_splits(store)
    blocks = range(0, store.header.samples, store.block)
    for done, start in enumerate(blocks):
        progress("checking", done, len(blocks))
        _check_samples(
            store, store.read(np.arange(start, min(start + store.block, store.header.samples)))
        )
    progress("checking", len(blocks), len(blocks))
    digest = content_digest(store.group)
    if digest != store.header.digest:
        raise StoreError(
            f"{path}: the content is not what was written",
            got=f"digest {digest[:12]}",
            wanted=store.header.digest[:12],
        )
    return store


def _check_splits(store: Store) -> None:
    path = store.header.path
    unknown = set(store.split_N) - set(SPLITS)
    if unknown:
        raise StoreError(f"{path}: split", got=sorted(unknown)[0], wanted=f"one of {SPLITS}")
    split_of: dict[str, str] = {}
    for subject, split in zip(store.subject_N, store.split_N, strict=True):
        if split_of.setdefault(subject, split) != split:
            raise StoreError(
                f"{path}: subject {subject} stands in two splits",
                got=f"{split_of[subject]} and {split}",
                wanted="one split for all samples of a subject",
            )


def _check_samples(store: Store, samples: Samples) -> None:
    header = store.header
    if samples.regions_NYX is not None and header.region_names:
        high = samples.regions_NYX.max(axis=(1, 2)) >= len(header.region_names)
        if high.any():
            sample = samples.index_N[int(np.argmax(high))]
            raise StoreError(f"{header.path}: regions, sample {sample} has a label without a name")
    if samples.tracers_NKTYX is None:
        return
    ends = np.add(header.protocol.frame_start, header.protocol.frame_duration)
    for tracer, injected in enumerate(header.protocol.injection_time):
        before = samples.tracers_NKTYX[:, tracer, ends <= injected]
        active = (before != 0).any(axis=(1, 2, 3))
        if active.any():
            raise StoreError(
                f"{header.path}: tracers, sample {samples.index_N[int(np.argmax(active))]} has "
                f"{header.tracers[tracer]} before its injection"
            )
