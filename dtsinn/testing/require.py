"""How a conformance test says what does not hold."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

RANDOM = 7
"""Seed of the numbers that parts are tried on."""


def require(holds: bool, promise: str) -> None:
    """Fail unless a promise holds.

    Args:
        holds: Whether it does.
        promise: What should hold, as a sentence.

    Raises:
        AssertionError: It does not.
    """
    if not holds:
        raise AssertionError(promise)


def drawn(*shape: int) -> Tensor:
    """Numbers in [0, 1) of double precision, the same every time."""
    generator = torch.Generator().manual_seed(RANDOM)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def redraw(network: torch.nn.Module) -> None:
    """Draw all weights anew, so that nothing is zero as at the start of a training."""
    generator = torch.Generator().manual_seed(RANDOM)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.05, generator=generator)


def own_random() -> AbstractContextManager[None]:
    """Within it torch's global generator may be moved; it is put back afterwards."""
    return torch.random.fork_rng(devices=[])
