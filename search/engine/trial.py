"""One trial: what a Ray worker does. It trains, reports and checkpoints; it writes nowhere else.

Its checkpoints lie in the search's folder, so that whoever is started next in its place, by Ray
after a fault or by another driver, goes on from the last one, or anew where that is damaged.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import tune
from safetensors import SafetensorError

from dtsinn.core.clock import now_ms
from dtsinn.core.config import from_mapping
from dtsinn.core.errors import DivergedError, InputError, StoreError
from dtsinn.data.store import Store, open_store
from dtsinn.evaluation.kinetics import kinetic_metrics
from dtsinn.evaluation.metrics import psnr
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.build import METHODS
from dtsinn.networks.method import UntrainedMethod
from dtsinn.search.engine.cluster import Workers
from dtsinn.search.objective import OBJECTIVE
from dtsinn.training.config import RunConfig, apply_changes
from dtsinn.training.device import is_out_of_memory
from dtsinn.training.loop import Report, train_here
from dtsinn.training.state import TrainingState, latest_checkpoint

log = logging.getLogger(__name__)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""The disk is full, or as full as this user may make it."""


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """What all trials of a search share."""

    store: str
    """Path or URL, the same on every node."""
    base: dict[str, Any]
    """Run configuration that suggestions change."""
    trials: Path
    """Folder of the trials, the same on every node; each has one in it."""
    threads: int
    device: str
    workers: Workers | None = None
    """Processes that train each trial together; None is the trial's own process alone."""


def run_trial(config: dict[str, Any], plan: TrialPlan) -> None:
    """Train one suggestion, reporting to Ray Tune at every validation.

    What the configuration does wrong (divergence, a lost inverse, no memory) is reported as a
    ``reason``, an answer for the sampler. A full disk is reported as ``halt``. Everything else is
    a fault and raised.

    Args:
        config: ``trial``, its name, and ``suggestion``, by dotted key.
        plan: Of all trials.
    """
    torch.set_num_threads(plan.threads)
    try:
        _train(config["suggestion"], plan.trials / config["trial"], plan)
    except StoreError:
        raise  # no configuration is to blame for a damaged store
    except (DivergedError, InputError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        _answer(reason=str(error) or type(error).__name__)
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        _answer(halt=f"no space left for checkpoints in {plan.trials}")


def is_disk_full(error: Exception) -> bool:
    """Whether there is no space left; safetensors says so in words alone."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return True
    return any(os.strerror(number) in str(error) for number in NO_SPACE)


def _answer(**what: str) -> None:
    tune.report({"step": 0, "finished": False} | what)


def _train(suggestion: dict[str, Any], folder: Path, plan: TrialPlan) -> None:
    config = from_mapping(RunConfig, apply_changes(plan.base, suggestion), "suggestion")
    store = open_store(plan.store, need_truth=True)
    method = METHODS[config.model.kind]
    if issubclass(method, UntrainedMethod):
        scores = score_untrained(store, method(config.model)) | {"parameters": 0.0}
        tune.report(
            {"step": config.steps, "metrics": scores, "finished": True, "time_ms": now_ms()}
        )
        return
    state = resume_state(folder, plan.device)
    if state is None:
        state = TrainingState(config, store.header.protocol.frames, plan.device)
    parameters = float(sum(p.numel() for p in state.network.parameters()))
    # Closed at once when the trial is stopped: its workers stop then.
    with closing(_reports(store, state, folder, plan)) as reports:
        for report in reports:
            tune.report(
                {
                    "step": report.step,
                    "metrics": report.metrics | {"parameters": parameters},
                    "finished": report.finished,
                    "time_ms": report.time_ms,
                }
            )


def score_untrained(store: Store, method: UntrainedMethod) -> dict[str, float]:
    """What a trial reports of a method that learns nothing: as a validation of a network does.

    Raises:
        InputError: The store lacks what the method must know.
        StoreError: A chunk of the store is missing or damaged.
    """
    begun, separate, meter = time.monotonic(), method.on(store), SubjectMeter.of(store)
    found, measures = [], {}
    for samples in store.subjects("val"):
        predicted_NKTYX = separate(samples)
        found.append(psnr(samples, predicted_NKTYX, store.header.protocol))
        measured = meter.measure_judged(samples, predicted_NKTYX)
        measures[str(samples.subject_N[0])] = measured
    mean = float(np.mean(found))
    by_tracer = zip(store.header.tracers, np.mean(found, axis=0), strict=True)
    return {
        OBJECTIVE: mean,
        "val_psnr": mean,
        **{f"val_psnr_{tracer}": float(value) for tracer, value in by_tracer},
        **kinetic_metrics(measures, store.header.protocol),
        "seconds": time.monotonic() - begun,
    }


def resume_state(folder: Path, device: str) -> TrainingState | None:
    """The state of the last checkpoint; None without one, and of one that is damaged.

    That is no fault of the configuration: the trial begins anew, and says again what it said.
    """
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return None
    try:
        return TrainingState.load(checkpoint, device)
    except InputError as error:
        log.warning("the trial begins anew: %s", error)
        shutil.rmtree(checkpoint)
        return None


def _reports(
    store: Store, state: TrainingState, folder: Path, plan: TrialPlan
) -> Generator[Report]:
    """The trial's reports; each finds a checkpoint of its step in the folder."""
    if plan.workers is None:
        return train_here((store,), state, folder)
    from dtsinn.search.engine.parallel import train_in_parallel  # a second of Ray Train's imports

    return train_in_parallel((store,), state, folder, plan.workers)
