"""The law of exact networks, over every kind of part: inverse and forward undo each other.

Each kind is tried at its own start, with every last convolution redrawn at SD 0.02, and after
training; up to 32 blocks, in float32 and float64.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dtsinn.core.errors import InputError
from dtsinn.networks.build import build_network
from dtsinn.networks.conditioning import protocol_features
from dtsinn.networks.invertible import (
    InvertibleConfig,
    InvertibleSeparator,
    relative_error,
    round_trip_error,
)
from dtsinn.networks.mixing import MIXINGS
from dtsinn.networks.squeezes import SQUEEZES
from dtsinn.networks.subnets import SUBNETS
from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS

FRAMES = 5
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-10}
TAIL_SD = 0.02
BASE = InvertibleConfig(width=8, depth=3, coupling="two-sided", subnet="residual")
CHOICES = {
    "default": InvertibleConfig(width=8),
    "two-sided": BASE,
    "additive": replace(BASE, coupling="additive"),
    **{f"variables-{kind}": replace(BASE, variables=kind) for kind in VARIABLE_AUGMENTATIONS},  # type: ignore[arg-type]
    **{f"subnet-{kind}": replace(BASE, subnet=kind) for kind in SUBNETS},  # type: ignore[arg-type]
    **{f"mixing-{kind}": replace(BASE, mixing=kind) for kind in MIXINGS},  # type: ignore[arg-type]
    **{f"squeeze-{kind}": replace(BASE, squeeze=kind) for kind in SQUEEZES},
    "stages": replace(BASE, squeeze="none,haar,shuffle", width=4),
    "four-subnets": replace(BASE, shared_trunk=False),
    "one-sided": replace(BASE, coupling="one-sided"),
    "published": replace(BASE, coupling="one-sided", shared_trunk=False, last_mixing=False),
    "conditioned": replace(BASE, conditioning="protocol"),
    "clamp": replace(BASE, clamp=2.0),
    "all": InvertibleConfig(
        width=4,
        depth=3,
        coupling="two-sided",
        squeeze="shuffle,haar",
        subnet="unet",
        mixing="orthogonal",
        shared_trunk=False,
        conditioning="protocol",
        variables="repeat",
    ),
}
"""The default; every choice of each setting beside two-sided couplings; then many at once."""
FIRST = {config: name for name, config in reversed(CHOICES.items())}
KINDS = {name: config for name, config in CHOICES.items() if FIRST[config] == name}
"""Without the choices that are another one's default, as residual subnets are."""


