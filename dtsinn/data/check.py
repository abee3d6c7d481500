"""Checking a store: every chunk, every invariant, and the digest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import StoreError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.data.digest import content_digest
from dtsinn.data.header import AGAIN
from dtsinn.data.layout import KINETICS, SPLITS, is_per_subject
from dtsinn.data.store import Samples, Store, StoreHeader, open_store

PIXEL_TOLERANCE = 1e-3
"""Relative difference between the spacing of pixels and their size (uncited: rounding)."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A store that is whole."""

    header: StoreHeader
    remarks: tuple[str, ...]
    """What is no fault, but worth knowing: a line each."""


def check_store(path: str, progress: Progress = no_progress) -> Checked:
    """Read and verify all of a store.

    A sample without counts is a remark: slices beyond the body are common in real scans. Training
    divides them by the smallest scale that there is.

    Raises:
        StoreError: The first thing that is wrong, with array and sample.
        RunError: The storage cannot be read.
    """
    store = open_store(path)
    _check_splits(store)
    _check_pixels(store)
    _check_kinetics(store)
    blocks = range(0, store.header.samples, store.block)
    empty: list[int] = []
    for done, start in enumerate(blocks):
        progress("checking", done, len(blocks))
        samples = store.read(np.arange(start, min(start + store.block, store.header.samples)))
        _check_samples(store, samples)
        dark_N = (samples.mixture_NTYX == 0).all(axis=(1, 2, 3))
        empty += samples.index_N[dark_N].tolist()
    progress("checking", len(blocks), len(blocks))
    digest = content_digest(store.group)
    if digest != store.header.digest:
        raise StoreError(
            f"{path}: the content is not what was written",
            got=f"digest {digest[:12]}",
            wanted=store.header.digest[:12],
            hint=AGAIN,
        )
    return Checked(header=store.header, remarks=_remarks(empty))


def _remarks(empty: list[int]) -> tuple[str, ...]:
    if not empty:
        return ()
    return (
        f"mixture is 0 everywhere in {len(empty)} samples, such as {empty[0]}: nothing to learn",
    )


def _check_splits(store: Store) -> None:
    path = store.header.path
    unknown = set(store.split_N) - set(SPLITS)
    if unknown:
        raise StoreError(
            f"{path}: split", got=sorted(unknown)[0], wanted=f"one of {SPLITS}", hint=AGAIN
        )
    split_of: dict[str, str] = {}
    for subject, split in zip(store.subject_N, store.split_N, strict=True):
        if split_of.setdefault(subject, split) != split:
            raise StoreError(
                f"{path}: subject {subject} stands in two splits",
                got=f"{split_of[subject]} and {split}",
                wanted="one split for all samples of a subject",
                hint=AGAIN,
            )


def _check_pixels(store: Store) -> None:
    header = store.header
    for name, size in zip(("y", "x"), header.voxel_size, strict=True):
        steps = np.diff(store.values(name))
        if (np.abs(steps - size) > PIXEL_TOLERANCE * size).any():
            raise StoreError(
                f"{header.path}: {name} is not spaced as voxel_size says",
                got=f"{steps.min():g} to {steps.max():g} mm",
                wanted=f"{size:g} mm",
                hint=AGAIN,
            )


def _check_kinetics(store: Store) -> None:
    path, subjects = store.header.path, len(set(store.subject_N))
    for name in KINETICS:
        if name not in store.arrays:
            continue
        rows = len(store.values(name))
        if is_per_subject(name) and rows != subjects:
            raise StoreError(f"{path}: {name}", got=f"{rows} subjects", wanted=subjects, hint=AGAIN)


def _check_samples(store: Store, samples: Samples) -> None:
    header = store.header
    if samples.regions_NYX is not None and header.region_names:
        high = samples.regions_NYX.max(axis=(1, 2)) >= len(header.region_names)
        if high.any():
            raise StoreError(
                f"{header.path}: regions, sample {_first(samples, high)} has a label without a "
                "name",
                hint=AGAIN,
            )
    if samples.tracers_NKTYX is None:
        return
    ends = np.add(header.protocol.frame_start, header.protocol.frame_duration)
    for tracer, injected in enumerate(header.protocol.injection_time):
        before = samples.tracers_NKTYX[:, tracer, ends <= injected]
        active = (before != 0).any(axis=(1, 2, 3))
        if active.any():
            raise StoreError(
                f"{header.path}: tracers, sample {_first(samples, active)} has "
                f"{header.tracers[tracer]} before its injection",
                hint=AGAIN,
            )


def _first(samples: Samples, wrong_N: npt.NDArray[np.bool_]) -> int:
    return int(samples.index_N[int(np.argmax(wrong_N))])
