"""The conformance test of loss terms.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtsinn.core.protocol import protocol_of_frames
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.testing.require import drawn, redraw, require
from dtsinn.training.loss_term import LossBatch, LossTerm, loss_timing
from dtsinn.training.losses import LossConfig

PROTOCOL = protocol_of_frames("four", [0, 60, 120, 300], [60.0, 60.0, 180.0, 600.0], [0, 100])
PERFECT = 1e-5
"""Largest value for a perfect answer: SSIM is computed with rounding (uncited)."""


def check_loss(term: type[LossTerm]) -> None:
    """Try what :class:`dtsinn.training.loss_term.LossTerm` promises.

    Args:
        term: The class; it need not be in the dictionary.

    Raises:
        AssertionError: A promise does not hold.
    """
    name, config = term.__name__, LossConfig()
    require(issubclass(term, LossTerm), f"{name} inherits from LossTerm")
    network = build_network(InvertibleConfig(width=4, depth=3), PROTOCOL.frames).double()

    def value(tracers_BKTYX: Tensor, mixture_BTYX: Tensor) -> Tensor:
        timing = loss_timing(PROTOCOL, "cpu")
        batch = LossBatch(
            network=network,
            mixture_BTYX=mixture_BTYX,
            tracers_BKTYX=tracers_BKTYX,
            timing=timing,
        )
        return term.value(batch, config)

    half_BTYX = drawn(2, PROTOCOL.frames, 16, 16)
    twins_BKTYX = torch.stack((half_BTYX, half_BTYX), dim=1)
    perfect = value(twins_BKTYX, 2 * half_BTYX)  # a network's start is an equal split
    require(perfect.shape == (), f"{name}: its value is one number")
    require(abs(float(perfect.detach())) < PERFECT, f"{name}: a perfect answer costs nothing")

    redraw(network)
    # Negative too, so that no term is spared.
    truth_BKTYX = drawn(2, 2, PROTOCOL.frames, 16, 16) - 0.1
    found = value(truth_BKTYX, truth_BKTYX.sum(dim=1))
    again = value(truth_BKTYX, truth_BKTYX.sum(dim=1))
    require(float(found.detach()) > PERFECT, f"{name}: a wrong answer costs something")
    require(torch.equal(found, again), f"{name}: the same batch costs the same every time")
    gradient = _gradient(network, found)
    require(bool(torch.isfinite(gradient).all()), f"{name}: its gradient is finite")
    require(bool(gradient.any()), f"{name}: it teaches the network something")

    empty = value(torch.zeros_like(truth_BKTYX), torch.zeros_like(half_BTYX))
    require(bool(torch.isfinite(empty)), f"{name}: an empty sample costs a finite amount")
    gradient = _gradient(network, empty)
    require(bool(torch.isfinite(gradient).all()), f"{name}: so is its gradient")


def _gradient(network: torch.nn.Module, value: Tensor) -> Tensor:
    """All gradients in one row; zero where the value does not depend on the network."""
    parameters = list(network.parameters())
    if not value.requires_grad:
        return torch.zeros(1)
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([part.flatten() for part in found if part is not None])
