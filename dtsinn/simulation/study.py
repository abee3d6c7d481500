"""A study: many subjects, simulated in parallel, written as one store."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
from dask.callbacks import Callback
from dask.multiprocessing import RemoteException

from dtsinn.core.config import to_mapping
from dtsinn.core.errors import RunError
from dtsinn.core.processes import SPAWN
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.tracer import PARAMETERS, Tracer
from dtsinn.core.version import code_version
from dtsinn.data.blocks import BlockWriter
from dtsinn.data.device import check_device
from dtsinn.data.layout import SPLITS
from dtsinn.data.plan import StorePlan
from dtsinn.data.splits import SPLIT_SHARES, assign_splits
from dtsinn.data.store import StoreHeader, open_store
from dtsinn.data.writer import StoreWriter, refuse_existing
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import (
    DEFAULT_SCANNER,
    StudyRequest,
    region_names,
    voxel_size,
)
from dtsinn.simulation.subject import draw_subject, input_time, slice_positions, subject_group

SAMPLES_PER_BLOCK = 16
"""About as many samples make a shard; always whole subjects."""
SLICES, STACK = 8, 40
"""Slices of a subject where none are asked for: spread ones, and contiguous ones."""
LATER = ("population", "dose", "kinetics", "input_mismatch", "motion", "slice_spacing")
"""Settings of a request that the first stores do not name. At their defaults they are left out
still: a store of the same request has the same digest."""


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """A finished simulation, and what it took.

    Attributes:
        header: Of the store.
        seconds: Wall time.
        samples_written: Samples that this call simulated; the others stood there already.
        driver_peak_MiB: Largest memory that this process has held in its life.
        worker_peak_MiB: The same of its largest worker, on Linux at least what this process held
            when it started the worker; None where there were none.
    """

    header: StoreHeader
    seconds: float
    samples_written: int
    driver_peak_MiB: float
    worker_peak_MiB: float | None

    @property
    def samples(self) -> int:
        """Number of samples in the store."""
        return self.header.samples

    @property
    def digest(self) -> str:
        """Content digest of the store."""
        return self.header.digest

    def cost(self) -> str:
        """Time, throughput and memory in one line."""
        peaks = [self.driver_peak_MiB, self.worker_peak_MiB or 0.0]
        return (
            f"{self.samples_written} samples in {self.seconds:.1f} s, "
            f"{self.samples_written / self.seconds:.1f} a second, "
            f"peak memory of a process {max(peaks):.0f} MiB"
        )


def simulate(
    out: str | Path,
    *,
    tracers: tuple[str, str] = ("fmz", "fdg"),
    protocol: str = "p1",
    phantom: str = "brain",
    population: str = "varied",
    noise: str = "mid",
    noise_model: str = "image",
    labels: str = "truth",
    scanner: str = DEFAULT_SCANNER,
    motion: float = 0.0,
    subjects: int = 60,
    slices: int | None = None,
    slice_spacing: float | None = None,
    size: int = 64,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress = no_progress,
) -> SimulationResult:
    """Simulate a study of dual-tracer scans into the store ``out``.

    The store holds mixtures [N, T, Y, X] and the two tracers [N, 2, T, Y, X]: averages over frames
    in kBq/mL, not corrected for decay; N is ``subjects`` times ``slices``, T the protocol's frames.
    The same arguments give the same store, bit for bit. An interrupted simulation is continued by
    the same call.

    Args:
        out: Path or URL of the store, which must not exist.
        tracers: Two tracers by order of injection: names (``dtsinn tracers``) or YAML files.
        protocol: Frames and injection times: a name (``dtsinn protocols``) or a YAML file.
        phantom: Anatomy: ``brain``, ``brain-lesion``, ``thorax`` or ``cylinder``.
        population: How subjects differ: ``varied`` has patients, lesions, and doses, inputs and
            voxels that differ; ``uniform`` healthy people about one table; or a YAML file.
        noise: Level: ``low``, ``mid`` or ``high``.
        noise_model: ``image`` adds noise to images; ``osem`` counts photons and reconstructs them.
        labels: ``truth`` is free of noise; ``osem`` reconstructs a scan of each tracer alone.
        scanner: Of the noise model ``osem``: a name or a YAML file.
        motion: Standard deviation of shifts, mm, and rotations, degrees, at the end of the scan.
        subjects: How many.
        slices: Axial slices per subject; by default 8, or 40 contiguous ones.
        slice_spacing: Between contiguous slices, mm; None spreads the slices over the anatomy.
        size: Rows and columns of a slice, pixels.
        seed: Of all draws.
        dtype: How images are stored: ``float32``, or ``float16`` in half of the space.
        device: Where the noise model ``osem`` computes: ``cpu`` or ``cuda``.
        workers: Processes; 1 stays in this one; by default one per core.
        progress: Told of subjects done.

    Raises:
        InputError: An unknown name, or parts that do not go together.
        StoreError: ``out`` exists, was begun with other settings, or a value does not fit float16.
        RunError: The storage fails, or a worker process was killed.
    """
    if slices is None:
        slices = SLICES if slice_spacing is None else STACK
    request = StudyRequest(
        tracers=tracers,
        protocol=protocol,
        phantom=phantom,
        population=population,
        noise=noise,
        noise_model=noise_model,
        labels=labels,
        scanner=scanner,
        motion=motion,
        subjects=subjects,
        slices=slices,
        slice_spacing=slice_spacing,
        size=size,
        seed=seed,
    )
    device, dtype = device.lower(), dtype.lower()
    check_device(device)
    return simulate_study(
        request, str(out), workers=workers, progress=progress, dtype=dtype, device=device
    )


def simulate_study(
    request: StudyRequest,
    out: str,
    *,
    workers: int | None = None,
    progress: Progress = no_progress,
    splits: Mapping[str, float] = SPLIT_SHARES,
    dtype: str = "float32",
    device: str = "cpu",
) -> SimulationResult:
    """Simulate ``request`` into the store ``out``; an interrupted one is continued.

    The store is the same, bit for bit, whatever the number of workers.

    Args:
        request: What to simulate.
        out: Path or URL of the store.
        workers: Processes; 1 stays in this one; by default one per core.
        progress: Called with subjects done.
        splits: Shares of the subjects by split; a subject's split depends on its number alone.
        dtype: How mixture and tracers are stored: float32, or float16 in half of the space.
        device: Where the noise model ``osem`` computes; another one rounds otherwise.

    Raises:
        StoreError: ``out`` exists, was begun with other settings, or a value does not fit float16.
        RunError: The storage fails, or a worker process was killed.
    """
    begun = time.perf_counter()
    refuse_existing(out)
    order = _order(request, splits)
    writer = StoreWriter(out, _plan(request, splits, order, dtype))
    pending = writer.begin()
    per_block = _subjects_per_block(request)
    workers = min(workers or os.cpu_count() or 1, max(len(pending), 1))
    tasks = [
        dask.delayed(_simulate_block)(
            writer.blocks,
            request,
            order[block * per_block : (block + 1) * per_block],
            block,
            device,
        )
        for block in pending
    ]
    done = writer.plan.blocks - len(pending)
    with _Counter(progress, done, per_block, request.subjects):
        _compute(tasks, workers, out)
    writer.seal()
    sizes = [writer.plan.block_samples(block) for block in pending]
    return SimulationResult(
        header=open_store(out).header,
        seconds=time.perf_counter() - begun,
        samples_written=sum(size.stop - size.start for size in sizes),
        driver_peak_MiB=_peak_mib(resource.RUSAGE_SELF),
        worker_peak_MiB=_peak_mib(resource.RUSAGE_CHILDREN) if workers > 1 else None,
    )


def _compute(tasks: list[Any], workers: int, out: str) -> None:
    if workers == 1:
        dask.compute(*tasks, scheduler="synchronous")
        return
    try:
        with ProcessPoolExecutor(workers, mp_context=SPAWN) as pool:
            # One task at a time goes to a process, so that memory holds one block per worker.
            dask.compute(*tasks, scheduler="processes", pool=pool, chunksize=1)
    except RemoteException as error:  # dask puts the worker's traceback into the message
        raise error.exception from error
    except BrokenProcessPool as error:
        raise RunError(
            f"{out}: a worker process was killed",
            got="no word of it; most often the machine has no memory left",
            hint="the same command with fewer workers: it goes on where it stopped",
        ) from error


def _peak_mib(whose: int) -> float:
    peak = resource.getrusage(whose).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts bytes


def _order(request: StudyRequest, splits: Mapping[str, float]) -> list[int]:
    """Numbers of the subjects as the store holds them: split by split.

    Training then reads no block of another split.
    """
    split = assign_splits(request.subjects, splits)
    return sorted(range(request.subjects), key=lambda index: SPLITS.index(split[index]))


def _plan(
    request: StudyRequest, splits: Mapping[str, float], order: list[int], dtype: str
) -> StorePlan:
    """The plan of a study: of its subjects only what is cheap, however many they are."""
    tracers, protocol = request.parts.tracers, request.parts.protocol
    ids = [f"{request.purpose}-{request.seed}-{index:04d}" for index in order]
    split = assign_splits(request.subjects, splits)
    voxel = voxel_size(request)
    repeat = request.slices
    times, regions = input_time(request), region_names(request)
    small = {"input_time": times, "region": regions[1:], "parameter": PARAMETERS}
    if _tells_groups(request):
        groups = [subject_group(request, index)[0].name for index in order]
        small["group"] = tuple(np.repeat(groups, repeat).tolist())
    return StorePlan(
        tracers=(tracers[0].name, tracers[1].name),  # a request may name files
        protocol=protocol,
        half_life=(tracers[0].half_life, tracers[1].half_life),
        size=(request.size, request.size),
        voxel_size=(voxel, voxel),
        subject=tuple(np.repeat(ids, repeat).tolist()),
        slice_position=tuple(float(z) for index in order for z in slice_positions(request, index)),
        split=tuple(np.repeat([split[index] for index in order], repeat).tolist()),
        region_names=regions,
        dtype=dtype,
        block=_subjects_per_block(request) * request.slices,
        small=small,
        per_subject={
            "plasma": (2, len(times)),
            "blood": (2, len(times)),
            "kinetics": (2, len(regions) - 1, len(PARAMETERS)),
        },
        attributes={
            "origin": "simulated",
            "phantom": request.phantom,
            "noise": _noise(request),
            "labels": request.labels,
            "seed": request.seed,
            "request": _request(request),
            "split_shares": dict(splits),
            # What the names and files of the request meant when the store was made.
            "tracer_definitions": [_definition(tracer) for tracer in tracers],
            "protocol_definition": to_mapping(protocol),
            "generator_version": code_version(),
            **_population(request),
        },
    )


def _tells_groups(request: StudyRequest) -> bool:
    return request.population != StudyRequest.population


def _request(request: StudyRequest) -> dict[str, Any]:
    """The request; of its later settings those that were asked for."""
    plain = to_mapping(request)
    return {
        key: value
        for key, value in plain.items()
        if key not in LATER or value != getattr(StudyRequest, key)
    }


def _population(request: StudyRequest) -> dict[str, Any]:
    """The population by name and in full, where it is not that of the first stores."""
    if not _tells_groups(request):
        return {}
    population = request.parts.population
    return {"population": population.name, "population_definition": to_mapping(population)}


def _definition(tracer: Tracer) -> dict[str, Any]:
    """What decides a tracer's images: not what people read from them."""
    plain = to_mapping(tracer)
    del plain["readout_regions"], plain["readout"]
    return plain


