"""The training loop: steps until the next validation, then a report; again until the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtsinn.core.errors import DivergedError
from dtsinn.data.augmentation import augment
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.training.config import OptimizerConfig
from dtsinn.training.losses import loss_terms, total
from dtsinn.training.state import TrainingState
from dtsinn.training.validation import validate

FINITE_CHECK_EVERY = 25
"""Steps between looks at the loss; each look waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run says at a validation."""

    step: int
    steps: int
    """The whole budget."""
    metrics: dict[str, float]

    @property
    def finished(self) -> bool:
        """The budget is spent; nothing follows."""
        return self.step >= self.steps


def train(store: Store, state: TrainingState) -> Iterator[Report]:
    """Train ``state`` on the store's ``train`` samples; yield after each validation.

    The caller saves the state between two reports if it wants to. Stopping the iteration stops
    the training.

    Raises:
        DivergedError: The loss is not finite, or the inverse is lost.
        StoreError: A chunk of the store is missing or damaged.
    """
    config, progress = state.config, state.progress
    progress.store_digest = store.header.digest
    device = torch.device(state.device)
    duration_T = torch.tensor(store.header.protocol.frame_duration, device=device)
    reading = Reading(seed=config.seed, start=progress.step * config.batch)
    stream = batches(store, reading, config.batch)
    while progress.step < config.steps:
        meter, first = _Meter(), progress.step
        until = min(_next_multiple(progress.step, config.validate_every), config.steps)
        losses: dict[str, float] = {}
        while progress.step < until:
            batch = meter.next(stream)
            terms = _step(state, batch, duration_T)
            progress.step += 1
            if progress.step % FINITE_CHECK_EVERY == 0 or progress.step == until:
                losses = {name: float(term) for name, term in terms.items()}
                _check_finite(losses, progress.step)
        meter.steps_done()
        metrics = validate(store, state.network, device, config.round_trip_limit)
        state.keep_if_best(metrics["val_psnr"])
        wall, cpu = meter.elapsed()
        progress.seconds += wall
        progress.cpu_seconds += cpu
        metrics |= {f"loss_{name}": value for name, value in losses.items()}
        metrics |= {
            "best_psnr": progress.best_psnr,
            "learning_rate": learning_rate(config.optimizer, progress.step - 1, config.steps),
            "step_seconds": meter.stepping / (until - first),
            "waiting_for_data": meter.waited / meter.stepping,
            "seconds": progress.seconds,
            "cpu_seconds": progress.cpu_seconds,
        }
        yield Report(step=progress.step, steps=config.steps, metrics=metrics)


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero at ``steps``."""
    warm = min(1.0, (step + 1) / max(config.warm_up, 1))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def _step(state: TrainingState, batch: dict[str, Tensor], duration_T: Tensor) -> dict[str, Tensor]:
    """One optimiser step; returns its loss terms."""
    config, step = state.config, state.progress.step
    mixture_BTYX, tracers_BKTYX = augment(
        batch["mixture"], batch["tracers"], config.augmentation, config.seed, step
    )
    mixture_BTYX = mixture_BTYX.to(state.device)
    tracers_BKTYX = tracers_BKTYX.to(state.device)
    scale_B = sample_scale(mixture_BTYX, duration_T)
    mixture_BTYX = mixture_BTYX / per_sample(scale_B, mixture_BTYX)
    tracers_BKTYX = tracers_BKTYX / per_sample(scale_B, tracers_BKTYX)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config.optimizer, step, config.steps)
    state.optimizer.zero_grad(set_to_none=True)
    terms = loss_terms(
        state.network,
        mixture_BTYX.contiguous(memory_format=torch.channels_last),
        tracers_BKTYX,
        duration_T,
        config.loss,
    )
    total(terms).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.optimizer.clip)
    state.optimizer.step()
    return {name: term.detach() for name, term in terms.items()}


def _check_finite(terms: dict[str, float], step: int) -> None:
    for name, value in terms.items():
        if not np.isfinite(value):
            raise DivergedError(
                f"the {name} loss is {value} at step {step}", hint="a lower learning rate"
            )


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every


class _Meter:
    """Seconds of one stretch: all of it, its steps, and its waits for data."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.waited = 0.0
        self.stepping = 0.0

    def next(self, stream: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The next batch, with the wait for it on the clock."""
        begin = time.perf_counter()
        batch = next(stream)
        self.waited += time.perf_counter() - begin
        return batch

    def steps_done(self) -> None:
        """Close the steps' part; what follows is validation."""
        self.stepping = time.perf_counter() - self.wall

    def elapsed(self) -> tuple[float, float]:
        """Wall and process CPU seconds of the whole stretch."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu
