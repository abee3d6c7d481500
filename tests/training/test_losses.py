"""Losses: zero where they should be, alive where the published ones are not."""

from __future__ import annotations

import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleSeparator, ModelConfig
from dtsinn.training.losses import (
    LossConfig,
    backward_loss,
    consistency_loss,
    forward_loss,
    loss_terms,
    total,
)

FRAMES = 5
DURATION = torch.tensor([60.0, 60.0, 120.0, 300.0, 600.0])


@pytest.fixture
def tracers() -> torch.Tensor:
    return torch.rand(2, 2, FRAMES, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["repeat", "halves", "zeros"])
def network(request: pytest.FixtureRequest) -> InvertibleSeparator:
    network = build_network(ModelConfig(variables=request.param, width=4, depth=2), FRAMES, 1)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05, generator=generator)
    return network


def test_a_perfect_answer_costs_nothing(tracers) -> None:
    assert float(forward_loss(tracers, tracers)) == 0
    assert float(consistency_loss(tracers, tracers.sum(dim=1), DURATION)) == pytest.approx(0)


def test_both_tracers_weigh_alike_whatever_their_activity(tracers) -> None:
    weak = tracers * torch.tensor([1.0, 0.01])[None, :, None, None, None]
    error = torch.rand(tracers.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    assert torch.allclose(
        forward_loss(tracers * (1 + error), tracers), forward_loss(weak * (1 + error), weak)
    )


def test_the_backward_direction_learns_from_true_tracers(network, tracers) -> None:
    loss = backward_loss(network, tracers, tracers.sum(dim=1))
    loss.backward()
    assert float(loss.detach()) > 1e-4
    assert max(float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None) > 1e-4


def test_the_networks_own_output_would_teach_nothing(network, tracers) -> None:
    network = network.double()
    mixture = tracers.sum(dim=1).double()
    loss = backward_loss(network, network(mixture), mixture)
    loss.backward()
    assert float(loss.detach()) < 1e-20
    assert max(float(p.grad.abs().max()) for p in network.parameters()) < 1e-10


def test_consistency_weighs_by_expected_variance(tracers) -> None:
    mixture = tracers.sum(dim=1)
    short, long = tracers.clone(), tracers.clone()
    short[:, 0, 0] += 0.1
    long[:, 0, -1] += 0.1
    assert consistency_loss(long, mixture, DURATION) > 3 * consistency_loss(
        short, mixture, DURATION
    )


def test_a_term_without_weight_is_left_out(network, tracers) -> None:
    mixture = tracers.sum(dim=1)
    terms = loss_terms(network, mixture, tracers, DURATION, LossConfig())
    assert list(terms) == ["forward"]
    config = LossConfig(forward=0.5, backward=0.2, consistency=0.1)
    terms = loss_terms(network, mixture, tracers, DURATION, config)
    assert set(terms) == {"forward", "backward", "consistency"}
    assert torch.allclose(total(terms), sum(terms.values()))
    assert torch.allclose(terms["forward"], 0.5 * forward_loss(network(mixture), tracers))


def test_the_backward_target_can_be_the_mixture(network, tracers) -> None:
    noisy = tracers.sum(dim=1) + 0.3
    by_sum = loss_terms(network, noisy, tracers, DURATION, LossConfig(backward=1.0))
    by_mixture = loss_terms(
        network, noisy, tracers, DURATION, LossConfig(backward=1.0, backward_target="mixture")
    )
    assert torch.allclose(by_sum["backward"], backward_loss(network, tracers, tracers.sum(dim=1)))
    assert torch.allclose(by_mixture["backward"], backward_loss(network, tracers, noisy))


@pytest.mark.parametrize("settings", [{"forward": -1.0}, {"forward": 0.0}, {"backward": 1e9}])
def test_impossible_weights_are_refused(settings) -> None:
    with pytest.raises(InputError, match="loss"):
        LossConfig(**settings)
