"""The trained methods of the comparison: how each is made, and what its learning rate may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import published
from benchmarks.rivals import ResidualCNN
from benchmarks.training import Learner
from dtsinn.data.store import Store
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleSeparator, ModelConfig
from dtsinn.networks.normalisation import sample_scale
from dtsinn.training.config import RunConfig, load_run_config
from dtsinn.training.loop import learning_rate
from dtsinn.training.losses import LossConfig, forward_loss, loss_terms, total

PUBLISHED = "published recipe"
TAMED = "published architecture, exact"
CNN = "plain residual CNN"
SEPARATOR = "dtsinn default"


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to train."""

    name: str
    make: Callable[[Store, int, float], Learner]
    """Store, seed and peak learning rate -> a fresh learner."""
    rate: float
    """Learning rate where it is not tuned."""
    grid: tuple[float, ...] = ()
    """Learning rates that tuning begins with; none means that ``rate`` stands."""


def all_methods() -> list[Method]:
    """The methods in the order in which tables show them."""
    config = load_run_config("default")
    exact = replace(
        config,
        model=replace(published.ARCHITECTURE, start="tame"),
        loss=LossConfig(),
    )
    return [
        Method(name=PUBLISHED, make=published_learner, rate=published.LEARNING_RATE),
        Method(
            name=TAMED,
            make=partial(separator_learner, config=exact),
            rate=1e-3,
            grid=(1e-3, 2e-3),
        ),
        Method(
            name=CNN,
            make=partial(rival_learner, config=config),
            rate=2e-3,
            grid=(1e-3, 2e-3),
        ),
        Method(
            name=SEPARATOR,
            make=partial(separator_learner, config=config),
            rate=config.optimizer.learning_rate,
        ),
    ]


def published_learner(
    store: Store, seed: int, rate: float, model: ModelConfig = published.ARCHITECTURE
) -> Learner:
    """The published recipe: Adam, halved at the published epochs, no clipping."""
    network = published.PublishedNetwork(store.header.protocol.frames, seed, model)
    samples = int((store.split_N == "train").sum())

    def halved(step: int, steps: int) -> float:
        return rate * 0.5 ** sum(step // samples >= epoch for epoch in published.MILESTONES)

    moved = _channels_last(network)
    return Learner(
        network=moved,
        optimizer=torch.optim.Adam(moved.parameters(), lr=rate),
        scale=published.published_scale,
        loss=partial(published.published_loss, network),
        rate=halved,
        augmentation=RunConfig().augmentation,
        clip=None,
        seed=seed,
    )


def separator_learner(store: Store, seed: int, rate: float, config: RunConfig) -> Learner:
    """A separator of ``config``, trained as ``dtsinn train`` does."""
    network = build_network(config.model, store.header.protocol.frames, seed)
    duration_T = _durations(store)

    def loss(mixture_BTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
        assert isinstance(network, InvertibleSeparator)  # noqa: S101 (for the type checker)
        return total(loss_terms(network, mixture_BTYX, tracers_BKTYX, duration_T, config.loss))

    return _standard_learner(store, seed, rate, config, network, loss)


def rival_learner(store: Store, seed: int, rate: float, config: RunConfig) -> Learner:
    """The plain CNN with the forward loss; optimiser and augmentation as in ``config``."""
    network = ResidualCNN(store.header.protocol.frames, seed)

    def loss(mixture_BTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
        return forward_loss(network(mixture_BTYX), tracers_BKTYX)

    return _standard_learner(store, seed, rate, config, network, loss)


def _standard_learner(
    store: Store,
    seed: int,
    rate: float,
    config: RunConfig,
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Learner:
    moved = _channels_last(network)
    optimizer = replace(config.optimizer, learning_rate=rate)
    duration_T = _durations(store)
    return Learner(
        network=moved,
        optimizer=torch.optim.AdamW(
            moved.parameters(), lr=rate, weight_decay=optimizer.weight_decay
        ),
        scale=lambda mixture_BTYX: sample_scale(mixture_BTYX, duration_T),
        loss=loss,
        rate=lambda step, steps: learning_rate(optimizer, step, steps),
        augmentation=config.augmentation,
        clip=optimizer.clip,
        seed=seed,
    )


def _channels_last(network: nn.Module) -> nn.Module:
    moved: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def _durations(store: Store) -> Tensor:
    return torch.tensor(store.header.protocol.frame_duration)
