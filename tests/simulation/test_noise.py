"""Noise: the variance law, its correlation, and the calibration of the levels."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.scanner.calibration import CALIBRATION, calibrate
from dtsinn.simulation.scanner.noise import (
    ImageNoise,
    NoiseLevel,
    correlated_noise,
    load_image_noise,
    noise_level,
    noise_sd,
)


def test_variance_of_voxels_is_alpha_squared_activity_over_duration() -> None:
    rng = np.random.default_rng(0)
    duration = np.array([60.0, 600.0])
    activity = rng.uniform(0, 30, (2, 12, 12))
    sd = noise_sd(activity, duration, 8.8)
    unit = correlated_noise(rng, (6000, 2, 12, 12), 3.6, 6.0)
    measured = (sd * unit).var(axis=0)
    stated = 8.8**2 * activity / duration[:, None, None]
    np.testing.assert_allclose(measured, stated, rtol=0.12)
    assert measured.sum() == pytest.approx(stated.sum(), rel=0.01)


def test_noise_is_correlated_as_the_filter_says_and_between_frames_not_at_all() -> None:
    pixel, fwhm = 2.0, 6.0  # fine enough for the formula of the continuum
    noise = correlated_noise(np.random.default_rng(1), (400, 2, 32, 32), pixel, fwhm)
    # White noise under a Gaussian of sigma has the autocorrelation e^(-d²/(4 sigma²)).
    sigma = fwhm / 2.3548
    for lag in (1, 2, 3):
        stated = np.exp(-((lag * pixel) ** 2) / (4 * sigma**2))
        along_x = np.mean(noise[..., 8:20, 8:20] * noise[..., 8:20, 8 + lag : 20 + lag])
        along_y = np.mean(noise[..., 8:20, 8:20] * noise[..., 8 + lag : 20 + lag, 8:20])
        assert along_x == pytest.approx(stated, abs=0.02)
        assert along_y == pytest.approx(stated, abs=0.02)
    assert abs(np.mean(noise[:, 0] * noise[:, 1])) < 0.01


def test_the_shipped_alphas_are_what_calibration_gives() -> None:
    computed = calibrate()
    assert set(computed) == set(load_image_noise().levels) == {"low", "mid", "high"}
    for name, alpha in computed.items():
        assert noise_level(name) == pytest.approx(alpha, rel=0.03)


def test_mid_noise_in_rendered_grey_matter_is_ten_percent() -> None:
    """On the images themselves, in other subjects than the calibration's formula used."""
    phantom = PHANTOMS["brain"]()
    grey = [label for label, region in enumerate(phantom.regions) if region.grey]
    residuals, activity = [], []
    for index in range(6):
        images = render_subject(CALIBRATION, index)
        truth = images.tracers[:, :, -1].sum(axis=1)
        mask = np.isin(images.regions, grey)
        residuals.append((images.mixture[:, -1] - truth)[mask])
        activity.append(truth[mask])
    ratio = np.concatenate(residuals).std() / np.concatenate(activity).mean()
    assert ratio == pytest.approx(0.10, rel=0.05)


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(InputError, match="low, mid, high"):
        noise_level("medium")
    with pytest.raises(InputError, match="alpha"):
        ImageNoise(
            resolution_fwhm_mm=5.0,
            noise_fwhm_mm=6.0,
            levels={"low": NoiseLevel(relative_sd=0.05, alpha=-1.0)},
        )
