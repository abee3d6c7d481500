"""What a network costs whatever the machine: parameters, floating-point operations, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dtsinn.data.store import Store
from tests.support.memory import MiB, peak_growth


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Size of a network and the work of one slice."""

    parameters: int
    forward_flop: int
    """Floating-point operations of separating a slice: those of convolutions and matrices."""
    step_flop: int
    """Of a training step on one slice, likewise."""
    peak_mib: float
    """Most memory that a training step on one slice takes beside weights and gradients, MiB."""


def cost_of(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], store: Store) -> Cost:
    """Count one forward pass and one training step on the first ``val`` slice's shape.

    Args:
        network: [B, T, Y, X] -> [B, K, T, Y, X].
        loss: Mixtures and tracers -> what is minimised.
        store: Says the shapes.
    """
    frames, size = store.header.protocol.frames, store.header.size
    generator = torch.Generator().manual_seed(0)
    tracers_BKTYX = torch.rand(1, 2, frames, *size, generator=generator)
    mixture_BTYX = tracers_BKTYX.sum(dim=1)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        network(mixture_BTYX)

    def step() -> None:
        loss(mixture_BTYX, tracers_BKTYX).backward()  # type: ignore[no-untyped-call]

    with FlopCounterMode(display=False) as both:
        step()  # leaves the gradients, so that they do not count below
    return Cost(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        forward_flop=forward.get_total_flops(),
        step_flop=both.get_total_flops(),
        peak_mib=peak_growth(step) / MiB,
    )
