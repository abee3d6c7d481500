"""The scanner as a whole: calibration, noise, empty frames, and results that can be repeated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.fields import blur_matrix, pixel_centres
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest, voxel_size
from dtsinn.simulation.scanner.projector import covering_bins
from dtsinn.simulation.scanner.reconstruction import ScannerModel, scanner_model
from dtsinn.simulation.scanner.scanner import load_scanner

SIZE, PIXEL = 32, 4.0
GE = load_scanner("ge-dls")
SMALL = dataclasses.replace(GE, bin_width_mm=3.0, angles=96)
CENTRES = pixel_centres(SIZE, SIZE * PIXEL)
RADIUS = np.hypot(CENTRES[:, None], CENTRES[None, :])
DURATION = np.array([150.0, 300.0, 600.0])
FINE = pixel_centres(SIZE * 8, SIZE * PIXEL)
WATER = 0.096 * (np.hypot(FINE[:, None], FINE) < 45.0).reshape(SIZE, 8, SIZE, 8).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def model() -> ScannerModel:
    return ScannerModel(SMALL, SIZE, PIXEL)


def seen(image_YX: np.ndarray) -> np.ndarray:
    """An image at the scanner's resolution."""
    blur = blur_matrix(SIZE, PIXEL, GE.resolution_fwhm_mm)
    return np.asarray(blur @ image_YX.astype(np.float32) @ blur.T)


def filtered(images: np.ndarray) -> np.ndarray:
    """Images after the post-filter."""
    blur = blur_matrix(SIZE, PIXEL, GE.postfilter_fwhm_mm)
    return np.asarray(blur @ images @ blur.T)


DISC = seen(RADIUS < 40.0)
SPOT = seen(np.hypot(CENTRES[:, None] - 14.0, CENTRES[None, :] + 10.0) < 12.0)
INSIDE = RADIUS < 28.0


def two_slices() -> tuple[np.ndarray, np.ndarray]:
    """Activity [S, T, Y, X] and attenuation: an early frame and a slice without activity."""
    frames = np.array([0.0, 4.0, 10.0])[:, None, None]
    activity = np.stack([frames * DISC, np.zeros((3, SIZE, SIZE)), frames * (DISC + 2.0 * SPOT)])
    return activity, np.stack([WATER] * 3)


def noise_free(model: ScannerModel, activity_TYX: np.ndarray, sensitivity: float) -> np.ndarray:
    expected = model.expected(activity_TYX, WATER, DURATION, sensitivity)
    counts = expected.trues + expected.background
    return model.reconstruct(counts, expected.background, WATER, DURATION, sensitivity)


def scans(
    model: ScannerModel, activity_YX: np.ndarray, trues: float, repeats: int, seed: int
) -> np.ndarray:
    """[repeats, Y, X] independent scans of one frame; frames of equal activity are such scans."""
    activity = np.repeat(activity_YX[None, None], repeats, axis=1)
    duration = np.full(repeats, 300.0)
    sensitivity = model.sensitivity(activity, WATER[None], duration, trues * repeats)
    rng = np.random.default_rng(seed)
    return model.acquire_and_reconstruct(rng, activity, WATER[None], duration, sensitivity)[0]


def test_a_full_scanner_gives_a_uniform_disc_back_without_bias() -> None:
    size, pixel = 64, 230 / 64
    centres = pixel_centres(size, 230.0)
    radius = np.hypot(centres[:, None], centres[None, :])
    blur = blur_matrix(size, pixel, GE.resolution_fwhm_mm)
    disc = 20.0 * (blur @ (radius < 80.0).astype(np.float32) @ blur.T)
    attenuation = 0.096 * (radius < 85.0)
    model = scanner_model(load_scanner("ge-dls"), size, pixel)
    sensitivity = model.sensitivity(disc[None, None], attenuation[None], [600.0], 5e6)[0]
    expected = model.expected(disc[None], attenuation, [600.0], sensitivity)
    counts = expected.trues + expected.background
    image = model.reconstruct(counts, expected.background, attenuation, [600.0], sensitivity)[0]
    post = blur_matrix(size, pixel, GE.postfilter_fwhm_mm)
    truth = post @ disc @ post.T
    inside = radius < 65.0
    assert image[inside].mean() == pytest.approx(truth[inside].mean(), rel=0.005)
    np.testing.assert_allclose(image[inside], truth[inside], rtol=0.02)
    assert np.abs(image - truth).max() < 0.05 * 20.0  # at the rim OSEM has not ended
    assert image[radius > 100.0].max() < 0.01 * 20.0