def _noise(request: StudyRequest) -> dict[str, Any]:
    """What was done to the truth, in numbers that outlive the files they came from."""
    model = {"model": request.noise_model, "level": request.noise}
    return model | request.model.record(request.noise, request.parts.scanner)


def _subjects_per_block(request: StudyRequest) -> int:
    return max(1, min(SAMPLES_PER_BLOCK // request.slices, request.subjects))


def _simulate_block(
    writer: BlockWriter, request: StudyRequest, subjects: list[int], block: int, device: str
) -> None:
    drawn = [draw_subject(request, index) for index in subjects]
    arrays = {
        name: np.stack([getattr(one, name) for one in drawn])
        for name in ("plasma", "blood", "kinetics")
    }
    rendered = [render_subject(request, index, device) for index in subjects]
    arrays |= {
        name: np.concatenate([getattr(one, name) for one in rendered])
        for name in ("mixture", "tracers", "regions")
    }
    writer.write(block, arrays)


class _Counter(Callback):  # type: ignore[misc]
    """Reports every finished block to ``progress``, in subjects."""

    def __init__(self, progress: Progress, blocks: int, per_block: int, subjects: int) -> None:
        super().__init__()
        self.progress, self.blocks = progress, blocks
        self.per_block, self.subjects = per_block, subjects
        self._report()

    def _posttask(
        self, key: object, result: object, dsk: object, state: object, worker: object
    ) -> None:
        self.blocks += 1
        self._report()

    def _report(self) -> None:
        done = min(self.blocks * self.per_block, self.subjects)
        self.progress("simulating subjects", done, self.subjects)
