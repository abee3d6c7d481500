"""Random fields and blurs: exact variance, stated correlation, conserved activity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dtsinn.simulation.anatomy.fields import blur_matrix, noise_matrix, pixel_centres, smooth_field


def test_a_smooth_field_has_unit_variance_and_the_stated_correlation() -> None:
    sigma = 12.0
    axes = (np.array([0.0, 30.0]), np.array([-100.0, 7.0]), np.array([-20.0, 0.0, 12.0, 90.0]))
    fields = smooth_field(np.random.default_rng(1), 1500, axes, sigma)
    np.testing.assert_allclose(fields.std(axis=0), 1.0, rtol=0.1)
    near = np.mean(fields[:, 0, 0, 1] * fields[:, 0, 0, 2])
    assert near == pytest.approx(np.exp(-(12.0**2) / (4 * sigma**2)), abs=0.06)
    far = np.mean(fields[:, 0, 0, 1] * fields[:, 0, 0, 3])
    assert abs(far) < 0.09


def test_a_field_is_the_same_at_the_same_place_on_every_grid() -> None:
    z = np.array([4.0])
    coarse, fine = np.array([0.0, 10.0]), np.linspace(-10, 10, 21)
    one = smooth_field(np.random.default_rng(2), 1, (z, coarse, coarse), 8.0)
    other = smooth_field(np.random.default_rng(2), 1, (z, fine, fine), 8.0)
    np.testing.assert_allclose(one[0, 0], other[0, 0][np.ix_([10, 20], [10, 20])], rtol=1e-12)


@pytest.mark.parametrize(("size", "fwhm"), [(64, 5.0), (16, 5.0), (64, 20.0)])
def test_blur_conserves_activity(size: int, fwhm: float) -> None:
    image = np.random.default_rng(0).random((size, size)).astype(np.float32)
    blur = blur_matrix(size, 230 / size, fwhm)
    assert (blur @ image @ blur.T).sum() == pytest.approx(image.sum(), rel=1e-5)


def test_a_blurred_point_has_the_stated_width() -> None:
    size, pixel, fwhm = 101, 1.0, 9.0
    profile = blur_matrix(size, pixel, fwhm)[:, 50]
    width = np.sqrt((profile * (np.arange(size) - 50.0) ** 2).sum()) * 2.3548
    assert width == pytest.approx(fwhm, rel=0.01)


def test_the_noise_filter_keeps_unit_variance_up_to_the_corner() -> None:
    matrix = noise_matrix(64, 3.6, 6.0)
    np.testing.assert_allclose(np.square(matrix).sum(axis=1), 1.0, rtol=1e-5)


def test_pixels_tile_the_field_of_view() -> None:
    centres = pixel_centres(64, 230.0)
    assert centres.mean() == pytest.approx(0.0, abs=1e-9)
    assert centres[-1] - centres[0] == pytest.approx(230.0 * 63 / 64)


@pytest.mark.parametrize("fwhm", [5.0, 6.0])
@pytest.mark.parametrize("pixel", [1.0, 230 / 64, 4.5, 430 / 64, 230 / 32, 430 / 48])
def test_a_blur_has_the_stated_width_on_coarse_pixels_too(pixel: float, fwhm: float) -> None:
    size = 65
    spread = blur_matrix(size, pixel, fwhm)[:, size // 2].astype(float)
    place = (np.arange(size) - size // 2) * pixel
    width = 2 * math.sqrt(2 * math.log(2) * (spread * place**2).sum())
    assert width == pytest.approx(fwhm, rel=0.18 if 0.7 < pixel / fwhm <= 0.8 else 0.03)
