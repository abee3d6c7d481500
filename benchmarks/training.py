"""One training loop for all methods, on a budget of process CPU seconds.

The loop repeats that of ``dtsinn.training`` step by step (a test holds the two together), but
takes any network, so that rivals get the same samples, augmentation, schedule and validation.
Shape letters: B batch, K tracer (2), T frame, N sample, Y X pixel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dtsinn.data.augmentation import AugmentationConfig, augment
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store
from dtsinn.evaluation.score import psnr_of_subjects
from dtsinn.networks.normalisation import per_sample
from dtsinn.training.validation import BATCH

VALIDATION_SHARE = 0.1
"""Part of the budget that validations may take."""
VALIDATIONS = 8
"""Most validations in a run."""
WARM_STEPS = 3
"""Steps before the clock of a calibration starts."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Learner:
    """A network and how it learns."""

    network: nn.Module
    """[B, T, Y, X] -> [B, K, T, Y, X], both in units of the scale."""
    optimizer: torch.optim.Optimizer
    scale: Callable[[Tensor], Tensor]
    """Mixtures in kBq/mL -> scales [B]."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Mixture and true tracers, in units of the scale -> what is minimised."""
    rate: Callable[[int, int], float]
    """Step and number of steps -> learning rate."""
    augmentation: AugmentationConfig
    clip: float | None
    """Largest norm of the gradient."""
    seed: int

    def step(self, batch: dict[str, Tensor], step: int, steps: int) -> None:
        """One optimiser step."""
        mixture_BTYX, tracers_BKTYX = augment(
            batch["mixture"], batch["tracers"], self.augmentation, self.seed, step
        )
        scale_B = self.scale(mixture_BTYX)
        mixture_BTYX = mixture_BTYX / per_sample(scale_B, mixture_BTYX)
        tracers_BKTYX = tracers_BKTYX / per_sample(scale_B, tracers_BKTYX)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step, steps)
        self.optimizer.zero_grad(set_to_none=True)
        mixture_BTYX = mixture_BTYX.contiguous(memory_format=torch.channels_last)
        self.loss(mixture_BTYX, tracers_BKTYX).backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimizer.step()

    def separate(self, mixture_NTYX: Floats) -> Floats:
        """Mixtures -> tracers [N, K, T, Y, X], both in kBq/mL."""
        parts = []
        for mixture_BTYX in torch.split(torch.from_numpy(mixture_NTYX), BATCH):
            images = mixture_BTYX.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                scale_B = self.scale(images)
                tracers_BKTYX = self.network(images / per_sample(scale_B, images))
                parts.append((tracers_BKTYX * per_sample(scale_B, tracers_BKTYX)).numpy())
        return np.concatenate(parts)

    def round_trip_error(self, mixture_NTYX: Floats) -> float | None:
        """Relative error of ``network.inverse`` after the network; None where it has none."""
        inverse = getattr(self.network, "inverse", None)
        if inverse is None:
            return None
        mixture_BTYX = torch.from_numpy(mixture_NTYX)
        with torch.no_grad():
            scaled = mixture_BTYX / per_sample(self.scale(mixture_BTYX), mixture_BTYX)
            again = inverse(self.network(scaled))
        return float((again - scaled).norm() / scaled.norm())


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a learner costs, in process CPU seconds."""

    step: float
    validation: float
    """Of all ``val`` subjects."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a budget is spent."""

    steps: int
    validations: int
    """At equal distances, the last one after the last step; 0 where the budget has no room for
    two: then the last weights stand, and they are validated when the clock has stopped."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of a training; the learner's network holds its best weights."""

    steps: int
    validations: int
    cpu_seconds: float
    val_psnr: float
    """Of the weights that were kept, dB; -inf where none gave finite answers."""


def mean_psnr(learner: Learner, store: Store, split: str) -> float:
    """Mean over subjects and tracers in dB; -inf where an answer is not finite."""
    psnr = np.array(list(psnr_of_subjects(learner.separate, store, split).values()))
    return float(psnr.mean()) if np.isfinite(psnr).all() else -np.inf


def calibrate(store: Store, learner: Learner, seconds: float) -> Speed:
    """Measure the learner for about ``seconds``; it has moved afterwards and is of no more use."""
    stream = batches(store, Reading(seed=learner.seed), 1)
    for step in range(WARM_STEPS):
        learner.step(next(stream), step, 10**6)
    begun, done = time.process_time(), 0
    while done < WARM_STEPS or time.process_time() - begun < seconds:
        learner.step(next(stream), WARM_STEPS + done, 10**6)
        done += 1
    step_seconds = (time.process_time() - begun) / done
    begun = time.process_time()
    learner.separate(next(store.subjects("val")).mixture_NTYX)
    one_subject = time.process_time() - begun
    return Speed(step=step_seconds, validation=one_subject * store.subject_count("val"))


def fastest(speeds: Sequence[Speed]) -> Speed:
    """The speed on a machine that does nothing else, from several calibrations."""
    return Speed(
        step=min(speed.step for speed in speeds),
        validation=min(speed.validation for speed in speeds),
    )


def plan(speed: Speed, seconds: float) -> Plan:
    """The number of steps and validations that fill ``seconds``."""
    fitting = int(VALIDATION_SHARE * seconds / speed.validation)
    validations = min(fitting, VALIDATIONS) if fitting > 1 else 0
    steps = round((seconds - validations * speed.validation) / speed.step)
    return Plan(steps=max(steps, validations, 1), validations=validations)


def train(store: Store, learner: Learner, plan: Plan) -> Trained:
    """Train on the ``train`` samples and keep the weights that were best on ``val``."""
    begun = time.process_time()
    stream = batches(store, Reading(seed=learner.seed), 1)
    stops = {round(plan.steps * (n + 1) / plan.validations) for n in range(plan.validations)}
    best, weights = -np.inf, _copy(learner.network)
    for step in range(plan.steps):
        learner.step(next(stream), step, plan.steps)
        if step + 1 in stops:
            psnr = mean_psnr(learner, store, "val")
            if psnr > best:
                best, weights = psnr, _copy(learner.network)
    seconds = time.process_time() - begun
    if stops:
        learner.network.load_state_dict(weights)
    else:
        best = mean_psnr(learner, store, "val")
    return Trained(
        steps=plan.steps, validations=len(stops), cpu_seconds=seconds, val_psnr=float(best)
    )


def _copy(network: nn.Module) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
