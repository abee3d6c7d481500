"""The cascade: averages and filters are what scipy and numpy find, and air changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.core.errors import InputError
from dtsinn.networks.cascade import (
    GUIDED,
    SCALES,
    CascadeConfig,
    CascadeNetwork,
    gaussian,
    guided,
)
from dtsinn.networks.invertible import relative_error


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def away(stages: int = 2) -> CascadeNetwork:
    """A network in double precision with weights of no meaning."""
    network = CascadeNetwork(4, CascadeConfig(stages=stages)).double()
    for weights in network.parameters():
        nn.init.normal_(weights, 0, 0.1, generator=torch.Generator().manual_seed(1))
    return network


@pytest.mark.parametrize("sd", SCALES)
def test_gaussian_averages_are_those_of_scipy(sd: float) -> None:
    x = drawn(1, 2, 12, 17)
    wanted = ndimage.gaussian_filter(
        x.numpy(), sd, mode="constant", axes=(2, 3), radius=12 * int(sd)
    )
    assert relative_error(gaussian(x, sd), torch.from_numpy(wanted)) < 1e-7


@pytest.mark.parametrize(("radius", "regularisation"), GUIDED)
def test_the_guided_filter_fits_a_line_in_each_window(radius: int, regularisation: float) -> None:
    x, guide = drawn(2, 1, 1, 22, 23)
    edge = 2 * radius  # pixels whose windows all lie inside the slice
    found = guided(x, guide, radius, regularisation)[0, 0, edge:-edge, edge:-edge]
    windows = [
        np.lib.stride_tricks.sliding_window_view(image[0, 0].numpy(), (2 * radius + 1,) * 2)
        for image in (x, guide)
    ]
    lines = np.zeros((2, *windows[0].shape[:2]))
    for place in np.ndindex(*lines.shape[1:]):
        values, guides = (window[place].ravel() for window in windows)
        covariance = np.cov(guides, values, bias=True)
        slope = covariance[0, 1] / (covariance[0, 0] + regularisation)
        lines[(slice(None), *place)] = slope, values.mean() - slope * guides.mean()
    slope, offset = (ndimage.uniform_filter(line, 2 * radius + 1) for line in lines)
    inner = (slice(radius, -radius),) * 2
    wanted = slope[inner] * guide[0, 0, edge:-edge, edge:-edge].numpy() + offset[inner]
    assert relative_error(found, torch.from_numpy(wanted)) < 1e-10


@torch.no_grad()
def test_air_around_a_slice_changes_nothing() -> None:
    x = drawn(1, 4, 24, 23)
    padded = functional.pad(x, (3, 30, 5, 20))
    found = away(stages=1)(padded)[..., 5:29, 3:26]
    assert relative_error(found, away(stages=1)(x)) < 1e-10
    # The windows of the filters reach twice their radius into the air.
    inner, edge = away()(padded)[..., 5:29, 3:26], 2 * max(radius for radius, _ in GUIDED)
    near = (..., slice(edge, -edge), slice(edge, -edge))
    assert relative_error(inner[near], away()(x)[near]) < 1e-10


@torch.no_grad()
def test_a_single_stage_is_linear_and_a_second_one_is_not() -> None:
    one, other = drawn(2, 4, 9, 9).split(1)
    apart = {
        stages: relative_error(away(stages)(one + other), away(stages)(one) + away(stages)(other))
        for stages in (1, 2)
    }
    assert apart[1] < 1e-12
    assert apart[2] > 1e-4


@pytest.mark.parametrize("settings", [{"stages": 0}, {"stages": 5}, {"ridge": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        CascadeConfig(**settings)
