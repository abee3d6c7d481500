"""Importing a study: subjects get pseudonyms and splits, images go block by block into a store."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zarr.core.sync import sync

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.paths import is_url, local_or_url
from dtsinn.core.plausibility import check_activity, check_before_injection
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.version import code_version
from dtsinn.data.check import check_store
from dtsinn.data.layout import SPLITS
from dtsinn.data.plan import StorePlan
from dtsinn.data.splits import SPLIT_SHARES, assign_splits
from dtsinn.data.storage import stored_keys, zarr_store
from dtsinn.data.store import StoreHeader
from dtsinn.data.writer import StoreWriter, refuse_existing
from dtsinn.importers.pseudonym import Enrolment, enrol, same_person
from dtsinn.importers.remarks import (
    Remark,
    activity_remarks,
    format_remarks,
    split_remarks,
    tracer_remarks,
)
from dtsinn.importers.source import Source, SourceSubject, StudyShape

SAMPLES_PER_BLOCK = 16
"""Samples of a shard, whatever subjects they are of."""

Images = dict[str, npt.NDArray[Any]]
"""By name; activity as float32, labels as uint8."""


def import_study(
    source: Source,
    out: str,
    identity_map: Path,
    progress: Progress = no_progress,
    shares: Mapping[str, float] = SPLIT_SHARES,
    note: Callable[[str], None] = lambda line: None,
) -> StoreHeader:
    """Write a foreign study as a store; an interrupted import is continued by the same call.

    Memory holds one subject and one block at a time.

    Args:
        source: The study, opened.
        out: Path or URL of the store.
        identity_map: The user's private file of identities; made or extended.
        progress: Called with subjects done, and of the check at the end.
        shares: Of the subjects by split, where the source names no splits; a subject's split then
            depends on its number in the source alone.
        note: Called at the end with a line for each thing that was taken and yet is worth a look.

    Returns:
        The header of the store, which was checked as ``dtsinn check`` does.

    Raises:
        InputError: Subjects stand twice or have a split only here and there, the identity map is
            refused, or images are damaged: what was written of the store is then removed, and
            what was added to the map taken back.
        StoreError: ``out`` exists, or was begun with another plan or other files.
        RunError: The storage fails, the images cannot be read for now, or memory is short; what
            was written is kept.
    """
    out = local_or_url(out)
    refuse_existing(out)
    _refuse_map_inside(out, identity_map)
    _refuse_twice(source.subjects)
    splits = _splits(source.subjects, shares)
    remarks: list[Remark] = []
    # Split by split, as a simulated store: training reads few blocks of another split.
    order = sorted(range(len(splits)), key=lambda number: SPLITS.index(splits[number]))
    enrolled = enrol([subject.identity for subject in source.subjects], identity_map)
    try:
        writer = StoreWriter(out, _plan(source, order, enrolled, splits))
        pending = writer.begin()
        try:
            for block, images in _blocks(
                source, writer.plan, order, set(pending), progress, remarks
            ):
                writer.write(block, images)
        except InputError:  # the images are at fault, and would be the next time
            _discard(writer)
            raise
    except InputError:
        enrolled.withdraw()
        raise
    except MemoryError:
        raise RunError(
            "memory is short", hint="the same command again where there is more: it goes on"
        ) from None
    writer.seal()
    checked = check_store(out, progress)
    few = split_remarks(splits) if source.shape.has_truth else []
    for line in (*source.shape.remarks, *format_remarks(remarks), *few):
        note(line)
    return checked.header


def _blocks(
    source: Source,
    plan: StorePlan,
    order: Sequence[int],
    pending: set[int],
    progress: Progress,
    remarks: list[Remark],
) -> Iterator[tuple[int, Images]]:
    """The blocks that are pending, as soon as their last sample is read.

    Subjects of which all blocks are written are not read again. What the images tell is added to
    ``remarks``.
    """
    counts = [len(source.subjects[number].slice_position) for number in order]
    starts = [0, *itertools.accumulate(counts)]
    part: Images = {}
    for done, number in enumerate(order):
        progress("importing subjects", done, len(order))
        start, stop = starts[done], starts[done + 1]
        touched = range(start // plan.block, (stop - 1) // plan.block + 1)
        if pending.isdisjoint(touched):
            continue
        images = _read(source, number)
        remarks += _check_activity(source, number, images)
        for block in (block for block in touched if block in pending):
            where = plan.block_samples(block)
            if start <= where.start:
                shapes = {name: shape[1:] for name, shape in plan.images.items()}
                length = where.stop - where.start
                part = {n: np.empty((length, *s), images[n].dtype) for n, s in shapes.items()}
            low, high = max(start, where.start), min(stop, where.stop)
            for name, values in part.items():
                chosen = images[name][low - start : high - start]
                values[low - where.start : high - where.start] = chosen
            if high == where.stop:
                yield block, part
    progress("importing subjects", len(order), len(order))


def _read(source: Source, number: int) -> Images:
    """One subject's images as they will be stored, checked.

    Raises:
        InputError: They are not what the source promised.
    """
    shape, where = source.shape, source.subjects[number].where
    slices, frames = len(source.subjects[number].slice_position), shape.protocol.frames
    wanted: dict[str, tuple[int, ...]] = {"mixture": (slices, frames, *shape.size)}
    if shape.has_truth:
        wanted["tracers"] = (slices, 2, frames, *shape.size)
    read = source.read(number)
    images: Images = {}
    for name, one in wanted.items():
        if read[name].shape != one:
            raise InputError(f"{where}: shape of {name}", got=read[name].shape, wanted=one)
        with np.errstate(over="ignore"):  # infinity, which is refused
            images[name] = read[name].astype(np.float32, copy=False)
        if not np.isfinite(images[name]).all():
            raise InputError(f"{where}: {name} holds NaN, infinity or numbers beyond float32")
    if shape.has_truth:
        _refuse_early_activity(shape, images["tracers"], where)
    if shape.region_names:
        images["regions"] = read["regions"]
    return images


def _check_activity(source: Source, number: int, images: Images) -> list[Remark]:
    """Refuse images that are no activity of this study; what they tell otherwise.

    Raises:
        InputError: They are not.
    """
    shape, subject = source.shape, source.subjects[number]
    protocol, accepted, mixture_STYX = shape.protocol, subject.accepted, images["mixture"]
    check_activity(f"{subject.where}: mixture", mixture_STYX, accepted)
    for k, (weight_kg, dose_MBq) in enumerate(subject.given or [(None, None)] * 2):
        if shape.has_truth:
            check_activity(
                f"{subject.where}: {shape.tracers[k]}",
                images["tracers"][:, k],
                accepted,
                weight_kg=weight_kg,
                dose_MBq=dose_MBq,
                voxel_mL=_voxel_volume(shape, subject),
            )
    mean_T = mixture_STYX.mean(axis=(0, 2, 3), dtype=np.float64)
    ends, injected = protocol.frame_edges[1:], protocol.injection_time[0]
    check_before_injection(f"{subject.where}: mixture", mean_T, ends, injected, accepted)
    remarks = activity_remarks(mean_T, protocol, shape.tracers, shape.half_life, subject.where)
    if shape.has_truth:
        mean_KT = images["tracers"].mean(axis=(0, 3, 4), dtype=np.float64)
        remarks += tracer_remarks(
            mean_KT, mean_T, protocol, shape.tracers, shape.half_life, subject.where
        )
    if mixture_STYX.min() == mixture_STYX.max():
        remarks.append((subject.where, "the mixture has one value everywhere"))
    return remarks


def _voxel_volume(shape: StudyShape, subject: SourceSubject) -> float | None:
    """Volume of a voxel; None where one slice does not tell how thick it is."""
    if len(subject.slice_position) == 1:
        return None
    thickness = float(np.median(np.diff(subject.slice_position)))
    return thickness * shape.voxel_size[0] * shape.voxel_size[1] / 1000


def _refuse_early_activity(
    shape: StudyShape, tracers_SKTYX: npt.NDArray[np.float32], where: str
) -> None:
    ends = np.add(shape.protocol.frame_start, shape.protocol.frame_duration)
    for k, injected in enumerate(shape.protocol.injection_time):
        early = np.flatnonzero(ends <= injected)
        if tracers_SKTYX[:, k, early].any():
            raise InputError(
                f"{where}: {shape.tracers[k]} has activity before its injection",
                got=f"some in the {early.size} frames that end by {injected:g} s",
                wanted="0 in them",
                hint="the other order of tracers, or another protocol, in the plan",
            )


def _plan(
    source: Source, order: Sequence[int], enrolled: Enrolment, splits: Sequence[str]
) -> StorePlan:
    shape, names = source.shape, enrolled.names
    positions = [source.subjects[number].slice_position for number in order]
    counts = [len(one) for one in positions]
    subject = tuple(np.repeat([names[number] for number in order], counts).tolist())
    split = tuple(np.repeat([splits[number] for number in order], counts).tolist())
    slice_position = tuple(float(z) for one in positions for z in one)
    protocol = shape.protocol
    samples = json.dumps(
        [
            *(subject, split, slice_position),
            *(shape.size, shape.voxel_size, shape.half_life),
            *(protocol.frame_edges, protocol.injection_time),
            enrolled.hash_with_salt(source.fingerprint),
        ]
    )
    return StorePlan(
        tracers=shape.tracers,
        protocol=protocol,
        half_life=shape.half_life,
        size=shape.size,
        voxel_size=shape.voxel_size,
        subject=subject,
        slice_position=slice_position,
        split=split,
        region_names=shape.region_names,
        has_truth=shape.has_truth,
        block=min(SAMPLES_PER_BLOCK, len(subject)),
        attributes={
            **shape.attributes,
            "affines": {
                names[number]: source.subjects[number].affine
                for number in order
                if source.subjects[number].affine is not None
            },
            # An interrupted import goes on only where these are the same.
            "samples_digest": hashlib.sha256(samples.encode()).hexdigest(),
            "generator_version": code_version(),
        },
    )


def _splits(subjects: Sequence[SourceSubject], shares: Mapping[str, float]) -> list[str]:
    named = [subject.split for subject in subjects if subject.split is not None]
    if not named:
        return assign_splits(len(subjects), shares)
    if len(named) < len(subjects):
        without = next(subject.where for subject in subjects if subject.split is None)
        raise InputError(
            f"{without}: split is missing", wanted="a split for every subject, or for none"
        )
    return named


def _refuse_twice(subjects: Sequence[SourceSubject]) -> None:
    seen: dict[str, str] = {}
    for subject in subjects:
        try:
            subject.identity.encode()
        except UnicodeEncodeError:  # half a letter, or the name of a file in another encoding
            raise InputError(
                f"{subject.where}: its id is no text in UTF-8", hint="another name"
            ) from None
        before = seen.setdefault(same_person(subject.identity), subject.where)
        if before != subject.where:
            raise InputError(
                f"{subject.where} has the same id as {before}",
                wanted="one entry for each subject",
            )


def _refuse_map_inside(out: str, identity_map: Path) -> None:
    if is_url(out):
        return
    stores = {Path(out).resolve(), Path(f"{out}.partial").resolve()}
    own = identity_map.resolve()
    if own in stores:
        raise InputError(
            f"the identity map {identity_map} is the store", wanted="another file than OUT"
        )
    if stores.intersection(own.parents):
        raise InputError(
            f"the identity map {identity_map} lies inside the store",
            wanted="a place that is not passed on with it",
        )


def _discard(writer: StoreWriter) -> None:
    """Remove what was written of a store."""
    if is_url(writer.path):
        store = zarr_store(writer.path, read_only=False)
        for key in stored_keys(writer.path):  # its own clear() stops at the first folder
            sync(store.delete(key))
    else:
        shutil.rmtree(writer.path, ignore_errors=True)
