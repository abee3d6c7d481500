"""Laws of saving memory: gradients stay what they are, memory is flat, and garbage raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from dtsinn.core.errors import DivergedError
from dtsinn.networks.build import build_network
from dtsinn.networks.conditioning import protocol_features
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.memory import Memory
from dtsinn.networks.mixing import MIXINGS
from dtsinn.networks.subnets import SUBNETS
from tests.support.memory import growths

FRAMES = 5
TAIL_SD = 0.02
LIMIT = 1e-12
"""Of relative differences in float64."""
NOUGHT = 1e-4
"""Part of the largest gradient's norm under which one may be rounding alone, as that of a bias
before a softmax is."""
SAVERS: tuple[Memory, ...] = ("checkpoint", "reversible")
BASE = InvertibleConfig(width=4, depth=3, coupling="two-sided", subnet="residual")
KINDS = {
    f"{subnet}-{'shared' if shared else 'apart'}-{squeeze}": replace(
        BASE,
        subnet=subnet,  # type: ignore[arg-type]
        shared_trunk=shared,
        squeeze=squeeze,
    )
    for subnet, shared, squeeze in product(SUBNETS, (False, True), ("none", "none,haar"))
} | {
    **{f"mixing-{kind}": replace(BASE, mixing=kind) for kind in MIXINGS},  # type: ignore[arg-type]
    "shuffle": replace(BASE, squeeze="shuffle,shuffle", blocks=1),
    "conditioned": replace(BASE, conditioning="protocol"),
    "default": InvertibleConfig(width=4),
    "additive": replace(BASE, coupling="additive"),
    "one-sided": replace(BASE, coupling="one-sided"),
    "published": replace(BASE, coupling="one-sided", shared_trunk=False, last_mixing=False),
}


def make(config: InvertibleConfig, start: str = "redrawn") -> InvertibleSeparator:
    """A network in float64 at its own start, or with last layers of SD 0.02."""
    network = build_network(config, FRAMES, seed=1)
    assert isinstance(network, InvertibleSeparator)
    times = ((0.0, 60.0, 120.0, 600.0, 1200.0), (60.0, 60.0, 480.0, 600.0, 600.0))
    network.condition_on(protocol_features(*times, (0.0, 600.0), (1224.0, 6588.0)))
    if start == "redrawn":
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if any(part in name for part in (".tail.", ".mixing.", ".outer.", "last.")):
                    parameter.normal_(0, TAIL_SD, generator=generator)
    return network.double()


def images(size: tuple[int, int] = (8, 12), seed: int = 0) -> tuple[Tensor, Tensor]:
    """A batch of mixtures [B, T, Y, X] and of tracers [B, K, T, Y, X]."""
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.randn(2, FRAMES, *size, generator=generator, dtype=torch.float64)
    tracers = torch.randn(2, 2, FRAMES, *size, generator=generator, dtype=torch.float64)
    return mixture, tracers


def separating(network: InvertibleSeparator, mixture: Tensor, tracers: Tensor) -> Tensor:
    return (network(mixture) - tracers.detach()).square().sum()


def mixing(network: InvertibleSeparator, mixture: Tensor, tracers: Tensor) -> Tensor:
    encoded = network.variables.encode(mixture.detach())
    return (network.inverse_channels(tracers) - encoded).square().sum()


def both(network: InvertibleSeparator, mixture: Tensor, tracers: Tensor) -> Tensor:
    return separating(network, mixture, tracers) + mixing(network, mixture, tracers)


LOSSES: dict[str, Callable[[InvertibleSeparator, Tensor, Tensor], Tensor]] = {
    "forward": separating,
    "backward": mixing,
    "both": both,
}


def gradients(
    network: InvertibleSeparator, memory: Memory, loss: str, mixture: Tensor, tracers: Tensor
) -> dict[str, Tensor | None]:
    """By name of the parameter, and of the inputs."""
    network.memory = memory
    network.zero_grad()
    inputs = {"mixture": mixture.clone(), "tracers": tracers.clone()}
    for value in inputs.values():
        value.requires_grad_()
    LOSSES[loss](network, **inputs).backward()  # type: ignore[call-arg]
    return {name: value.grad for name, value in [*network.named_parameters(), *inputs.items()]}


def assert_same(got: dict[str, Tensor | None], wanted: dict[str, Tensor | None]) -> None:
    assert got.keys() == wanted.keys()
    least = NOUGHT * max(float(true.norm()) for true in wanted.values() if true is not None)
    for name, true in wanted.items():
        found = got[name]
        if true is None:
            assert found is None, name
            continue
        assert found is not None, name
        assert (found - true).norm() <= LIMIT * max(float(true.norm()), least), name


@pytest.mark.parametrize("start", ["tame", "redrawn"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_plain_autograd(kind: str, start: str) -> None:
    network = make(KINDS[kind], start)
    for loss in LOSSES:
        plain = gradients(network, "plain", loss, *images())
        assert any(bool((g != 0).any()) for g in plain.values() if g is not None)
        for memory in SAVERS:
            assert_same(gradients(network, memory, loss, *images()), plain)


@pytest.mark.parametrize("memory", SAVERS)
def test_outputs_are_the_same_bit_by_bit(memory: Memory) -> None:
    network = make(replace(BASE, squeeze="none,haar")).float()
    mixture, tracers = (image.float() for image in images())
    plain = network(mixture), network.inverse_channels(tracers)
    network.memory = memory
    assert torch.equal(network(mixture), plain[0])
    assert torch.equal(network.inverse_channels(tracers), plain[1])
    network.eval()
    assert torch.equal(network(mixture), plain[0])


@pytest.mark.parametrize("memory", SAVERS)
def test_frozen_parts_get_no_gradient(memory: Memory) -> None:
    network = make(replace(BASE, blocks=3))
    network.blocks[0].requires_grad_(False)
    network.blocks[1].on_first.requires_grad_(False)  # type: ignore[union-attr]
    network.blocks[2].requires_grad_(False)
    plain = gradients(network, "plain", "both", *images())
    assert_same(gradients(network, memory, "both", *images()), plain)
    assert plain["blocks.0.on_first.subnets.both.head.weight"] is None
    assert plain["blocks.1.on_second.subnets.both.head.weight"] is not None


@pytest.mark.parametrize("memory", SAVERS)
def test_a_gradient_can_be_taken_twice(memory: Memory) -> None:
    network = make(replace(BASE, blocks=3))
    network.memory = memory
    loss = both(network, *images())
    loss.backward(retain_graph=True)
    once = {name: value.grad.clone() for name, value in network.named_parameters()}
    loss.backward()
    twice = {name: value.grad / 2 for name, value in network.named_parameters()}
    assert_same(twice, once)


def test_trainings_take_the_same_course() -> None:
    curves = {}
    for memory in ("plain", *SAVERS):
        network = make(replace(BASE, squeeze="none,haar"), "tame")
        network.memory = memory
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True)
        losses = []
        for step in range(20):
            optimizer.zero_grad()
            mixture, tracers = images(seed=step % 3)
            for loss in ("forward", "backward"):
                value = LOSSES[loss](network, mixture, tracers)
                value.backward()
                losses.append(float(value.detach()))
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        curves[memory] = losses
    assert curves["plain"][-1] < curves["plain"][3]
    for memory in SAVERS:
        assert curves[memory] == pytest.approx(curves["plain"], rel=1e-8)


@pytest.mark.parametrize("loss", ["forward", "backward"])
def test_a_network_that_loses_its_inverse_is_refused(loss: str) -> None:
    config = replace(BASE, blocks=24, width=16, depth=4, start="xavier")
    network = make(config, "own").float()
    # The first one that is run backwards, or one near it.
    wanted = (
        r"block \d+ of 24 cannot be run backwards .* wanted at most 0.01; try memory=checkpoint"
    )
    mixture, tracers = (image.float() for image in images())
    with pytest.raises(DivergedError, match=wanted):
        gradients(network, "reversible", loss, mixture, tracers)
    gradients(network, "checkpoint", loss, mixture, tracers)


def test_an_empty_slice_is_no_lost_inverse() -> None:
    network = make(replace(BASE, blocks=4)).float()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.fill_(0.3)
    mixture, tracers = (torch.zeros_like(image).float() for image in images())
    found = gradients(network, "reversible", "both", mixture, tracers)
    assert all(bool(torch.isfinite(g).all()) for g in found.values() if g is not None)


@pytest.mark.parametrize("loss", ["forward", "backward"])
def test_reversible_memory_is_flat_in_depth(loss: str) -> None:
    held: dict[tuple[Memory, int], float] = {}
    memories: tuple[Memory, ...] = ("plain", "reversible")
    mixture, tracers = (image.float() for image in images((32, 32)))
    for memory, blocks in product(memories, (2, 16)):
        network = make(replace(BASE, blocks=blocks, width=8)).float()
        network.memory = memory
        activations, _ = growths(network, lambda n=network: LOSSES[loss](n, mixture, tracers))  # type: ignore[misc]
        held[memory, blocks] = activations
    assert held["plain", 16] > 5 * held["plain", 2]  # the count sees what grows
    assert held["reversible", 16] <= 1.1 * held["reversible", 2]
    assert held["reversible", 2] < held["plain", 2]
