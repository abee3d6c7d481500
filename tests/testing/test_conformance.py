"""Every network, loss term and sampler of dtsinn keeps its contract, and what breaks one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from optuna.samplers import BaseSampler, RandomSampler
from torch import Tensor, nn

from dtsinn.networks.build import METHODS, kinds_with
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.method import MethodConfig, UntrainedMethod
from dtsinn.networks.rivals.temporal import TemporalConfig, TemporalNetwork
from dtsinn.search.sampling.samplers import SAMPLERS, Sampler
from dtsinn.testing import check_export, check_loss, check_network, check_sampler
from dtsinn.training.loss_term import LossBatch, LossTerm
from dtsinn.training.losses import TERMS


@pytest.mark.parametrize("kind", kinds_with(has_weights=True))
def test_networks_keep_their_contract(kind: str) -> None:
    check_network(METHODS[kind])


@pytest.mark.parametrize(
    "config",
    [
        InvertibleConfig(width=4, depth=3, squeeze="none,haar", coupling="two-sided"),
        InvertibleConfig(width=4, depth=3, conditioning="protocol", mixing="orthogonal"),
    ],
)
def test_options_of_the_exact_network_keep_it_too(config: InvertibleConfig) -> None:
    check_network(METHODS["invertible"], config)


@pytest.mark.slow  # the tests of packages say more of the same
@pytest.mark.parametrize("kind", kinds_with(has_weights=True))
def test_networks_are_exported(kind: str) -> None:
    check_export(METHODS[kind])


@pytest.mark.parametrize("name", TERMS)
def test_loss_terms_keep_their_contract(name: str) -> None:
    check_loss(TERMS[name])


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_keep_their_contract(name: str) -> None:
    check_sampler(SAMPLERS[name])


def test_every_method_says_what_it_is() -> None:
    titles = [method.title for method in METHODS.values()]
    assert len(set(titles)) == len(titles)
    for kind, method in METHODS.items():
        assert method.Config().kind == kind  # type: ignore[call-arg]
        assert method.has_weights == (method.learning != "nothing")
        assert issubclass(method, UntrainedMethod) == (method.learning == "nothing")


@dataclass(frozen=True, kw_only=True)
class ThawedConfig(MethodConfig):
    """It says another kind than it has."""

    kind: Literal["thawed"] = "thawed"
    width: int = 8
    depth: int = 3


class Unseeded(TemporalNetwork):
    """It draws its weights from torch's global generator."""

    def __init__(self, frames: int, config: TemporalConfig, seed: int = 0) -> None:
        super().__init__(frames, config, seed)
        nn.init.normal_(self.tail.weight)


class Unreached(TemporalNetwork):
    """One of its weights is never used."""

    def __init__(self, frames: int, config: TemporalConfig, seed: int = 0) -> None:
        super().__init__(frames, config, seed)
        self.spare = nn.Parameter(torch.zeros(2))


class Sociable(TemporalNetwork):
    """Its samples see each other."""

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        return super().forward(mixture_BTYX - mixture_BTYX.mean())


class Boastful(TemporalNetwork):
    """It says that it has an inverse."""

    exact = True


class Forgetful(TemporalNetwork):
    """What it needs is no part of its state."""

    def __init__(self, frames: int, config: TemporalConfig, seed: int = 0) -> None:
        super().__init__(frames, config, seed)
        self.shift = 0.1 * seed

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        return super().forward(mixture_BTYX) + self.shift


class Transposed(TemporalNetwork):
    """It gives frames before tracers."""

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        return super().forward(mixture_BTYX).transpose(1, 2)


class Foreign(TemporalNetwork):
    """Its configuration is another's."""

    Config = ThawedConfig


@pytest.mark.parametrize(
    ("network", "promise"),
    [
        (Unseeded, "one seed gives the same weights"),
        (Unreached, "a gradient reaches every weight, also spare"),
        (Sociable, "do not see each other"),
        (Boastful, "for it says that it is exact"),
        (Forgetful, "its state is all that it is"),
        (Transposed, "gives two tracers"),
        (Foreign, "TemporalConfig is Foreign.Config"),
    ],
)
def test_a_network_that_breaks_its_contract_fails(network: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_network(network, TemporalConfig(width=4, depth=3))


def term(function: Callable[[LossBatch], Tensor]) -> type[LossTerm]:
    return type("Term", (LossTerm,), {"value": staticmethod(lambda batch, config: function(batch))})


@pytest.mark.parametrize(
    ("function", "promise"),
    [
        (lambda b: (b.predicted_BKTYX - b.tracers_BKTYX).square().mean(dim=0), "is one number"),
        (lambda b: (b.predicted_BKTYX - b.tracers_BKTYX).square().sum() + 1, "perfect answer"),
        (lambda b: 0 * b.predicted_BKTYX.sum(), "a wrong answer costs something"),
        (lambda b: (b.predicted_BKTYX - b.tracers_BKTYX).square().sum().detach(), "it teaches"),
        (
            lambda b: (
                (b.predicted_BKTYX - b.tracers_BKTYX).square().sum()
                / b.tracers_BKTYX.square().sum()
            ),
            "an empty sample costs a finite amount",
        ),
    ],
)
def test_a_term_that_breaks_its_contract_fails(
    function: Callable[[LossBatch], Tensor], promise: str
) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_loss(term(function))


class Unrepeatable(Sampler):
    """It has no regard for the seed."""

    @staticmethod
    def make(parameters: Any, *, trials: int, seed: int) -> BaseSampler:
        return RandomSampler()


class Stray(Sampler):
    """Its suggestions are outside of the ranges."""

    @staticmethod
    def make(parameters: Any, *, trials: int, seed: int) -> BaseSampler:
        class Beyond(RandomSampler):
            def sample_independent(self, *args: Any) -> Any:
                value = super().sample_independent(*args)
                return value if isinstance(value, str) else value + 1000

        return Beyond(seed=seed)


@pytest.mark.parametrize(
    ("sampler", "promise"),
    [(Unrepeatable, "the seed and the trials decide"), (Stray, "is within its range")],
)
def test_a_sampler_that_breaks_its_contract_fails(sampler: Any, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_sampler(sampler)
