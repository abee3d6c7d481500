"""Calibrating a model: on fresh simulated subjects, or on those that a measured store keeps for it.

A calibration is made once for each digest of a model, and kept in the workspace.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from dtsinn.core.atomic import replace_file
from dtsinn.core.errors import DtsinnError, InputError, RunError
from dtsinn.core.lock import hold_lock
from dtsinn.core.processes import SPAWN, one_thread_each
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.seeds import generator
from dtsinn.core.workspace import Workspace
from dtsinn.data.header import USUAL
from dtsinn.data.inputs import SubjectInputs, lacks_inputs, subject_inputs
from dtsinn.data.known_stores import find_store
from dtsinn.data.store import Store
from dtsinn.deploy.facts import SeparatorFacts, TrainingData
from dtsinn.deploy.manifest import CALIBRATION_NAME
from dtsinn.separation.calibration import (
    Calibration,
    CalibrationSubject,
    Measured,
    calibration_text,
    fit_calibration,
    measure_subject,
    read_calibration,
)
from dtsinn.separation.model import Model, open_model
from dtsinn.separation.population import FEWEST_SUBJECTS
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest, region_names, voxel_size
from dtsinn.simulation.single_tracer import request_of
from dtsinn.simulation.subject import draw_subject, input_time

PURPOSE = SPLIT = "calibrate"
"""What simulated subjects are drawn for, and where measured stores keep theirs."""
SUBJECTS, SLICES = 400, 4
"""Simulated subjects, half of which give the limit, and slices of each: so few hold all regions."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where subjects come from: a request to simulate, or a store that keeps some."""

    request: StudyRequest | None = None
    store: Store | None = None


def find_calibration(
    package: Path,
    workspace: Workspace,
    progress: Progress = no_progress,
    *,
    subjects: int = SUBJECTS,
    workers: int | None = None,
) -> Calibration | str:
    """The calibration of a model: its package's, the workspace's, or one made now and kept there.

    Args:
        package: The model's.
        workspace: That knows what it was trained on.
        progress: Told of subjects done.
        subjects: How many to simulate.
        workers: Processes; 1 stays in this one; by default one per core.

    Returns:
        The calibration, or why there can be none.

    Raises:
        PackageError: The package, or a calibration that is there, is damaged.
        RunError: A process was killed, or the model fails.
    """
    model = open_model(package)
    if model.calibration is not None:
        return read_calibration(model.calibration, model.digest, str(package / CALIBRATION_NAME))
    path = workspace.calibrations / f"{model.digest}.json"
    with hold_lock(path.with_suffix(".lock")):
        if path.exists():
            return read_calibration(path.read_bytes(), model.digest, str(path))
        sources = find_sources(model.facts, workspace)
        if isinstance(sources, str):
            return sources
        made = calibrate(package, model, sources, progress, subjects=subjects, workers=workers)
        if isinstance(made, Calibration):
            replace_file(path, calibration_text(made))
        return made


