"""Laws of every network: inverse after forward, forward after inverse, decoder after encoder."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleSeparator, ModelConfig, round_trip_error
from dtsinn.networks.subnets import SUBNETS
from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS

FRAMES = 5
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-10}
KINDS = list(product(VARIABLE_AUGMENTATIONS, SUBNETS, ("tame", "xavier")))
TAIL_SD = 0.02


def make(variables: str, subnet: str, start: str, blocks: int) -> InvertibleSeparator:
    config = ModelConfig(
        blocks=blocks,
        subnet=subnet,  # type: ignore[arg-type]
        start=start,  # type: ignore[arg-type]
        variables=variables,  # type: ignore[arg-type]
        width=8,
        depth=3,
    )
    return build_network(config, FRAMES, seed=blocks)


def redraw(network: InvertibleSeparator, seed: int = 0) -> InvertibleSeparator:
    """Leave the identity: last convolutions and 1x1 convolutions of SD 0.02."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".tail." in name or ".mixing." in name:
                parameter.normal_(0, TAIL_SD, generator=generator)
    return network


def mixture(dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, FRAMES, 9, 12, generator=generator, dtype=torch.float64).to(dtype)


def tracers(dtype: torch.dtype, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, FRAMES, 9, 12, generator=generator, dtype=torch.float64).to(dtype)


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


def forward_channels(network: InvertibleSeparator, channels: Tensor) -> Tensor:
    for block in network.blocks:
        channels = block(channels)
    return channels


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("blocks", [1, 2, 8])
@pytest.mark.parametrize(("variables", "subnet", "start"), KINDS)
@torch.no_grad()
def test_redrawn_networks_invert_both_ways(
    variables: str, subnet: str, start: str, blocks: int, dtype: torch.dtype
) -> None:
    network = redraw(make(variables, subnet, start, blocks)).to(dtype)
    truth = tracers(dtype)
    for each in (network, network.frozen()):
        assert round_trip_error(each, mixture(dtype)) <= LIMITS[dtype]
        there = forward_channels(each, each.inverse_channels(truth))
        assert relative(there, truth.flatten(1, 2)) <= LIMITS[dtype]
    # The law would hold for the identity too: the network must be something else.
    assert relative(network(mixture(dtype)).flatten(1, 2), truth.flatten(1, 2)) > 0.1
    encoded = network.variables.encode(mixture(dtype))
    assert relative(network(mixture(dtype)).flatten(1, 2), encoded) > 1e-3


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("blocks", [1, 8])
@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("variables", VARIABLE_AUGMENTATIONS)
@torch.no_grad()
def test_tame_networks_start_as_their_encoder(
    variables: str, subnet: str, blocks: int, dtype: torch.dtype
) -> None:
    network = make(variables, subnet, "tame", blocks).to(dtype)
    m = mixture(dtype)
    assert torch.equal(network(m).flatten(1, 2), network.variables.encode(m))
    assert round_trip_error(network, m) <= LIMITS[dtype]
    truth = tracers(dtype)
    there = forward_channels(network, network.inverse_channels(truth))
    assert relative(there, truth.flatten(1, 2)) <= LIMITS[dtype]


@pytest.mark.parametrize("blocks", [1, 2, 8])
@pytest.mark.parametrize("subnet", SUBNETS)
@pytest.mark.parametrize("variables", VARIABLE_AUGMENTATIONS)
def test_xavier_networks_invert_at_their_own_start_in_double(
    variables: str, subnet: str, blocks: int
) -> None:
    # In float32 the published start loses the inverse at 8 blocks (up to 4e-2 relative).
    network = make(variables, subnet, "xavier", blocks).to(torch.float64)
    assert round_trip_error(network, mixture(torch.float64)) <= LIMITS[torch.float64]


@pytest.mark.parametrize("variables", VARIABLE_AUGMENTATIONS)
@torch.no_grad()
def test_the_inverse_decodes_to_the_mixture(variables: str) -> None:
    network = redraw(make(variables, "residual", "tame", 2)).to(torch.float64)
    m = mixture(torch.float64)
    channels = network.inverse_channels(network(m))
    assert relative(channels, network.variables.encode(m)) <= 1e-10
    assert relative(network.variables.decode(channels), m) <= 1e-10
    assert torch.equal(network.variables.decode(network.variables.encode(m)), m)


@pytest.mark.parametrize("subnet", SUBNETS)
def test_gradients_reach_every_weight_in_both_directions(subnet: str) -> None:
    for direction in ("forward", "inverse"):
        network = redraw(make("halves", subnet, "tame", 2))
        if direction == "forward":
            network(mixture(torch.float32)).square().sum().backward()
        else:
            network.inverse(tracers(torch.float32)).square().sum().backward()
        for name, parameter in network.named_parameters():
            gradient = parameter.grad
            assert gradient is not None, f"{direction} {name}"
            assert bool(torch.isfinite(gradient).all()), f"{direction} {name}"
            assert bool((gradient != 0).any()), f"{direction} {name}"
