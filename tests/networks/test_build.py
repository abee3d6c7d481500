"""Building networks: configuration, seeds, shapes, and the frozen copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.networks.build import METHODS, build_network, kinds_with, parameter_count
from dtsinn.networks.coupling import NOTHING
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.mixing import FrozenMixing, LUMixing
from dtsinn.training.config import RunConfig

SMALL = InvertibleConfig(width=4, depth=3)


def same(a: InvertibleSeparator, b: InvertibleSeparator) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(p == q and torch.equal(x, y) for (p, x), (q, y) in pairs)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"kind": "u-net"}, "kind"),
        ({"subnet": "transformer"}, "subnet"),
        ({"start": "cold"}, "start"),
        ({"variables": "thirds"}, "variables"),
        ({"blocks": 0}, "blocks"),
        ({"blocks": 2.5}, "blocks"),
        ({"blocks": "2"}, "blocks"),
        ({"width": 0}, "width"),
        ({"depth": 1}, "depth"),
        ({"clamp": 0.0}, "clamp"),
        ({"clamp": 5.0}, "clamp"),
        ({"clamp": float("nan")}, "clamp"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(setting: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        from_mapping(InvertibleConfig, setting, "model")


def test_an_unknown_setting_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"got block; try blocks"):
        from_mapping(InvertibleConfig, {"block": 2}, "model")


def test_a_configuration_survives_its_plain_form() -> None:
    config = InvertibleConfig(blocks=3, subnet="dense", width=7, clamp=1.5, variables="zeros")
    assert from_mapping(InvertibleConfig, to_mapping(config), "model") == config


def test_every_kind_that_a_configuration_takes_can_be_built() -> None:
    for kind in kinds_with(has_weights=True):
        size = {"gradient": {"width": 4}, "closed form": {"ridge": 1e-4}}[METHODS[kind].learning]
        settings = {"model": {"kind": kind} | size}
        config = from_mapping(RunConfig, settings, "settings").model
        assert build_network(config, 3).config == config


@pytest.mark.parametrize("size", [(1, 1), (5, 9)])
@pytest.mark.parametrize("frames", [1, 3])
@torch.no_grad()
def test_shapes(frames: int, size: tuple[int, int]) -> None:
    network = build_network(SMALL, frames)
    tracers = network(torch.ones(2, frames, *size))
    assert tracers.shape == (2, 2, frames, *size)
    assert network.inverse(tracers).shape == (2, frames, *size)


def test_the_seed_alone_decides_the_weights() -> None:
    first, again, other = (build_network(SMALL, 3, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


def test_weights_do_not_depend_on_the_global_generator() -> None:
    first = build_network(SMALL, 3, seed=5)
    torch.rand(7)  # moves the global generator
    assert same(first, build_network(SMALL, 3, seed=5))


@torch.no_grad()
def test_halves_start_as_an_equal_split() -> None:
    network = build_network(SMALL, 3)
    m = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(m), torch.stack((m / 2, m / 2), dim=1))


@torch.no_grad()
def test_the_gain_of_a_coupling_stays_within_its_clamp() -> None:
    config = InvertibleConfig(width=4, depth=3, start="xavier", clamp=0.5, coupling="two-sided")
    network = build_network(config, 3)
    block = network.blocks[0]
    y1 = 1e3 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    log_gain = block.on_second(y1, NOTHING).gain.log()  # type: ignore[operator]
    assert log_gain.abs().max() <= 0.5 + 1e-6
    assert log_gain.abs().max() > 0.4


@torch.no_grad()
def test_samples_do_not_see_each_other() -> None:
    network = build_network(InvertibleConfig(width=4, depth=3, start="xavier"), 3).double()
    m = torch.rand(3, 3, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    alone = torch.cat([network(one[None]) for one in m])
    torch.testing.assert_close(network(m), alone)


def test_frozen_is_a_copy_that_computes_the_same() -> None:
    network = build_network(InvertibleConfig(width=4, depth=3, start="xavier"), 3).double()
    with torch.no_grad():
        for block in network.blocks:
            block.mixing.packed.fill_(0.1)  # type: ignore[union-attr, operator]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    frozen = network.frozen()
    m = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(frozen(m), network(m).detach())
    assert parameter_count(frozen) == 0
    assert not frozen.training
    assert all(isinstance(block.mixing, FrozenMixing) for block in frozen.blocks)
    assert all(isinstance(block.mixing, LUMixing) for block in network.blocks)
    assert network.training
    assert parameter_count(network) > 0
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def test_parameter_count_by_hand() -> None:
    # One block, T = 1: two mixings of 2x2; two subnets of 1x1, 3x3 and 1x1 convolutions, width 2.
    network = build_network(InvertibleConfig(blocks=1, width=2, depth=3), 1)
    assert parameter_count(network) == 2 * 4 + 2 * ((2 + 2) + (9 * 4 + 2) + (2 + 1))
    # Two 3x3 convolutions, whose last one gives gain and shift.
    scaled = InvertibleConfig(blocks=1, width=2, depth=2, subnet="residual", coupling="two-sided")
    assert parameter_count(build_network(scaled, 1)) == 2 * 4 + 2 * ((9 * 2 + 2) + (9 * 4 + 2))
    # As published: one mixing, three subnets with one output each.
    published = {"coupling": "one-sided", "shared_trunk": False, "last_mixing": False}
    config = replace(scaled, **published)  # type: ignore[arg-type]
    assert parameter_count(build_network(config, 1)) == 4 + 3 * ((9 * 2 + 2) + (9 * 2 + 1))
