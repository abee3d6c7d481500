"""Invertible 1x1 convolutions: identity at zero, inverse, and the frozen form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtsinn.networks.mixing import FrozenMixing, LUMixing

CHANNELS = 6


def drawn(sd: float) -> LUMixing:
    mixing = LUMixing(CHANNELS).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.normal_(0, sd, generator=generator)
    return mixing


def image(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, CHANNELS, 4, 5, generator=generator, dtype=torch.float64)


def test_zero_parameters_are_the_identity() -> None:
    x = image()
    assert torch.equal(LUMixing(CHANNELS).double()(x), x)


@pytest.mark.parametrize("sd", [0.02, 0.2, 1.0])
@torch.no_grad()
def test_inverse_and_frozen_agree_with_the_weight(sd: float) -> None:
    mixing = drawn(sd)
    frozen = FrozenMixing(mixing)
    lower, upper = mixing.factors()
    x = image()
    y = torch.einsum("oc,bcyx->boyx", lower @ upper, x)
    for each in (mixing, frozen):
        torch.testing.assert_close(each(x), y)
        torch.testing.assert_close(each.inverse(y), x)
    assert (y - x).norm() > sd / 10


def test_the_weight_is_invertible_whatever_the_parameters() -> None:
    mixing = drawn(1.0)
    lower, upper = mixing.factors()
    determinant = torch.linalg.det(lower @ upper)
    torch.testing.assert_close(determinant, mixing.log_diagonal.sum().exp())


def test_frozen_has_nothing_to_train() -> None:
    assert not list(FrozenMixing(drawn(0.1)).parameters())
