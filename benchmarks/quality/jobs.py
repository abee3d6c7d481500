"""Jobs: the pieces of work that the book records, and the process that does one."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.quality.budget import Plan
from benchmarks.quality.data import with_few, without_test
from benchmarks.quality.method import Fitted
from benchmarks.quality.methods import all_methods
from benchmarks.quality.networks import save_weights
from benchmarks.quality.scores import score
from dtsinn.core.errors import RunError
from dtsinn.data.store import open_store

Task = Literal["trial", "final", "few", "unseen"]
PLACES = ("store", "weights")
"""Fields that say where things lie: the job is the same wherever that is."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work.

    ``trial`` trains and validates, and cannot see the test subjects; ``final`` trains with another
    seed and scores them; ``few`` likewise, after training on few subjects; ``unseen`` scores what
    a final job left on the test subjects of another store.
    """

    task: Task
    method: str
    data: str
    """Name of the set."""
    number: int
    """Of the trial or seed, from 0."""
    seed: int
    settings: dict[str, Any]
    """Of the method."""
    parameters: dict[str, float] = field(default_factory=dict)
    """What the sampler drew."""
    plan: Plan
    store: str
    """Path."""
    digest: str
    """Of the store's content."""
    code: str
    """Digest of the code."""
    subjects: int | None = None
    """Training subjects; None is all."""
    weights: str = ""
    """File that a final job writes, and that ``unseen`` reads; none where empty."""
    of: str = ""
    """Key of the job that left the weights (unseen)."""

    @property
    def key(self) -> str:
        """Digest of everything that decides the result."""
        decisive = {name: value for name, value in asdict(self).items() if name not in PLACES}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]


def perform(job: Job) -> dict[str, Any]:
    """Do a job; plain data come back.

    Returns:
        ``val_psnr`` (None where the training diverged), ``cpu_seconds``, ``round_trip_error``
        and, unless it is a trial, ``test``: scores by subject.
    """
    torch.set_num_threads(1)
    method, store = all_methods()[job.method], open_store(job.store, need_truth=True)
    if job.task == "unseen":
        loaded = method.load(store, job.settings, Path(job.weights))
        return {"test": _scored(loaded, job)}
    seen = without_test(store)
    if job.subjects is not None:
        seen = with_few(seen, "train", job.subjects)
    fitted = method.fit(seen, job.settings, job.plan, job.seed)
    result: dict[str, Any] = {
        "val_psnr": _finite(fitted.val_psnr),
        "cpu_seconds": fitted.cpu_seconds,
        "round_trip_error": _finite(fitted.round_trip_error),
    }
    if job.task != "trial":
        result["test"] = _scored(fitted, job)
        if job.weights and fitted.weights:
            save_weights(fitted.weights, Path(job.weights))
    return result


def _scored(fitted: Fitted, job: Job) -> list[dict[str, Any]]:
    """Scores of the test subjects; none where the training diverged or an answer is not finite."""
    if fitted.separate is None:
        return []
    try:
        scores = score(fitted.separate, open_store(job.store, need_truth=True), "test")
    except RunError:
        return []
    return [asdict(one) for one in scores]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