def calibrate(
    package: Path,
    model: Model,
    sources: Sequence[Source],
    progress: Progress,
    *,
    subjects: int,
    workers: int | None,
) -> Calibration | str:
    """Measure subjects of all sources, and fit."""
    simulated = [one.request for one in sources if one.request is not None]
    stores = [one.store for one in sources if one.store is not None]
    requests = [
        replace(request, subjects=subjects // len(simulated), slices=SLICES, slice_spacing=None)
        for request in simulated
    ]
    kept = sum(store.subject_count(SPLIT) for store in stores)
    if not requests and kept < FEWEST_SUBJECTS:
        return (
            f"its stores have {kept} subjects in the split {SPLIT} and {FEWEST_SUBJECTS} are needed"
        )
    total = sum(request.subjects for request in requests) + kept
    measured: list[Measured] = []
    progress("calibrating", 0, total)
    for one in measure_simulated(package, requests, workers):
        measured.append(one)
        progress("calibrating", len(measured), total)
    for store in stores:
        for subject in _stored_subjects(store):
            measured.append(measure_subject(model, subject))
            progress("calibrating", len(measured), total)
    words = [
        f"{one.subjects} simulated subjects ({one.phantom}, {one.parts.population.name}, noise "
        f"{one.noise_model} {one.noise}, {one.size} x {one.size} pixels)"
        for one in requests
    ]
    words += [f"{kept} subjects of the split {SPLIT}"] * bool(kept)
    order = generator(PURPOSE, model.digest).permutation(len(measured))
    return fit_calibration(model.digest, " and ".join(words), [measured[n] for n in order])


def measure_simulated(
    package: Path, requests: Sequence[StudyRequest], workers: int | None = None
) -> Iterator[Measured]:
    """Simulate subjects and measure what a model makes of them.

    Args:
        package: The model's.
        requests: All of whose subjects are measured, in order.
        workers: Processes; 1 stays in this one; by default one per core.

    Raises:
        RunError: A process was killed.
    """
    jobs = [(request, index) for request in requests for index in range(request.subjects)]
    workers = workers or os.cpu_count() or 1
    if workers == 1 or not jobs:
        for request, index in jobs:
            yield _measure_simulated(package, request, index)
        return
    with ProcessPoolExecutor(workers, mp_context=SPAWN) as pool:
        try:
            with one_thread_each():
                pending = [pool.submit(_measure_simulated, package, *job) for job in jobs]
            for one in pending:
                yield one.result()
        except BrokenProcessPool:
            raise RunError("a process that calibrates was killed", hint="fewer workers") from None
        finally:
            pool.shutdown(cancel_futures=True)


def simulate_subject(request: StudyRequest, index: int) -> CalibrationSubject:
    """One subject of a request, with images, truth and input functions."""
    images, drawn = render_subject(request, index), draw_subject(request, index)
    edge = voxel_size(request)
    return CalibrationSubject(
        name=f"{request.purpose}-{index}",
        mixture_STYX=images.mixture,
        truth_SKTYX=images.tracers,
        labels_SYX=images.regions,
        region_names=region_names(request),
        voxel_mm=(edge, edge),
        inputs=SubjectInputs(
            time_I=input_time(request), plasma_KI=drawn.plasma, blood_KI=drawn.blood
        ),
    )


def _measure_simulated(package: Path, request: StudyRequest, index: int) -> Measured:
    return measure_subject(_opened(package), simulate_subject(request, index))


@functools.lru_cache(maxsize=1)
def _opened(package: Path) -> Model:
    return open_model(package)


def _stored_subjects(store: Store) -> Iterator[CalibrationSubject]:
    inputs = {} if lacks_inputs(store) else subject_inputs(store)
    for samples in store.subjects(SPLIT):
        name = str(samples.subject_N[0])
        if samples.tracers_NKTYX is not None:
            yield CalibrationSubject(
                name=name,
                mixture_STYX=samples.mixture_NTYX,
                truth_SKTYX=samples.tracers_NKTYX,
                labels_SYX=samples.regions_NYX,
                region_names=store.header.region_names,
                voxel_mm=store.header.voxel_size,
                inputs=inputs.get(name),
            )


def find_sources(facts: SeparatorFacts, workspace: Workspace) -> list[Source] | str:
    """What has the model's own pair and frames of what it was trained on; or why there is none.

    Simulated subjects are asked for with the truth, also where scans were the labels: that is what
    an interval is to hold.
    """
    lineage = facts.lineage
    digests = [lineage.store_digest, *filter(None, lineage.further_stores.split(","))]
    edges = facts.timing.frame_edges
    own = [
        (data, digest)
        for data, digest in zip(lineage.trained_on, digests, strict=False)
        if (data.tracers, data.frame_edges) == (facts.tracers, edges)
        and data.injection_time == facts.injection_time
    ]
    if not own:
        return "the package does not say what it was trained on"
    sources = []
    for data, digest in own:
        store = find_store(workspace, digest, lineage.store_path)
        try:
            sources.append(_source_of(store, data, facts))
        except InputError as error:
            return f"its training data cannot be simulated ({error.what})"
    return sources


def _source_of(store: Store | None, data: TrainingData, facts: SeparatorFacts) -> Source:
    """Where subjects like those of a store come from.

    Raises:
        InputError: The store is not here, and nothing like it can be simulated.
    """
    if store is not None and store.header.origin != "simulated":
        return Source(store=store)
    if store is not None:
        try:
            request = replace(request_of(store), purpose=PURPOSE, seed=0, labels="truth")
            return Source(request=request)
        except DtsinnError:
            pass  # its names mean nothing here; what the package says may do
    if not data.phantom or not data.noise or data.conditions not in ("", USUAL):
        raise InputError("the store is not here, and the package does not say enough of it")
    model, _, level = data.noise.rpartition(" ")
    request = StudyRequest(
        tracers=facts.tracers,
        protocol=facts.protocol,
        phantom=data.phantom,
        noise=level,
        noise_model=model or "image",
        population=data.population or StudyRequest.population,
        purpose=PURPOSE,
    )
    own = request.parts.protocol
    if (own.frame_edges, own.injection_time) != (data.frame_edges, data.injection_time):
        raise InputError(f"protocol {facts.protocol} has other frames here")
    return Source(request=request)
