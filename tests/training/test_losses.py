"""The loss: which terms run, with which weights, and what differentiating it teaches."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol, protocol_of_frames
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training.loss_term import LossTiming, loss_timing
from dtsinn.training.losses import MAIN, TERMS, LossConfig, loss_passes, total
from dtsinn.training.terms import backward_loss, consistency_loss, forward_loss

FRAMES = 5
PROTOCOL = protocol_of_frames(
    "five", [0, 60, 120, 240, 540], [60.0, 60.0, 120.0, 300.0, 600.0], [0, 100]
)
AUXILIARY = [name for name in TERMS if name != MAIN]
TIMING = loss_timing(PROTOCOL, "cpu")
EVERYTHING = LossConfig(**dict.fromkeys(AUXILIARY, 0.1))


class Counting(InvertibleSeparator):
    """It counts its runs in both directions."""

    runs = (0, 0)

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        self.runs = (self.runs[0] + 1, self.runs[1])
        return super().forward(mixture_BTYX)

    def inverse_channels(self, tracers_BKTYX: Tensor) -> Tensor:
        self.runs = (self.runs[0], self.runs[1] + 1)
        return super().inverse_channels(tracers_BKTYX)


class Kept:
    """A tensor that autograd keeps for the gradient."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Halving(SeparatorNetwork):
    """A network without an inverse."""

    def __init__(self) -> None:
        super().__init__(FRAMES, InvertibleConfig())
        self.part = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        return self.part * torch.stack((mixture_BTYX, mixture_BTYX), dim=1)


@pytest.fixture
def tracers() -> Tensor:
    return torch.rand(2, 2, FRAMES, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mixture(tracers: Tensor) -> Tensor:
    noise = torch.randn(2, FRAMES, 8, 8, generator=torch.Generator().manual_seed(3))
    return tracers.sum(dim=1) + 0.1 * noise


@pytest.fixture(params=["repeat", "halves", "zeros"])
def network(request: pytest.FixtureRequest) -> Counting:
    config = InvertibleConfig(variables=request.param, width=4, depth=3)
    network = Counting(FRAMES, config, 1)
    generator = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05, generator=generator)
    return network


def gradient(network: SeparatorNetwork, loss: Tensor) -> Tensor:
    found = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return torch.cat([part.flatten() for part in found if part is not None])


def passes(
    network: SeparatorNetwork, mixture: Tensor, tracers: Tensor, config: LossConfig, share: float
) -> list[dict[str, Tensor]]:
    return list(loss_passes(network, mixture, tracers, TIMING, config, share))


def test_a_term_without_weight_is_left_out(network, mixture, tracers) -> None:
    alone = LossConfig(forward=0.5, time_activity=0)
    (only,) = passes(network, mixture, tracers, alone, 0.0)
    assert list(only) == ["forward"]
    assert network.runs == (1, 0)
    assert torch.allclose(only["forward"], 0.5 * forward_loss(network(mixture), tracers))
    for name in AUXILIARY:
        both = passes(network, mixture, tracers, replace(alone, **{name: 0.1}), 0.0)
        assert {key for found in both for key in found} == {"forward", name}


def test_the_variance_is_that_of_the_truth_not_of_the_measurement(
    network, mixture, tracers
) -> None:
    config = LossConfig(forward=0.0, backward=1.0, consistency=1.0)
    first, _ = passes(network, mixture, tracers, config, 0.0)
    wanted = consistency_loss(network(mixture), mixture, tracers.sum(dim=1), TIMING.duration_T)
    assert torch.allclose(first["consistency"], wanted)


def test_a_term_is_proportional_to_its_weight(network, mixture, tracers) -> None:
    double = LossConfig(forward=2.0, **dict.fromkeys(AUXILIARY, 0.2))
    once, twice = (passes(network, mixture, tracers, c, 0.5) for c in (EVERYTHING, double))
    assert [list(found) for found in once] == [
        ["forward", "consistency", "structure", "time_activity", "non_negativity"],
        ["backward"],
    ]
    for found, more in zip(once, twice, strict=True):
        assert torch.allclose(total(more), 2 * total(found))
        assert torch.allclose(total(found), sum(found.values()))


def test_the_mixing_pass_waits_until_it_is_asked_for(network, mixture, tracers) -> None:
    iterator = loss_passes(network, mixture, tracers, TIMING, EVERYTHING, 0.5)
    next(iterator)
    assert network.runs == (1, 0)
    next(iterator)
    assert network.runs == (1, 1)
    assert list(iterator) == []


def test_nothing_of_the_first_pass_is_kept_for_the_second(network, mixture, tracers) -> None:
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Kept:
        saved = Kept(tensor)
        kept.add(saved)
        return saved

    iterator = loss_passes(network, mixture, tracers, TIMING, EVERYTHING, 0.5)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        first = next(iterator)
        assert len(kept) > 20
        total(first).backward()
        assert len(kept) == 0
        next(iterator)


def test_passes_one_after_the_other_give_the_gradient_of_their_sum(
    network, mixture, tracers
) -> None:
    at_once = gradient(
        network, sum(total(x) for x in passes(network, mixture, tracers, EVERYTHING, 0.5))
    )
    for found in loss_passes(network, mixture, tracers, TIMING, EVERYTHING, 0.5):
        total(found).backward()
    step_by_step = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    torch.testing.assert_close(torch.cat(step_by_step), at_once, rtol=1e-4, atol=1e-6)


