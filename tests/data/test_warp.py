"""Warps: activity is conserved, noise keeps its strength, and angles and pixels mean what they say.

The images are smooth blobs, so that interpolation itself is exact to a percent.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dtsinn.data.warp import FOLDING, Warp, apply_warp, smooth

SIZE = 64


def blob(x: float, y: float, sd: float = 5.0) -> Tensor:
    """One sample of two tracers and one frame: a Gaussian at (x, y) pixels from the centre."""
    place = torch.arange(SIZE) - (SIZE - 1) / 2
    image = torch.exp(-0.5 * ((place - x).square() + (place[:, None] - y).square()) / sd**2)
    return image.expand(1, 2, 1, SIZE, SIZE).clone()


def pose(angle: float = 0.0, factor: float = 1.0, displacement: Tensor | None = None) -> Warp:
    return Warp(
        angle_B=torch.tensor([angle]),
        log_factor_B=torch.tensor([math.log(factor)]),
        displacement_B2YX=displacement,
    )


def correlated(fwhm: float) -> Tensor:
    """Stationary noise of SD 1 with a Gaussian correlation, [1, 200, Y, X]."""
    white = torch.randn(1, 200, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return smooth(white, fwhm / 2.355) if fwhm else white


def slope(images: Tensor) -> float:
    """Correlation of neighbours along x, away from the border."""
    inner = images[..., 16:-16, 16:-16]
    return float((inner[..., 1:] * inner[..., :-1]).mean() / inner.square().mean())


def test_the_warp_of_nothing_is_the_identity() -> None:
    tracers, noise = blob(3, -7), correlated(0)
    moved, still = apply_warp(tracers, noise, pose())
    torch.testing.assert_close(moved, tracers, rtol=0, atol=1e-5)
    assert torch.equal(still, noise)


@pytest.mark.parametrize("angle", [-30.0, 5.0, 45.0, 90.0, 180.0])
def test_a_turn_conserves_activity_and_goes_where_it_says(angle: float) -> None:
    tracers = blob(10, 0)
    turned, _ = apply_warp(tracers, tracers[:, 0], pose(angle=angle))
    assert float(turned.sum()) == pytest.approx(float(tracers.sum()), rel=0.01)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    torch.testing.assert_close(turned, blob(10 * cos, 10 * sin), rtol=0, atol=0.02)


def test_a_turn_conserves_the_mean_over_the_body() -> None:
    """Also with edges: a body of two concentrations."""
    place = torch.arange(SIZE) - (SIZE - 1) / 2
    x, y = place[None], place[:, None]
    body = ((x / 24).square() + (y / 18).square() < 1).float()
    image = (body * (1 + 3 * (x > 4))).expand(1, 2, 1, SIZE, SIZE)
    for angle in (7.0, 33.0, 71.0):
        turned, area = apply_warp(image, body[None, None], pose(angle=angle))
        before, after = image[0, 0].sum() / body.sum(), turned[0, 0].sum() / area.sum()
        assert float(after) == pytest.approx(float(before), rel=0.01)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_larger_head_has_the_same_concentrations(factor: float) -> None:
    sized, _ = apply_warp(blob(8, -4), blob(8, -4)[:, 0], pose(factor=factor))
    wanted = blob(8 * factor, -4 * factor, 5 * factor)
    torch.testing.assert_close(sized, wanted, rtol=0, atol=0.02)


def test_a_displacement_counts_in_pixels() -> None:
    shift = torch.tensor([3.0, -2.0])[None, :, None, None].expand(1, 2, SIZE, SIZE)
    moved, noise = apply_warp(blob(5, 5), blob(5, 5)[:, 0], pose(displacement=shift))
    torch.testing.assert_close(moved, blob(2, 7), rtol=0, atol=1e-4)
    torch.testing.assert_close(noise, blob(2, 7)[:, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("fwhm", [0.0, 2.0, 4.0])
@pytest.mark.parametrize("angle", [10.0, 45.0])
def test_noise_keeps_its_strength_and_its_grain(fwhm: float, angle: float) -> None:
    """Interpolated white noise would lose a third of its standard deviation."""
    noise = correlated(fwhm)
    _, turned = apply_warp(blob(0, 0), noise, pose(angle=angle))
    inner = (..., slice(16, -16), slice(16, -16))
    assert float(turned[inner].std()) == pytest.approx(float(noise[inner].std()), rel=0.03)
    assert slope(turned) == pytest.approx(slope(noise), abs=0.12)


@pytest.mark.parametrize("smoothness", [4.0, 8.0, 30.0])
def test_displacements_have_their_standard_deviation_everywhere_and_never_fold(
    smoothness: float,
) -> None:
    white = torch.randn(2000, 2, 24, 24, generator=torch.Generator().manual_seed(0)).double()
    field = FOLDING * smoothness * smooth(white, smoothness)
    deviation = field.std(dim=(0, 1)) / (FOLDING * smoothness)
    assert float(deviation.min()) > 0.94
    assert float(deviation.max()) < 1.06
    step = field[:, 0, :, 1:] - field[:, 0, :, :-1]
    assert float((step < -1).double().mean()) < 1e-4
