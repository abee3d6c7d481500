"""Squeezes: exact inverses, norms kept, and each tracer's channels stay in their half."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtsinn.networks.squeezes import SQUEEZES


def image() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, 8, 10, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", SQUEEZES)
def test_a_squeeze_is_orthogonal(kind: str) -> None:
    squeeze, x = SQUEEZES[kind](), image()
    y = squeeze.forward(x)
    assert y.shape == (2, 24, 4, 5)
    torch.testing.assert_close(squeeze.inverse(y), x)
    torch.testing.assert_close(squeeze.forward(squeeze.inverse(y)), y)
    torch.testing.assert_close(y.norm(), x.norm())


@pytest.mark.parametrize("kind", SQUEEZES)
def test_halves_of_the_channels_stay_apart(kind: str) -> None:
    x = image()
    x[:, 3:] = 0
    y = SQUEEZES[kind]().forward(x)
    assert y[:, :12].any()
    assert not y[:, 12:].any()


def test_haar_gives_the_mean_of_four_pixels_first() -> None:
    x = image()
    means = torch.nn.functional.avg_pool2d(x, 2)
    torch.testing.assert_close(SQUEEZES["haar"]().forward(x)[:, ::4], 2 * means)
