"""bf16 subnets: in the gradient steps of a training only, close to float32, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.memory import Memory
from dtsinn.networks.subnets import SUBNETS

FRAMES = 4
TAIL_SD = 0.02
CLOSE = 2e-2
"""Largest relative difference of bf16 subnets from float32 ones; bf16 keeps 8 bits."""


def make(**settings: object) -> InvertibleSeparator:
    config = replace(InvertibleConfig(blocks=4, width=8, depth=4, coupling="two-sided"), **settings)  # type: ignore[arg-type]
    network = build_network(config, FRAMES, seed=1)
    assert isinstance(network, InvertibleSeparator)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".tail." in name:
                parameter.normal_(0, TAIL_SD, generator=generator)
    return network


def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    tracers = torch.rand(1, 2, FRAMES, 16, 16, generator=generator)
    return tracers.sum(dim=1), tracers


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def both_ways(network: InvertibleSeparator) -> Tensor:
    mixture, tracers = images()
    return torch.cat((network(mixture).flatten(), network.inverse_channels(tracers).flatten()))


def gradient(network: InvertibleSeparator) -> Tensor:
    network.zero_grad()
    mixture, tracers = images()
    (network(mixture) - tracers).square().mean().backward()
    (network.inverse(tracers) - mixture).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("shared", [False, True])
def test_training_is_close_and_different(subnet: str, shared: bool) -> None:
    network = make(subnet=subnet, shared_trunk=shared)
    exact, exact_gradient = both_ways(network).detach(), gradient(network)
    network.precision = "bf16"
    rounded = both_ways(network)
    assert rounded.dtype == torch.float32
    assert 0 < relative(rounded.detach(), exact) <= CLOSE
    assert 0 < relative(gradient(network), exact_gradient) <= 5 * CLOSE


def test_without_gradients_or_training_nothing_changes() -> None:
    network = make()
    exact = both_ways(network).detach()
    network.precision = "bf16"
    with torch.no_grad():
        assert torch.equal(both_ways(network), exact)
    network.eval()
    assert torch.equal(both_ways(network).detach(), exact)


def test_outside_the_subnets_nothing_changes() -> None:
    network = build_network(InvertibleConfig(blocks=4, width=8), FRAMES)  # subnets that say zero
    assert isinstance(network, InvertibleSeparator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".mixing." in name:
                parameter.fill_(0.05)
    exact = both_ways(network).detach()
    network.precision = "bf16"
    assert torch.equal(both_ways(network).detach(), exact)


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_what_is_computed_again_is_rounded_alike(memory: Memory) -> None:
    network = make()
    exact = gradient(network)
    network.precision = "bf16"
    plain = gradient(network)
    network.memory = memory
    saved = gradient(network)
    if memory == "checkpoint":
        assert torch.equal(saved, plain)
    else:  # an input that is recovered in float32 may round to another bf16 neighbour
        assert relative(saved, plain) < 0.5 * relative(exact, plain)
