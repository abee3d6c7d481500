"""A study: many subjects, simulated in parallel, written as one store."""

from __future__ import annotations

import os
from collections.abc import Mapping

import dask
import numpy as np
from dask.callbacks import Callback

from dtsinn.core.config import to_mapping
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.protocol import load_protocol
from dtsinn.core.tracer import PARAMETERS, load_tracer
from dtsinn.core.version import code_version
from dtsinn.data.layout import SPLITS
from dtsinn.data.store import StoreHeader, open_store
from dtsinn.data.writer import StorePlan, StoreWriter, assign_splits, refuse_existing
from dtsinn.simulation.noise import noise_level
from dtsinn.simulation.subject import (
    StudyRequest,
    draw_subject,
    input_time,
    region_names,
    render_subject,
    slice_positions,
    voxel_size,
)

SPLIT_SHARES = {"train": 0.55, "val": 0.1, "gate": 0.2, "test": 0.15}
"""Shares of the subjects; the gate needs more subjects than a mean does (uncited)."""
SAMPLES_PER_BLOCK = 16
"""About as many samples make a shard; always whole subjects."""


def simulate(
    request: StudyRequest,
    out: str,
    *,
    workers: int | None = None,
    progress: Progress = no_progress,
    splits: Mapping[str, float] = SPLIT_SHARES,
) -> StoreHeader:
    """Simulate ``request`` into the store ``out``; an interrupted one is continued.

    The store is the same, bit for bit, whatever the number of workers.

    Args:
        request: What to simulate.
        out: Path or URL of the store.
        workers: Processes; 1 stays in this one; by default one per core.
        progress: Told of subjects done.
        splits: Shares of the subjects by split; a subject's split depends on its number alone.

    Raises:
        StoreError: ``out`` exists, or was begun with other settings.
    """
    refuse_existing(out)
    order = _order(request, splits)
    writer = StoreWriter(out, _plan(request, splits, order))
    pending = writer.begin()
    per_block = _subjects_per_block(request)
    workers = min(workers or os.cpu_count() or 1, max(len(pending), 1))
    tasks = [dask.delayed(_simulate_block)(writer, request, order, block) for block in pending]
    blocks = writer.plan.blocks
    counter = _Counter(progress, blocks - len(pending), per_block, request.subjects)
    with counter:
        if workers == 1:
            dask.compute(*tasks, scheduler="synchronous")
        else:
            # One task at a time goes to a process, so that memory holds one block per worker.
            dask.compute(*tasks, scheduler="processes", num_workers=workers, chunksize=1)
    writer.seal()
    return open_store(out).header


def _order(request: StudyRequest, splits: Mapping[str, float]) -> list[int]:
    """Numbers of the subjects as the store holds them: split by split.

    Training then reads no block of another split.
    """
    split = assign_splits(request.subjects, splits)
    return sorted(range(request.subjects), key=lambda index: SPLITS.index(split[index]))


def _plan(request: StudyRequest, splits: Mapping[str, float], order: list[int]) -> StorePlan:
    tracers = [load_tracer(name) for name in request.tracers]
    protocol = load_protocol(request.protocol)
    subjects = [draw_subject(request, index) for index in order]
    ids = [f"{request.purpose}-{request.seed}-{index:04d}" for index in order]
    split = assign_splits(request.subjects, splits)
    voxel = voxel_size(request)
    repeat = request.slices
    return StorePlan(
        tracers=(tracers[0].name, tracers[1].name),  # a request may name files
        protocol=protocol,
        half_life=(tracers[0].half_life, tracers[1].half_life),
        size=(request.size, request.size),
        voxel_size=(voxel, voxel),
        subject=tuple(np.repeat(ids, repeat).tolist()),
        slice_position=tuple(float(z) for index in order for z in slice_positions(request, index)),
        split=tuple(np.repeat([split[index] for index in order], repeat).tolist()),
        region_names=region_names(request),
        block=_subjects_per_block(request) * request.slices,
        small={
            "input_time": input_time(request),
            "plasma": np.stack([subject.plasma for subject in subjects]),
            "blood": np.stack([subject.blood for subject in subjects]),
            "kinetics": np.stack([subject.kinetics for subject in subjects]),
            "region": region_names(request)[1:],
            "parameter": PARAMETERS,
        },
        attributes={
            "phantom": request.phantom,
            "noise": {
                "model": "image",
                "level": request.noise,
                "alpha": noise_level(request.noise),
                "alpha_units": "(kBq/mL)^0.5 s^0.5",
            },
            "seed": request.seed,
            "request": to_mapping(request),
            "split_shares": dict(splits),
            # What the names and files of the request meant when the store was made.
            "tracer_definitions": [to_mapping(tracer) for tracer in tracers],
            "protocol_definition": to_mapping(protocol),
            "generator_version": code_version(),
        },
    )


def _subjects_per_block(request: StudyRequest) -> int:
    return max(1, min(SAMPLES_PER_BLOCK // request.slices, request.subjects))


def _simulate_block(
    writer: StoreWriter, request: StudyRequest, order: list[int], block: int
) -> None:
    per_block = _subjects_per_block(request)
    subjects = order[block * per_block : (block + 1) * per_block]
    rendered = [render_subject(request, index) for index in subjects]
    names = ("mixture", "tracers", "regions")
    images = {name: np.concatenate([getattr(one, name) for one in rendered]) for name in names}
    writer.write(block, images)


class _Counter(Callback):  # type: ignore[misc]
    """Tells ``progress`` of every finished block, in subjects."""

    def __init__(self, progress: Progress, blocks: int, per_block: int, subjects: int) -> None:
        super().__init__()
        self.progress, self.blocks = progress, blocks
        self.per_block, self.subjects = per_block, subjects
        self._tell()

    def _posttask(
        self, key: object, result: object, dsk: object, state: object, worker: object
    ) -> None:
        self.blocks += 1
        self._tell()

    def _tell(self) -> None:
        done = min(self.blocks * self.per_block, self.subjects)
        self.progress("simulating subjects", done, self.subjects)
