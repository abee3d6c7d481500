"""One trial: what a Ray worker does. It trains, reports and checkpoints; it writes nowhere else."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from dtsinn.core.config import from_mapping
from dtsinn.core.errors import DivergedError, InputError, RunError, StoreError
from dtsinn.data.store import open_store
from dtsinn.networks.config import SpectralConfig
from dtsinn.search.basis import score_basis
from dtsinn.search.parallel import Workers, train_in_parallel
from dtsinn.search.suggest import OBJECTIVE
from dtsinn.training.config import RunConfig, changed
from dtsinn.training.loop import Report, train
from dtsinn.training.state import TrainingState, latest_checkpoint


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """What all trials of a search share."""

    store: str
    """Path or URL, the same on every node."""
    base: dict[str, Any]
    """Run configuration that suggestions change."""
    threads: int
    device: str
    workers: Workers | None = None
    """Processes that train each trial together; None is the trial's own process alone."""


def run_trial(suggestion: dict[str, Any], plan: TrialPlan) -> None:
    """Train one suggestion (dotted keys), reporting to Ray Tune at every validation.

    What the configuration does wrong (divergence, a lost inverse, no memory) is reported as a
    ``reason``, an answer for the sampler. Everything else is a fault and raised.
    """
    torch.set_num_threads(plan.threads)
    try:
        _train(suggestion, plan)
    except StoreError:
        raise  # no configuration is to blame for a damaged store
    except (DivergedError, InputError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _is_out_of_memory(error):
            raise
        tune.report({OBJECTIVE: float("nan"), "step": 0, "finished": False, "reason": str(error)})


def _train(suggestion: dict[str, Any], plan: TrialPlan) -> None:
    config = from_mapping(RunConfig, changed(plan.base, suggestion), "suggestion")
    store = open_store(plan.store, need_truth=True)
    if isinstance(config.model, SpectralConfig):
        tune.report(score_basis(store, config.model) | {"step": config.steps, "finished": True})
        return
    state = _restored(plan) or TrainingState(config, store.header.protocol.frames, plan.device)
    if plan.workers is None:
        for report in train(store, state):
            with tempfile.TemporaryDirectory() as folder:
                state.write(Path(folder))
                _report(report, Path(folder))
        return
    run = Path(tune.get_context().get_trial_dir()) / "run"
    # Closed at once when the trial is stopped: its workers stop then.
    with closing(train_in_parallel((store,), state, run, plan.workers)) as reports:
        for report in reports:
            checkpoint = latest_checkpoint(run)
            if checkpoint is None:
                raise RunError(f"the workers left no checkpoint in {run}")
            _report(report, checkpoint)


def _report(report: Report, checkpoint: Path) -> None:
    tune.report(
        report.metrics | {"step": report.step, "finished": report.finished, "reason": ""},
        checkpoint=tune.Checkpoint.from_directory(str(checkpoint)),
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """On the CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _restored(plan: TrialPlan) -> TrainingState | None:
    """The state of the trial's last checkpoint, when Ray starts it again."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return TrainingState.load(Path(folder), plan.device)
