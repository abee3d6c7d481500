"""The published recipe as a method: its own network, loss, scale and optimiser, no search.

Shape letters: B batch, K tracer (2), T frame, N sample, Y X pixel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks import published
from benchmarks.quality.method import (
    STEPS_OF_ROUND,
    Cost,
    Fitted,
    Method,
    Parameters,
    Plan,
    Round,
    cost_of,
)
from dtsinn.core.config import from_mapping
from dtsinn.data.augmentation import augment
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store
from dtsinn.evaluation.score import psnr_of_subjects
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.normalisation import per_sample
from dtsinn.training.config import RunConfig
from dtsinn.training.validation import BATCH

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RecipeMethod(Method):
    """Adam, its learning rate halved at the published epochs, no clipping, no warm-up."""

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        return {
            "architecture": asdict(published.ARCHITECTURE),
            "learning_rate": published.LEARNING_RATE,
        }

    def rounds(self, store: Store, settings: Mapping[str, Any]) -> Iterator[Round]:
        """Rounds of training, timed."""
        learner = _Learner(store, settings, seed=0)
        learner.steps(1)
        first = next(store.subjects("val"))
        while True:
            begun = time.process_time()
            learner.steps(STEPS_OF_ROUND)
            between = time.process_time()
            learner.separate(first.mixture_NTYX)
            one = time.process_time() - between
            yield Round(steps=between - begun, one=one, two=2 * one)

    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Train; the last weights stand, as published."""
        begun = time.process_time()
        learner = _Learner(store, settings, seed)
        learner.steps(plan.steps)
        seconds = time.process_time() - begun
        psnr = np.array(list(psnr_of_subjects(learner.separate, store, "val").values()))
        if not np.isfinite(psnr).all():
            return Fitted(separate=None, cpu_seconds=seconds)
        return Fitted(
            separate=lambda samples: learner.separate(samples.mixture_NTYX),
            cpu_seconds=seconds,
            val_psnr=float(psnr.mean()),
            round_trip_error=max(
                learner.round_trip_error(samples.mixture_NTYX) for samples in store.subjects("val")
            ),
        )

    def cost(self, store: Store, settings: Mapping[str, Any]) -> Cost:
        """Size and work."""
        network = _network(store, settings, seed=0)
        return cost_of(
            network,
            lambda mixture, tracers: published.published_loss(network, mixture, tracers),
            store,
        )


class _Learner:
    """The network on its way through the ``train`` samples."""

    def __init__(self, store: Store, settings: Mapping[str, Any], seed: int) -> None:
        self.network = _network(store, settings, seed)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.rate = settings["learning_rate"]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.rate)
        self.samples = int((store.split_N == "train").sum())
        self.stream = batches(store, Reading(seed=seed), 1)
        self.augmentation = RunConfig().augmentation
        self.seed, self.done = seed, 0

    def steps(self, number: int) -> None:
        """Train for a number of steps."""
        for _ in range(number):
            batch = next(self.stream)
            mixture_BTYX, tracers_BKTYX = augment(
                batch, None, self.augmentation, self.seed, self.done
            )
            scale_B = published.published_scale(mixture_BTYX)
            mixture_BTYX = mixture_BTYX / per_sample(scale_B, mixture_BTYX)
            tracers_BKTYX = tracers_BKTYX / per_sample(scale_B, tracers_BKTYX)
            epoch = self.done // self.samples
            for group in self.optimizer.param_groups:
                passed = sum(epoch >= milestone for milestone in published.MILESTONES)
                group["lr"] = self.rate * 0.5**passed
            self.optimizer.zero_grad(set_to_none=True)
            mixture_BTYX = mixture_BTYX.contiguous(memory_format=torch.channels_last)
            loss = published.published_loss(self.network, mixture_BTYX, tracers_BKTYX)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.done += 1

    def separate(self, mixture_NTYX: Floats) -> Floats:
        """Mixtures -> tracers [N, K, T, Y, X], both in kBq/mL."""
        parts = []
        for mixture_BTYX in torch.split(torch.from_numpy(mixture_NTYX), BATCH):
            images = mixture_BTYX.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                scale_B = published.published_scale(images)
                tracers_BKTYX: Tensor = self.network(images / per_sample(scale_B, images))
                parts.append((tracers_BKTYX * per_sample(scale_B, tracers_BKTYX)).numpy())
        return np.concatenate(parts)

    def round_trip_error(self, mixture_NTYX: Floats) -> float:
        """Relative error of the published reverse direction after the network."""
        mixture_BTYX = torch.from_numpy(mixture_NTYX)
        with torch.no_grad():
            scale_B = published.published_scale(mixture_BTYX)
            scaled = mixture_BTYX / per_sample(scale_B, mixture_BTYX)
            again = self.network.inverse(self.network(scaled))
        return float((again - scaled).norm() / scaled.norm())


def _network(store: Store, settings: Mapping[str, Any], seed: int) -> published.PublishedNetwork:
    config = from_mapping(InvertibleConfig, settings["architecture"], "published recipe")
    return published.PublishedNetwork(store.header.protocol.frames, seed, config)
