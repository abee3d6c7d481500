"""The floor of a cell: the linear map that every method is measured against.

A model brings the one that was fitted to its own training stores, which is the floor wherever pair
and protocol are those of the training. Everywhere else a linear map is fitted for the cell: to
simulated subjects that nothing else uses, or to the ``train`` subjects of a user's store.

Shape letters: N sample (slice), T frame, Y X pixel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from dtsinn.core.atomic import replace_file
from dtsinn.core.lock import hold_lock
from dtsinn.core.progress import Progress
from dtsinn.core.version import source_digest
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, StoreHeader, open_store
from dtsinn.deploy.onnx_graphs import InferenceGraph
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.novelty import novelty
from dtsinn.evaluation.score import Separate
from dtsinn.evaluation.suite import Cell, request_digest
from dtsinn.networks.closed_form import fit_linear
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.simulation.request import StudyRequest

SUBJECTS, SLICES = 16, 8
"""Of the study that a cell's floor is fitted to: with more it gains less than 0.2 dB (uncited;
measured on the demo's store)."""
PURPOSE = "floor"
"""Mixed into the seeds of that study, so that no suite and no training has its subjects."""
BATCH = 8
"""Slices at a time."""
WITH_MODEL, FOR_CELL = "with the model", "for this cell"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The floor of a cell, or why there is none."""

    network: LinearNetwork | None = None
    fitted: str = ""
    """:data:`WITH_MODEL` or :data:`FOR_CELL`."""
    reason: str = ""
    """Why there is none."""


def separate_with(network: LinearNetwork, header: StoreHeader) -> Separate:
    """The function that separates mixtures of a store with a linear map, in kBq/mL."""
    graph = InferenceGraph(network.frozen(), torch.tensor(header.protocol.frame_duration))

    def separate(mixture_NTYX: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(mixture_NTYX), BATCH)
            return np.concatenate([graph(part)[0].numpy() for part in parts])

    return separate


def find_floor(
    separators: Iterable[Separator],
    cell: Cell | None,
    store: Store,
    workspace: Workspace,
    progress: Progress,
    workers: int | None = None,
) -> Floor:
    """The floor of a cell.

    Args:
        separators: Those that are scored there, the most important one first.
        cell: A cell of a suite; None is a user's own store.
        store: The subjects of the cell.
        workspace: Where what is fitted for a cell is kept.
        progress: Told of simulations.
        workers: Processes that simulate; by default one per core.
    """
    for separator in separators:
        seen = novelty(separator.info, store.header)
        if separator.floor is not None and seen.pair == seen.protocol == "as trained":
            return Floor(network=separator.floor, fitted=WITH_MODEL)

    def fit(fitted_to: Store) -> LinearNetwork:
        return fit_linear((fitted_to,), lambda done, of: progress("fitting the floor", done, of))

    if cell is not None and cell.request is not None:
        request = dataclasses.replace(
            cell.request, subjects=SUBJECTS, slices=SLICES, purpose=PURPOSE
        )
        path = workspace.suites / f"{request_digest(request)}-{PURPOSE}.safetensors"
        return _keep(path, lambda: _fit_to_study(request, path, fit, progress, workers))
    if not store.subject_count("train"):
        return Floor(reason="the store has no train subject to fit it to")
    made_of = f"{store.header.digest} {source_digest()}"
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:24]
    return _keep(workspace.suites / f"{digest}-{PURPOSE}.safetensors", lambda: fit(store))


def _fit_to_study(
    request: StudyRequest,
    path: Path,
    fit: Callable[[Store], LinearNetwork],
    progress: Progress,
    workers: int | None,
) -> LinearNetwork:
    """Fit to a study that is simulated beside ``path`` for it, and gone afterwards."""
    from dtsinn.simulation.study import simulate_study  # here: not every evaluation simulates

    study = path.with_suffix(".zarr")
    shutil.rmtree(study, ignore_errors=True)
    simulate_study(request, str(study), workers=workers, progress=progress, splits={"train": 1.0})
    try:
        return fit(open_store(str(study), need_truth=True))
    finally:
        shutil.rmtree(study)


def _keep(path: Path, fit: Callable[[], LinearNetwork]) -> Floor:
    """The map that the file ``path`` holds; a missing or damaged one is fitted again."""
    with hold_lock(path.with_suffix(".lock")):  # two evaluations at once fit it once
        network = _read(path)
        if network is None:
            network = fit()
            replace_file(path, safetensors.torch.save(network.state_dict()))
    return Floor(network=network, fitted=FOR_CELL)


def _read(path: Path) -> LinearNetwork | None:
    try:
        weights = safetensors.torch.load(path.read_bytes())
        network = LinearNetwork(next(iter(weights.values())).shape[1], LinearConfig())
        network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError, ValueError, LookupError, StopIteration):
        return None
    return network