def test_the_sensitivity_brings_the_trues_and_frames_share_them(model: ScannerModel) -> None:
    activity, attenuation = two_slices()
    sensitivity = model.sensitivity(activity, attenuation, DURATION, 3e6)
    assert sensitivity[1] == 0.0
    for s in (0, 2):
        trues = model.expected(activity[s], attenuation[s], DURATION, sensitivity[s]).trues
        assert trues.sum() == pytest.approx(3e6, rel=1e-5)
        share = trues.sum(axis=0) / trues.sum()
        assert share == pytest.approx(np.array([0.0, 4 * 300, 10 * 600]) / 7200, rel=1e-5)


def test_water_weakens_the_central_line_as_lambert_and_beer_say(model: ScannerModel) -> None:
    frame = DISC[None]
    air = model.expected(frame, 0.0 * WATER, [300.0], 1.0).trues[:, 0]
    water = model.expected(frame, WATER, [300.0], 1.0).trues[:, 0]
    bins = covering_bins(SIZE, PIXEL, SMALL.bin_width_mm)
    share = np.divide(water, air, where=air > 0, out=np.ones_like(air)).reshape(-1, bins)
    assert share[:, bins // 2] == pytest.approx(np.exp(-0.096 * 9.0), rel=0.02)
    off = 10 * SMALL.bin_width_mm  # of ten bins from the centre
    chord = 2 * np.sqrt(45.0**2 - off**2) / 10
    assert share[:, bins // 2 - 10] == pytest.approx(np.exp(-0.096 * chord), rel=0.03)


def test_each_tracers_scan_with_the_mixtures_sensitivity_has_its_share_of_the_trues(
    model: ScannerModel,
) -> None:
    weights = np.array([1.0, 3.0, 2.0])[:, None, None]
    first, second = weights * DISC, weights[::-1] * SPOT
    sensitivity = model.sensitivity((first + second)[None], WATER[None], DURATION, 2e6)[0]
    trues = [
        model.expected(image, WATER, DURATION, sensitivity).trues
        for image in (first, second, first + second)
    ]
    np.testing.assert_allclose(trues[0] + trues[1], trues[2], rtol=1e-4, atol=1e-3)
    assert trues[2].sum() == pytest.approx(2e6, rel=1e-5)


def test_noise_free_scans_of_two_tracers_add_up_to_that_of_the_mixture(
    model: ScannerModel,
) -> None:
    weights = np.array([1.0, 3.0, 2.0])[:, None, None]
    first, second = weights * DISC, weights[::-1] * SPOT
    parts = noise_free(model, first, 1e-3) + noise_free(model, second, 1e-3)
    mixture = noise_free(model, first + second, 1e-3)
    np.testing.assert_allclose(parts, mixture, atol=0.02 * mixture.max())
    np.testing.assert_allclose(mixture, filtered(first + second), atol=0.03 * mixture.max())


def test_activity_and_image_are_in_proportion(model: ScannerModel) -> None:
    frames = np.array([1.0, 2.0, 5.0])[:, None, None] * (DISC + SPOT)
    np.testing.assert_allclose(
        noise_free(model, 1000.0 * frames, 2e-7),
        1000.0 * noise_free(model, frames, 2e-4),
        rtol=1e-3,
    )


def test_variance_falls_as_one_over_the_trues(model: ScannerModel) -> None:
    few, many = (scans(model, DISC, trues, 48, seed=1) for trues in (1e5, 1.6e6))
    ratio = few.var(axis=0)[INSIDE].mean() / many.var(axis=0)[INSIDE].mean()
    assert ratio == pytest.approx(16.0, rel=0.15)


def test_noise_is_correlated_between_neighbours_and_not_further(model: ScannerModel) -> None:
    noise = scans(model, DISC, 1e6, 48, seed=2)
    noise -= noise.mean(axis=0)
    middle = noise[:, 10:22, 10:22]

    def correlation(pixels: int) -> float:
        moved = noise[:, 10:22, 10 + pixels : 22 + pixels]
        return float((middle * moved).mean() / np.sqrt((middle**2).mean() * (moved**2).mean()))

    assert correlation(1) > 0.3
    assert abs(correlation(6)) < 0.1


def test_the_mean_of_many_scans_is_the_noise_free_one(model: ScannerModel) -> None:
    image = 8.0 * (DISC + SPOT)
    mean = scans(model, image, 4e6, 48, seed=3).mean(axis=0)
    truth = noise_free(model, np.stack([image] * 3), 1e-3)[0]
    assert mean[INSIDE].mean() == pytest.approx(truth[INSIDE].mean(), rel=0.003)
    np.testing.assert_allclose(mean[INSIDE], truth[INSIDE], rtol=0.06)


def test_frames_and_slices_without_activity_are_exactly_empty(model: ScannerModel) -> None:
    activity, attenuation = two_slices()
    sensitivity = model.sensitivity(activity, attenuation, DURATION, 1e6)
    rng = np.random.default_rng(0)
    images = model.acquire_and_reconstruct(rng, activity, attenuation, DURATION, sensitivity)
    assert images.dtype == np.float32
    assert images.shape == activity.shape
    assert not images[:, 0].any()
    assert not images[1].any()
    assert (images[[0, 2], 1:].max(axis=(2, 3)) > 1.0).all()


@pytest.mark.parametrize("trues", [0.5, 40.0, 2000.0])
@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_images_stay_finite_and_not_negative_with_hardly_a_count(
    trues: float, fraction: float
) -> None:
    scanner = dataclasses.replace(SMALL, scatter_fraction=fraction, randoms_fraction=fraction)
    model = ScannerModel(scanner, SIZE, PIXEL)
    activity, attenuation = two_slices()
    attenuation[2] = 50.0  # lead: hardly a pair of photons leaves it
    sensitivity = model.sensitivity(activity, attenuation, DURATION, trues)
    rng = np.random.default_rng(1)
    images = model.acquire_and_reconstruct(rng, activity, attenuation, DURATION, sensitivity)
    assert np.isfinite(images).all()
    assert images.min() >= 0.0


def test_a_scan_is_the_same_in_every_run_on_any_threads_and_slice_by_slice(
    model: ScannerModel,
) -> None:
    activity, attenuation = two_slices()
    sensitivity = model.sensitivity(activity, attenuation, DURATION, 1e6)

    def scan(groups: list[slice]) -> np.ndarray:
        rng = np.random.default_rng(4)
        return np.concatenate(
            [
                model.acquire_and_reconstruct(
                    rng, activity[g], attenuation[g], DURATION, sensitivity[g]
                )
                for g in groups
            ]
        )

    together = scan([slice(0, 3)])
    np.testing.assert_array_equal(scan([slice(0, 3)]), together)
    np.testing.assert_array_equal(scan([slice(0, 1), slice(1, 3)]), together)
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(scan([slice(0, 3)]), together)
        again = model.sensitivity(activity, attenuation, DURATION, 1e6)
        np.testing.assert_array_equal(again, sensitivity)
    finally:
        torch.set_num_threads(1)
    fresh = ScannerModel(SMALL, SIZE, PIXEL)
    rng = np.random.default_rng(4)
    np.testing.assert_array_equal(
        fresh.acquire_and_reconstruct(rng, activity, attenuation, DURATION, sensitivity), together
    )


def test_a_model_is_built_once_per_scanner_and_grid() -> None:
    model = scanner_model(load_scanner("ge-dls"), 8, 4.0)
    assert scanner_model(load_scanner("ge-dls"), 8, 4.0) is model
    assert scanner_model(load_scanner("ge-dls"), 8, 5.0) is not model
    changed = dataclasses.replace(load_scanner("ge-dls"), iterations=1)
    assert scanner_model(changed, 8, 4.0) is not model


@pytest.mark.parametrize("name", ["ge-dls", "polygon-2mm"])
def test_the_middle_level_is_ten_percent_of_noise_in_late_grey_matter(name: str) -> None:
    request = StudyRequest(subjects=16, purpose="calibration")
    parts, scans_each = request.parts, 6
    model = scanner_model(load_scanner(name), request.size, voxel_size(request))
    duration = np.array(parts.protocol.frame_duration)
    coefficients = np.array([region.attenuation for region in parts.phantom.regions])
    grey = [label for label, region in enumerate(parts.phantom.regions) if region.grey]
    variance, mean = [], []
    for index in (0, 2):
        images = render_subject(request, index)
        activity = images.tracers[::2].sum(axis=1)
        labels = images.regions[::2]
        attenuation = coefficients[labels]
        trues = load_scanner(name).trues_of("mid")
        sensitivity = model.sensitivity(activity, attenuation, duration, trues)
        # The last frame alone, several times over: what it is does not hang on the others.
        late = np.repeat(activity[:, -1:], scans_each, axis=1)
        rng = np.random.default_rng(index)
        repeats = model.acquire_and_reconstruct(
            rng, late, attenuation, np.full(scans_each, duration[-1]), sensitivity
        )
        where = np.isin(labels, grey)
        variance.append(repeats.var(axis=1, ddof=1)[where])
        mean.append(repeats.mean(axis=1)[where])
    sd = np.sqrt(np.concatenate(variance).mean())
    assert sd / np.concatenate(mean).mean() == pytest.approx(0.10, rel=0.1)


def test_arrays_that_do_not_fit_are_refused(model: ScannerModel) -> None:
    activity, attenuation = two_slices()

    def refusal(**changes: object) -> str:
        arrays = {"a": activity, "m": attenuation, "d": DURATION, "s": np.ones(3)} | changes
        rng = np.random.default_rng(0)
        with pytest.raises(InputError) as error:
            model.acquire_and_reconstruct(rng, *(arrays[key] for key in "amds"))
        return str(error.value)

    assert "shape of the activity; got (3, 2, 32, 32); wanted (3, 3, 32, 32)" in refusal(
        a=activity[:, :2]
    )
    assert "shape of the attenuation; got (2, 32, 32)" in refusal(m=attenuation[:2])
    assert "shape of the sensitivity; got (2,); wanted (3,)" in refusal(s=np.ones(2))
    assert "activity; got -4.0; wanted finite numbers, 0 or above" in refusal(a=-4.0 * activity**0)
    assert "attenuation; got nan" in refusal(m=attenuation * np.nan)
    assert "frame durations; got 0.0; wanted seconds above 0" in refusal(d=0.0 * DURATION)
    assert "frame durations; got none; wanted one per frame" in refusal(d=[])


def test_numbers_that_make_no_sense_are_refused(model: ScannerModel) -> None:
    activity, attenuation = two_slices()
    with pytest.raises(InputError, match="trues; got 0; wanted a number above 0 counts per slice"):
        model.sensitivity(activity, attenuation, DURATION, 0)
    with pytest.raises(InputError, match=r"sensitivity; got -1\.0; wanted a number, 0 or above"):
        model.expected(activity[0], WATER, DURATION, -1.0)
    with pytest.raises(InputError, match=r"shape of the counts; got \(5, 3\); wanted"):
        model.reconstruct(np.ones((5, 3)), np.ones((5, 3)), WATER, DURATION, 1.0)
    with pytest.raises(InputError, match=r"pixel; got -4\.0; wanted a number above 0 mm"):
        ScannerModel(SMALL, SIZE, -4.0)
    with pytest.raises(InputError, match="no such device; got 'abacus'"):
        ScannerModel(SMALL, SIZE, PIXEL, "abacus")