def test_the_backward_direction_learns_from_true_tracers(network, mixture, tracers) -> None:
    loss = backward_loss(network, tracers, tracers.sum(dim=1))
    assert float(loss.detach()) > 1e-4
    assert float(gradient(network, loss).abs().max()) > 1e-4


def test_the_networks_own_output_teaches_nothing(network, mixture, tracers) -> None:
    """The published cycle: zero loss and zero gradient, whatever the network."""
    network, mixture, tracers = network.double(), mixture.double(), tracers.double()
    own, labels = (
        list(
            loss_passes(
                network,
                mixture,
                tracers,
                TIMING,
                LossConfig(backward=1.0, backward_target=target),
                0.0,
            )
        )[1]["backward"]
        for target in ("own", "mixture")
    )
    assert float(own.detach()) < 1e-20
    assert gradient(network, own).norm() < 1e-10 * gradient(network, labels).norm()


def test_the_backward_target_can_be_the_mixture(network, mixture, tracers) -> None:
    targets = {"sum": tracers.sum(dim=1), "mixture": mixture}
    for name, target in targets.items():
        config = LossConfig(forward=0.0, backward=1.0, backward_target=name, time_activity=0.0)
        (found,) = passes(network, mixture, tracers, config, 0.0)
        assert torch.allclose(found["backward"], backward_loss(network, tracers, target))
    assert network.runs[0] == 0


def test_a_network_without_an_inverse_has_no_backward_term(mixture, tracers) -> None:
    with pytest.raises(InputError, match="inverse"):
        passes(Halving(), mixture, tracers, LossConfig(backward=0.1), 0.0)
    without = replace(EVERYTHING, backward=0.0)  # type: ignore[call-arg]
    (found,) = passes(Halving(), mixture, tracers, without, 0.0)
    assert len(found) == 5


def test_auxiliary_weights_rise_over_the_ramp() -> None:
    config = replace(EVERYTHING, ramp=0.4)
    for share, part in ((0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)):
        weights = config.weights(share)
        assert weights["forward"] == 1.0
        assert [weights[name] for name in AUXILIARY] == pytest.approx([0.1 * part] * 5)
    assert EVERYTHING.weights(0.0) == EVERYTHING.weights(0.99)


def test_a_term_of_weight_zero_on_the_ramp_costs_nothing(network, mixture, tracers) -> None:
    (only,) = passes(network, mixture, tracers, replace(EVERYTHING, ramp=0.4), 0.0)
    assert list(only) == ["forward"]
    assert network.runs == (1, 0)


def test_frames_are_scored_from_the_injection_on() -> None:
    assert TIMING.scored_KT.tolist() == [[True] * 5, [False, False, True, True, True]]
    p1 = loss_timing(load_protocol("p1"), "cpu")
    assert p1.scored_KT.sum(dim=1).tolist() == [18, 12]
    assert float(p1.duration_T.sum()) == 5400


def test_the_unit_of_activity_is_the_scale(network, mixture, tracers) -> None:
    """Weights of frames and of durations count as ratios: seconds or minutes, all alike."""
    config = replace(EVERYTHING, frame_weights="variance")  # type: ignore[call-arg]
    minutes = LossTiming(duration_T=TIMING.duration_T / 60, scored_KT=TIMING.scored_KT)
    by_second, by_minute = (
        next(loss_passes(network, mixture, tracers, timing, config, 0.5))
        for timing in (TIMING, minutes)
    )
    for name, value in by_second.items():
        assert torch.allclose(value, by_minute[name], rtol=1e-4), name


@pytest.mark.parametrize(
    "settings",
    [
        {"forward": -1.0},
        {"forward": 0.0},
        {"backward": 1e9},
        {"structure": float("nan")},
        {"ramp": 1.5},
        {"forward": 0.0, "backward": 1.0, "ramp": 0.1},
        {"forward": 0.0, "backward": 1.0, "backward_target": "own"},
    ],
)
def test_impossible_weights_are_refused(settings) -> None:
    with pytest.raises(InputError, match="loss"):
        LossConfig(**settings)


def test_every_term_teaches(network, mixture, tracers) -> None:
    """None of them is constant in the weights, and all gradients are finite."""
    for name in AUXILIARY:
        config = replace(LossConfig(), **{name: 1.0})
        found = passes(network, mixture, tracers, config, 0.0)
        term = next(x[name] for x in found if name in x)
        change = gradient(network, term)
        assert torch.isfinite(change).all(), name
        assert float(change.norm()) > 1e-6, name


def test_an_empty_sample_costs_a_finite_amount() -> None:
    network = build_network(InvertibleConfig(width=4, depth=3), FRAMES, 1)
    empty = torch.zeros(1, FRAMES, 8, 8)
    truth = torch.zeros(1, 2, FRAMES, 8, 8)
    config = replace(EVERYTHING, frame_weights="variance")  # type: ignore[call-arg]
    for found in loss_passes(network, empty, truth, TIMING, config, 0.5):
        assert torch.isfinite(total(found))
        total(found).backward()
    for parameter in network.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
