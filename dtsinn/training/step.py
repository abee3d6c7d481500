"""One optimiser step: the gradients of its micro-batches, put together, then applied.

Shape letters: B batch, K tracer (2), T frame, Y X pixel, F feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from dtsinn.core.errors import DivergedError
from dtsinn.data.augmentation import augment, augment_labels
from dtsinn.data.store import Store
from dtsinn.deploy.package import features_of
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.networks.padding import pad_to_multiple
from dtsinn.training.feed import Part
from dtsinn.training.loss_term import LossTiming, loss_timing
from dtsinn.training.losses import loss_passes, total
from dtsinn.training.schedule import learning_rate
from dtsinn.training.state import TrainingState
from dtsinn.training.team import Team

GRADIENT = "gradient"
"""Name of the gradient's norm among the numbers that are checked."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a step must know of the store that it trains on."""

    timing: LossTiming
    features_TF: Tensor
    """Features of the protocol, for networks that are conditioned on it."""


def task_of(store: Store, device: torch.device) -> Task:
    """What a step must know of a store."""
    return Task(
        timing=loss_timing(store.header.protocol, device),
        features_TF=features_of(store.header).to(device),
    )


def take_step(
    state: TrainingState, task: Task, parts: Iterator[Part], team: Team
) -> dict[str, Tensor]:
    """Train on one step's micro-batches; the state moves on by one step.

    Args:
        state: Of the run.
        task: Of the store that the step trains on.
        parts: This process's micro-batches.
        team: The processes that share the step.

    Returns:
        The weighted loss terms, averaged over all micro-batches, and the gradient's norm before
        it was shortened; they are still on the device.
    """
    config, network, step = state.config, state.network, state.progress.step
    network.condition_on(task.features_TF)
    state.optimizer.zero_grad(set_to_none=True)
    terms: dict[str, Tensor] = {}
    for part in parts:
        for name, term in _gradients(state, task, part).items():
            terms[name] = terms[name] + term if name in terms else term
    terms = team.sum_gradients(network, terms)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.optimizer.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config.optimizer, step, config.steps)
    state.optimizer.step()
    state.average_weights()
    state.progress.step += 1
    return terms | {GRADIENT: norm}


def _gradients(state: TrainingState, task: Task, part: Part) -> dict[str, Tensor]:
    """Add the gradients of one micro-batch to the network's; returns its share of the terms."""
    config, timing = state.config, task.timing
    mixture_BTYX, tracers_BKTYX = (
        images.to(state.device)
        for images in augment(
            part.batch, part.partner, config.augmentation, config.seed, part.number
        )
    )
    regions_BYX = part.batch.get("regions")
    if regions_BYX is not None:
        moved = augment_labels(regions_BYX, config.augmentation, config.seed, part.number)
        regions_BYX = pad_to_multiple(moved.to(state.device), state.network.divisor)
    scale_B = sample_scale(mixture_BTYX, timing.duration_T)
    mixture_BTYX, tracers_BKTYX = (
        # What a network with squeezes cannot halve is padded with air, as it is in use.
        pad_to_multiple(images / per_sample(scale_B, images), state.network.divisor)
        for images in (mixture_BTYX, tracers_BKTYX)
    )
    passes = loss_passes(
        state.network,
        mixture_BTYX.contiguous(memory_format=torch.channels_last),
        _channels_last(tracers_BKTYX),
        timing,
        config.loss,
        state.progress.step / config.steps,
        regions_BYX,
    )
    found: dict[str, Tensor] = {}
    for terms in passes:
        shares = {name: term / config.accumulate for name, term in terms.items()}
        # Before the next pass begins, so that the activations of one alone are in memory.
        total(shares).backward()  # type: ignore[no-untyped-call]
        found |= {name: share.detach() for name, share in shares.items()}
    return found


def _channels_last(tracers_BKTYX: Tensor) -> Tensor:
    """The same, laid out in memory as networks answer: losses then read both in one order."""
    flat_BCYX = tracers_BKTYX.flatten(1, 2).contiguous(memory_format=torch.channels_last)
    return flat_BCYX.view(tracers_BKTYX.shape)


class FiniteGuard:
    """Refuses numbers of steps that are not finite; a check waits for the device."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, step: int, numbers: dict[str, Tensor]) -> None:
        """Keep the numbers of a step until the next check."""
        self._steps.append((step, numbers))

    def check(self) -> dict[str, float]:
        """Check the numbers of all steps since the last check; return those of the last step.

        Raises:
            DivergedError: One is not finite; it names the first, and its step.
        """
        tensors = list(chain.from_iterable(numbers.values() for _, numbers in self._steps))
        values = iter(torch.stack([tensor.detach() for tensor in tensors]).tolist())
        seen: dict[str, float] = {}
        for step, numbers in self._steps:
            seen = {name: next(values) for name in numbers}
            _check_finite(seen, step)
        self._steps.clear()
        return seen


def _check_finite(numbers: dict[str, float], step: int) -> None:
    for name, value in numbers.items():
        if not abs(value) < float("inf"):
            what = "the gradient's norm" if name == GRADIENT else f"the {name} loss"
            raise DivergedError(f"{what} is {value} at step {step}", hint="a lower learning rate")