def make(config: InvertibleConfig, blocks: int) -> InvertibleSeparator:
    """A network of ``blocks`` blocks in all its stages together, which knows a protocol."""
    each = replace(config, blocks=max(1, blocks // len(config.stages)))
    network = build_network(each, FRAMES, seed=blocks)
    assert isinstance(network, InvertibleSeparator)
    starts = (0.0, 60.0, 120.0, 600.0, 1200.0)
    network.condition_on(
        protocol_features(starts, (60.0, 60.0, 480.0, 600.0, 600.0), (0.0, 600.0), (1224, 6588))
    )
    return network


def redraw(network: InvertibleSeparator, seed: int = 0) -> InvertibleSeparator:
    """Leave the identity: every last layer of SD 0.02."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if any(part in name for part in (".tail.", ".outer.")):
                parameter.normal_(0, TAIL_SD, generator=generator)
    return network


def train(network: InvertibleSeparator, steps: int = 60) -> InvertibleSeparator:
    """Learn to split random textures, with AdamW."""
    generator = torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.0, foreach=True)
    texture = torch.rand(1, 2, 3, 8, 12, generator=generator)
    for step in range(steps):
        curves = torch.rand(2, 3, FRAMES, generator=generator)
        truth = torch.einsum("bkryx,krt->bktyx", texture.roll(step, -1), curves)
        optimizer.zero_grad()
        loss = (network(truth.sum(dim=1)) - truth).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network


def mixture(dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, FRAMES, 8, 12, generator=generator, dtype=torch.float64).to(dtype)


def tracers(dtype: torch.dtype, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 2, FRAMES, 8, 12, generator=generator, dtype=torch.float64).to(dtype)


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@torch.no_grad()
def check_law(network: InvertibleSeparator, dtype: torch.dtype) -> None:
    for each in (network.to(dtype), network.to(dtype).frozen()):
        m, truth = mixture(dtype), tracers(dtype)
        # In one pass, as deep networks take long: the tracers of a mixture, and any others.
        channels = each.inverse_channels(torch.cat([each(m), truth]))
        ours, any_others = channels.split(len(m))
        assert relative_error(each.variables.decode(ours), m) <= LIMITS[dtype]
        assert relative(ours, each.variables.encode(m)) <= LIMITS[dtype]
        again = each.forward_channels(any_others).reshape(truth.shape)
        assert relative(again, truth) <= LIMITS[dtype]


@pytest.mark.parametrize("blocks", [2, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_at_the_own_start_and_with_redrawn_last_layers(kind: str, blocks: int) -> None:
    network = make(KINDS[kind], blocks)
    m = mixture(torch.float32)
    encoded = network.variables.encode(m)
    for dtype in LIMITS:
        check_law(network, dtype)
    assert relative(network.float()(m).detach().flatten(1, 2), encoded) <= 1e-6, "as its encoder"
    redraw(network)
    for dtype in LIMITS:
        check_law(network, dtype)
    # The law would hold for the identity too: the network must be something else.
    assert relative(network.float()(m).detach().flatten(1, 2), encoded) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_exact_after_training(kind: str) -> None:
    network = train(make(KINDS[kind], 2))
    m = mixture(torch.float32)
    assert relative(network(m).detach().flatten(1, 2), network.variables.encode(m)) > 1e-2
    for dtype in LIMITS:
        check_law(network, dtype)


LOST = pytest.mark.xfail(
    strict=True,
    reason="U-Nets in 32 squeezed blocks: 7e-5 in float32, 1e-5 with gains that shrink with depth",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=LOST) if kind == "all" else kind for kind in KINDS]
)
def test_exact_after_training_of_32_blocks(kind: str) -> None:
    network = train(make(KINDS[kind], 32), 200)
    for dtype in LIMITS:
        check_law(network, dtype)


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("subnet", SUBNETS)
def test_xavier_networks_are_exact_at_their_own_start_in_double(subnet: str, blocks: int) -> None:
    # In float32 the published start loses the inverse at 8 blocks (up to 4e-2 relative).
    config = replace(BASE, subnet=subnet, start="xavier", depth=3)  # type: ignore[arg-type]
    check_law(make(config, blocks).double(), torch.float64)


@pytest.mark.parametrize("variables", VARIABLE_AUGMENTATIONS)
@torch.no_grad()
def test_the_inverse_decodes_to_the_mixture(variables: str) -> None:
    config = replace(BASE, variables=variables)  # type: ignore[arg-type]
    network = redraw(make(config, 2)).to(torch.float64)
    m = mixture(torch.float64)
    assert relative(network.variables.decode(network.inverse_channels(network(m))), m) <= 1e-10
    assert torch.equal(network.variables.decode(network.variables.encode(m)), m)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_weight_in_both_directions(kind: str) -> None:
    for direction in ("forward", "inverse"):
        network = train(make(KINDS[kind], 2 * len(KINDS[kind].stages)), 3)
        network.zero_grad()
        if direction == "forward":
            network(mixture(torch.float32)).square().sum().backward()
        else:
            network.inverse(tracers(torch.float32)).square().sum().backward()
        for name, parameter in network.named_parameters():
            gradient = parameter.grad
            assert gradient is not None, f"{direction} {name}"
            assert bool(torch.isfinite(gradient).all()), f"{direction} {name}"
            assert bool((gradient != 0).any()), f"{direction} {name}"


@pytest.mark.parametrize(("squeeze", "step"), [("haar", 2), ("none,shuffle,haar", 4)])
def test_slices_that_cannot_be_halved_are_refused(squeeze: str, step: int) -> None:
    network = make(replace(BASE, squeeze=squeeze), 1)
    with pytest.raises(InputError, match=f"got 6x10 pixels; wanted .* multiples of {step}|9x12"):
        network(torch.ones(1, FRAMES, 6, 10) if step == 4 else torch.ones(1, FRAMES, 9, 12))


def test_a_conditioned_network_must_know_a_protocol() -> None:
    network = build_network(replace(BASE, conditioning="protocol"), FRAMES)
    with pytest.raises(InputError, match="was told of none"):
        network(mixture(torch.float32))


@torch.no_grad()
def test_a_conditioned_network_answers_to_its_protocol() -> None:
    network = redraw(make(replace(BASE, conditioning="protocol"), 2))
    m = mixture(torch.float32)
    before = network(m)
    times = ((0.0, 30.0, 60.0, 90.0, 120.0), (30.0,) * 5, (0.0, 30.0), (1224.0, 6588.0))
    network.condition_on(protocol_features(*times))
    assert relative(network(m), before) > 1e-4
    assert round_trip_error(network, m) <= LIMITS[torch.float32]
