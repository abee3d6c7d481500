"""How much memory a training will take, estimated before it starts.

Activations grow with the pixels of a batch and with nothing else that changes in a training, so
one step on a small slice and one on a larger slice give what a step on any slice takes.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dtsinn.networks.conditioning import FEATURES
from dtsinn.training.config import RunConfig
from dtsinn.training.loss_term import LossTiming
from dtsinn.training.losses import loss_passes, total
from dtsinn.training.state import TrainingState

SIDES = (32, 64)
"""Sides of the slices that are tried, pixels: large enough for every network to pad nothing."""
MOMENTS = 2
"""Numbers that AdamW keeps of each weight."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that a training has allocated at its peak, without torch itself and the data."""

    parameters: int
    """Number of trainable parameters."""
    weights: int
    """Bytes of weights, gradients, the optimiser's moments, and copies that are kept."""
    activations: int
    """Bytes that one step takes beside them."""

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.activations


def footprint(config: RunConfig, frames: int, size: tuple[int, int]) -> Footprint:
    """What a training of ``config`` takes; a step on a small slice is taken to find out.

    Args:
        config: Of the run; its largest batch counts.
        frames: T.
        size: Y and X of the slices.

    Raises:
        InputError: The model is no network, or the loss asks of it what it has not.
    """
    state = TrainingState(config, frames)
    parameters = [p for p in state.network.parameters() if p.requires_grad]
    state.network.train()
    near, far = (_step(state, frames, side) for side in SIDES)
    slope = (far - near) / (SIDES[1] ** 2 - SIDES[0] ** 2)
    step = state.network.divisor
    height, width = (-(-side // step) * step for side in size)  # as the training pads them
    batch = max(config.batch, config.batch_end)
    numbers = sum(p.numel() for p in parameters)
    held = sum(p.nbytes for p in parameters)
    copies = 1 + (state.average is not None)  # the best weights, and the running average
    return Footprint(
        parameters=numbers,
        weights=held * (2 + MOMENTS + copies),
        activations=max(0, round(batch * (near + slope * (height * width - SIDES[0] ** 2)))),
    )


def _step(state: TrainingState, frames: int, side: int) -> int:
    """The most bytes that a step on one slice has allocated at a time, beside the gradients."""
    generator = torch.Generator().manual_seed(0)
    tracers_BKTYX = torch.rand(1, 2, frames, side, side, generator=generator)
    timing = LossTiming(
        duration_T=torch.ones(frames), scored_KT=torch.ones(2, frames, dtype=torch.bool)
    )
    network = state.network
    network.condition_on(torch.zeros(frames, FEATURES))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    mixture_BTYX = tracers_BKTYX.sum(dim=1).contiguous(memory_format=torch.channels_last)
    loss = replace(state.config.loss, ramp=0.0)  # all terms at once, as at the training's end
    with _Live() as live:
        for terms in loss_passes(network, mixture_BTYX, tracers_BKTYX, timing, loss, 0.0):
            total(terms).backward()  # type: ignore[no-untyped-call]
            del terms
    most: int = live.most
    return most


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that were made within it and are still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {
            tensor.untyped_storage()._cdata
            for tensor in tree_leaves((args, kwargs))
            if isinstance(tensor, Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage(), before)
        return out

    def _see(self, storage: torch.UntypedStorage, before: set[int]) -> None:
        key = storage._cdata
        if key in before or key in self._known:
            return
        self._known.add(key)
        self.held += storage.nbytes()
        self.most = max(self.most, self.held)
        weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size
