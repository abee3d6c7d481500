"""Subnets: shapes, the tame start, and that every pixel is treated alike."""

from __future__ import annotations

import pytest
import torch

from dtsinn.networks.subnets import SUBNETS, draw_start


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("kind", SUBNETS)
def test_shape_and_number_of_convolutions(kind: str, depth: int) -> None:
    subnet = SUBNETS[kind](3, 4, 5, depth)
    assert subnet(torch.ones(2, 3, 7, 8)).shape == (2, 4, 7, 8)
    if kind in {"residual", "bottleneck", "dense", "multiscale"}:
        assert sum(isinstance(m, torch.nn.Conv2d) for m in subnet.modules()) == depth


@pytest.mark.parametrize("kind", SUBNETS)
def test_a_tame_start_puts_out_zero_and_can_learn(kind: str) -> None:
    subnet = SUBNETS[kind](3, 4, 5, 3)
    draw_start(subnet, "tame", generator())
    x = torch.randn(1, 3, 7, 8, generator=generator(1))
    out = subnet(x)
    assert not out.any()
    (out - 1).square().sum().backward()
    assert subnet.tail.weight.grad is not None
    assert subnet.tail.weight.grad.any()


@pytest.mark.parametrize("kind", SUBNETS)
def test_a_xavier_start_does_not(kind: str) -> None:
    subnet = SUBNETS[kind](3, 4, 5, 3)
    draw_start(subnet, "xavier", generator())
    assert subnet(torch.randn(1, 3, 7, 8, generator=generator(1))).std() > 0.1


@pytest.mark.parametrize("kind", SUBNETS)
@torch.no_grad()
def test_away_from_the_border_a_shift_goes_through(kind: str) -> None:
    subnet = SUBNETS[kind](2, 2, 4, 3).double()
    draw_start(subnet, "xavier", generator())
    x = torch.zeros(1, 2, 64, 64, dtype=torch.float64)
    x[:, :, 31, 31] = 1.0
    by = (4, 4) if kind == "unet" else (1, 2)  # a quarter of the resolution has a coarse grid
    shifted = subnet(x.roll(by, dims=(2, 3)))
    torch.testing.assert_close(shifted, subnet(x).roll(by, dims=(2, 3)))


@pytest.mark.parametrize("kind", SUBNETS)
@torch.no_grad()
def test_a_film_scales_and_shifts_and_nothing_is_no_film(kind: str) -> None:
    subnet = SUBNETS[kind](3, 4, 5, 3)
    draw_start(subnet, "xavier", generator())
    x = torch.randn(1, 3, 8, 8, generator=generator(1))
    torch.testing.assert_close(subnet(x, torch.zeros(2, 5)), subnet(x))
    assert not torch.allclose(subnet(x, torch.ones(2, 5)), subnet(x))


@pytest.mark.parametrize("start", ["tame", "xavier"])
@pytest.mark.parametrize("kind", SUBNETS)
def test_the_start_is_that_of_its_generator(kind: str, start: str) -> None:
    first, same, other = (SUBNETS[kind](3, 4, 5, 3) for _ in range(3))
    for subnet, seed in ((first, 0), (same, 0), (other, 1)):
        draw_start(subnet, start, generator(seed))
    pairs = list(zip(first.state_dict().values(), same.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    others = list(zip(first.state_dict().values(), other.state_dict().values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in others)
