"""The block that loses the inverse is named."""

from __future__ import annotations

import pytest
import torch

from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.roundtrip import block_errors, worst_block


@pytest.fixture
def mixture() -> torch.Tensor:
    return torch.rand(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("squeeze", ["none", "none,haar"])
@pytest.mark.parametrize("place", [0, 1])
def test_the_spoilt_block_is_the_worst(mixture: torch.Tensor, squeeze: str, place: int) -> None:
    config = InvertibleConfig(blocks=3, width=4, depth=3, mixing="identity", squeeze=squeeze)
    network = build_network(config, 6)
    count = len(network.blocks)
    assert max(block_errors(network, mixture)) < 1e-5
    spoilt = place * (count - 1)
    with torch.no_grad():
        # A shift of a million leaves of a number of order one what float32 has beside it.
        network.blocks[spoilt].on_second.subnets["shift"].tail.bias.fill_(1e6)  # type: ignore[index, union-attr]
    worst = worst_block(network, mixture)
    assert str(worst) == f"block {spoilt + 1} of {count}"
    assert worst.error > 1e-3


def test_the_first_block_that_is_not_finite_is_to_blame(mixture: torch.Tensor) -> None:
    network = build_network(InvertibleConfig(blocks=4, width=4, depth=3), 6)
    with torch.no_grad():
        next(network.blocks[2].on_first.parameters()).fill_(torch.nan)
    assert str(worst_block(network, mixture)) == "block 3 of 4"
