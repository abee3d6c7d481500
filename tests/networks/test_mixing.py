"""Invertible 1x1 convolutions: identity at zero, inverse, and the frozen form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dtsinn.networks.mixing import LOG_BOUND, MIXINGS, LUMixing, OrthogonalMixing

CHANNELS = 6


def drawn(kind: str, sd: float) -> LUMixing | OrthogonalMixing:
    mixing = MIXINGS[kind](CHANNELS).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.normal_(0, sd, generator=generator)
    assert isinstance(mixing, LUMixing | OrthogonalMixing)
    return mixing


def image(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, CHANNELS, 4, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", MIXINGS)
def test_every_kind_starts_as_the_identity(kind: str) -> None:
    x = image()
    mixing = MIXINGS[kind](CHANNELS).double()
    assert torch.equal(mixing(x), x)
    assert torch.equal(mixing.inverse(x), x)
    assert torch.equal(mixing.frozen()(x), x)


@pytest.mark.parametrize("sd", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("kind", ["lu", "orthogonal"])
@torch.no_grad()
def test_inverse_and_frozen_agree_with_the_weight(kind: str, sd: float) -> None:
    mixing = drawn(kind, sd)
    x = image()
    y = torch.einsum("oc,bcyx->boyx", mixing.weight(), x)
    for each in (mixing, mixing.frozen()):
        torch.testing.assert_close(each(x), y)
        torch.testing.assert_close(each.inverse(y), x)
    assert (y - x).norm() > sd / 10


def test_lu_is_invertible_whatever_the_parameters() -> None:
    mixing = drawn("lu", 1.0)
    assert isinstance(mixing, LUMixing)
    determinant = torch.linalg.det(mixing.weight())
    log_diagonal = LOG_BOUND * torch.tanh(mixing.packed.diagonal() / LOG_BOUND)
    torch.testing.assert_close(determinant, log_diagonal.sum().exp())


def test_a_rotation_keeps_norms() -> None:
    x = image()
    torch.testing.assert_close(drawn("orthogonal", 1.0)(x).norm(dim=1), x.norm(dim=1))


@pytest.mark.parametrize("kind", ["lu", "orthogonal"])
def test_frozen_has_nothing_to_train(kind: str) -> None:
    assert not list(drawn(kind, 0.1).frozen().parameters())
