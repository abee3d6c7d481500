"""Laws of the rivals: any size, a fair start, every weight of use, and what each kind can see."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.core.config import from_mapping
from dtsinn.core.errors import InputError
from dtsinn.networks.build import build_network, kinds_with, parameter_count
from dtsinn.networks.corrected import values_behind
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.testing import small_config
from dtsinn.training.config import RunConfig, load_run_config

SMALL = {
    kind: small_config(method)
    for kind, method in kinds_with(learning="gradient", exact=False).items()
}
HALVING = ("unet", "ced")


def make(kind: str, frames: int = 3, seed: int = 0) -> SeparatorNetwork:
    return build_network(SMALL[kind], frames, seed)


def away(kind: str, frames: int = 3) -> SeparatorNetwork:
    """A network in double precision whose last layer is no longer zero."""
    network = make(kind, frames)
    last = dict(network.named_parameters())[
        "subnet.tail.weight" if kind == "plain" else "tail.weight"
    ]
    nn.init.normal_(last, 0, 0.1, generator=torch.Generator().manual_seed(1))
    return network.double()


def mixture(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("kind", SMALL)
@torch.no_grad()
def test_the_start_is_an_equal_split_but_for_the_direct_one(kind: str) -> None:
    m = mixture(2, 3, 5, 6)
    wanted = torch.stack((m, m), dim=1) / 2
    assert torch.equal(
        make(kind).double()(m), torch.zeros_like(wanted) if kind == "ced" else wanted
    )


@pytest.mark.parametrize("kind", HALVING)
@torch.no_grad()
def test_sizes_that_cannot_be_halved_are_padded_and_cut(kind: str) -> None:
    network, m = away(kind), mixture(2, 3, 5, 7)
    padded = functional.pad(m, (0, 1, 0, 3), mode="replicate")
    torch.testing.assert_close(network(m), network(padded)[..., :5, :7])


@pytest.mark.parametrize("kind", ["residual-cnn", "cnn3d", "temporal"])
@torch.no_grad()
def test_away_from_the_border_a_shift_goes_through(kind: str) -> None:
    network, m = away(kind), torch.zeros(1, 3, 27, 29, dtype=torch.float64)
    m[0, :, 13, 13] = 1.0
    shifted = network(m.roll((1, 2), dims=(2, 3)))
    torch.testing.assert_close(shifted, network(m).roll((1, 2), dims=(3, 4)))


@torch.no_grad()
def test_the_temporal_one_sees_one_pixel_alone() -> None:
    network, m = away("temporal"), mixture(1, 3, 4, 5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    mixed = m.flatten(2)[..., order].reshape(m.shape)
    wanted = network(m).flatten(3)[..., order].reshape(1, 2, 3, 4, 5)
    torch.testing.assert_close(network(mixed), wanted)


@torch.no_grad()
def test_the_3d_one_computes_what_three_dimensional_convolutions_do() -> None:
    network, m = away("cnn3d", frames=4), mixture(2, 4, 5, 6)

    def convolve(layer: Any, x: Tensor) -> Tensor:
        weight = layer.weight.unflatten(1, (3, -1)).transpose(1, 2)
        return functional.conv3d(x, weight, layer.bias, padding=1)

    x = convolve(network.head, m[:, None])
    for layer in network.middle:  # type: ignore[union-attr]
        x = x + convolve(layer, x.relu())
    wanted = m[:, None] / 2 + convolve(network.tail, x.relu())
    torch.testing.assert_close(network(m), wanted)


def test_the_weights_of_the_3d_one_serve_any_number_of_frames() -> None:
    network = make("cnn3d", frames=3)
    network.load_state_dict(make("cnn3d", frames=8).state_dict())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Conv2d(8, 16, 2, stride=2),
        nn.ConvTranspose2d(8, 16, 2, stride=2),
        nn.ConvTranspose2d(8, 16, 4, stride=2, padding=1),
    ],
)
@torch.no_grad()
def test_the_start_keeps_the_mean_square(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    generator = torch.Generator().manual_seed(4)
    nn.init.normal_(layer.weight, 0, values_behind(layer) ** -0.5, generator=generator)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(4, 8, 32, 32, generator=generator)
    inside = layer(x)[..., 2:-2, 2:-2]
    assert float(inside.square().mean()) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("kind", SMALL)
def test_the_configuration_tells_the_number_of_parameters(kind: str) -> None:
    config = type(SMALL[kind])(kind=kind)  # type: ignore[arg-type]
    count = parameter_count(build_network(config, 18))
    assert f"{count / 1000:.0f}k" in " ".join((inspect.getdoc(type(config)) or "").split())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.kind=unet", "model.blocks=3"], "model.blocks is no setting of kind unet"),
        (["model.kind=temporal", "model.levels=3"], "model.levels is no setting of kind temporal"),
        (["model.kind=ced", "model.width=0"], "model.width; got 0; wanted at least 1"),
        (["model.kind=cnn3d", "model.depth=1"], "model.depth; got 1; wanted at least 2"),
        (["model.kind=unet", "model.levels=1.5"], "model.levels"),
        (["model.kind=u-net"], "model.kind; got 'u-net'; wanted one of"),
        (["model.kind=unet", "loss.backward=0.1"], "loss.backward needs an inverse"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_run_config("invertible", settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_without_weights_is_no_network() -> None:
    with pytest.raises(InputError, match="kind spectral is no network"):
        build_network(from_mapping(RunConfig, {"model": {"kind": "spectral"}}, "run").model, 3)
