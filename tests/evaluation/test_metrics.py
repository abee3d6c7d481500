"""Metrics against their definitions, written out again in the slowest and plainest way."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dtsinn.core.errors import RunError, StoreError
from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.core.seeds import generator
from dtsinn.data.body import body_mask, mean_curves
from dtsinn.data.store import Samples
from dtsinn.evaluation import metrics
from dtsinn.evaluation.score import halve


def noisy_answer(samples: Samples) -> np.ndarray:
    truth = samples.tracers_NKTYX
    return truth * 1.05 + generator(3, "answer").normal(0, 0.5, truth.shape).astype(np.float32)


def plain_psnr(samples: Samples, answer: np.ndarray, protocol: Protocol, tracer: int) -> float:
    squares, peak = [], 0.0
    for n, frame in np.ndindex(len(samples.slice_N), protocol.frames):
        if protocol.frame_start[frame] < protocol.injection_time[tracer]:
            continue
        for y, x in np.argwhere(samples.regions_NYX[n] > 0):
            truth = float(samples.tracers_NKTYX[n, tracer, frame, y, x])
            squares.append((float(answer[n, tracer, frame, y, x]) - truth) ** 2)
            peak = max(peak, truth)
    return 10 * math.log10(peak**2 / (sum(squares) / len(squares)))


def test_psnr_is_the_written_definition(samples, protocol):
    answer = noisy_answer(samples)
    found = metrics.psnr(samples, answer, protocol)
    for tracer in (0, 1):
        expected = plain_psnr(samples, answer, protocol, tracer)
        assert found[tracer] == pytest.approx(expected, abs=1e-6)


def test_psnr_is_blind_outside_the_scored_set_and_only_there(samples, protocol):
    answer = noisy_answer(samples)
    before = metrics.psnr(samples, answer, protocol)
    first = protocol.first_frame(1)
    assert protocol.frame_start[first] == protocol.injection_time[1]
    changed = answer.copy()
    changed[:, 1, :first] += 100  # before the second injection
    changed[..., samples.regions_NYX[0] == 0] -= 100  # air
    assert metrics.psnr(samples, changed, protocol) == before
    changed[:, 1, first] += 1
    after = metrics.psnr(samples, changed, protocol)
    assert after[0] == before[0]
    assert after[1] < before[1]


@pytest.mark.parametrize("factor", [1e-3, 37.0])
def test_psnr_does_not_depend_on_the_unit(samples, protocol, factor):
    answer = noisy_answer(samples)
    scaled = dataclasses.replace(
        samples,
        tracers_NKTYX=samples.tracers_NKTYX * np.float32(factor),
        mixture_NTYX=samples.mixture_NTYX * np.float32(factor),
    )
    found = metrics.psnr(scaled, answer * np.float32(factor), protocol)
    assert found == pytest.approx(metrics.psnr(samples, answer, protocol), abs=1e-3)


def test_a_frame_that_straddles_the_injection_is_not_scored(samples, protocol):
    late = protocol_of_frames(
        "late",
        protocol.frame_start,
        protocol.frame_duration,
        (0.0, protocol.injection_time[1] + 1.0),
    )
    assert late.first_frame(1) == protocol.first_frame(1) + 1


def test_without_regions_the_body_is_found_in_the_mixture(samples, protocol):
    bare = dataclasses.replace(samples, regions_NYX=None)
    body = body_mask(bare, protocol)
    weights = np.array(protocol.frame_duration) / sum(protocol.frame_duration)
    for n in range(len(body)):
        mean = sum(w * image for w, image in zip(weights, samples.mixture_NTYX[n], strict=True))
        np.testing.assert_array_equal(body[n], mean > 0.05 * mean.max())
    agreement = (body == (samples.regions_NYX > 0)).mean()
    assert agreement > 0.95


def test_a_perfect_answer_has_a_finite_score_at_the_resolution_of_float32(samples, protocol):
    found = metrics.psnr(samples, samples.tracers_NKTYX, protocol)
    assert found == pytest.approx((138.47, 138.47), abs=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_an_answer_that_diverged_is_nan_and_warns_of_nothing(samples, protocol, value):
    answer = samples.tracers_NKTYX.copy()
    answer[0, :, -1, 12, 12] = value
    assert all(math.isnan(score) for score in metrics.psnr(samples, answer, protocol))


def test_nrmse_of_a_scaled_truth_is_the_factor(samples, protocol):
    answer = samples.tracers_NKTYX * np.array([1.1, 0.7], np.float32)[:, None, None, None]
    assert metrics.nrmse(samples, answer, protocol) == pytest.approx((0.1, 0.3), rel=1e-4)


def test_ssim_is_one_for_the_truth_and_falls_with_noise(samples, protocol):
    assert metrics.ssim(samples, samples.tracers_NKTYX, protocol) == pytest.approx((1, 1))
    little = metrics.ssim(samples, noisy_answer(samples), protocol)
    rng = generator(4, "more")
    more = noisy_answer(samples) + rng.normal(0, 3, samples.tracers_NKTYX.shape)
    assert 1 > min(little) > max(metrics.ssim(samples, more.astype(np.float32), protocol))


def test_ssim_is_the_written_definition_in_double_precision(samples, protocol):
    """The windows of scikit-image (``gaussian_weights``), but mirrored at the edges."""

    def mean(image_NTYX):
        return gaussian_filter(image_NTYX, (0, 0, 1.5, 1.5), radius=(0, 0, 5, 5), mode="mirror")

    answer = noisy_answer(samples)
    found = metrics.ssim(samples, answer, protocol)
    for tracer in (0, 1):
        scored = slice(None), tracer, slice(protocol.first_frame(tracer), None)
        a, b = answer[scored].astype(float), samples.tracers_NKTYX[scored].astype(float)
        body = np.broadcast_to((samples.regions_NYX > 0)[:, None], b.shape)
        c1, c2 = (0.01 * b[body].max()) ** 2, (0.03 * b[body].max()) ** 2
        variances = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
        covariance = mean(a * b) - mean(a) * mean(b)
        wanted = (2 * mean(a) * mean(b) + c1) * (2 * covariance + c2)
        wanted /= (mean(a) ** 2 + mean(b) ** 2 + c1) * (variances + c2)
        assert found[tracer] == pytest.approx(wanted[body].mean(), abs=1e-6)


def test_ssim_averages_over_the_body_alone(samples, protocol):
    """Uniform images have the closed form (2ab + c1) / (a^2 + b^2 + c1) in every window."""
    regions = np.zeros_like(samples.regions_NYX)
    regions[:, :, :12] = 1
    truth = np.full_like(samples.tracers_NKTYX, 4.0)
    answer = np.full_like(truth, 2.0)
    answer[..., 18:] = 9.0  # 6 pixels away from the body, out of the window's reach
    flat = dataclasses.replace(samples, regions_NYX=regions, tracers_NKTYX=truth)
    c1 = (0.01 * 4.0) ** 2
    expected = (2 * 4 * 2 + c1) / (4**2 + 2**2 + c1)
    assert metrics.ssim(flat, answer, protocol) == pytest.approx((expected,) * 2, rel=1e-4)


def test_regional_bias_is_that_of_the_area_after_the_injection(samples, protocol):
    answer = samples.tracers_NKTYX * np.array([1.1, 0.8], np.float32)[:, None, None, None]
    answer[:, 1, : protocol.first_frame(1)] = 50  # before: none of its business
    names = ("outside", "white", "frontal")  # label 3 has no name
    first, second = metrics.regional_bias(samples, answer, protocol, names)
    assert first == pytest.approx(dict.fromkeys(("white", "frontal", "region 3"), 10.0), rel=1e-3)
    assert second == pytest.approx(dict.fromkeys(first, -20.0), rel=1e-3)


def test_long_frames_weigh_more_in_the_area(samples, protocol):
    answer = samples.tracers_NKTYX.copy()
    answer[:, 0, -1] += 2.0
    true = mean_curves(samples.tracers_NKTYX[:, 0], samples.regions_NYX, ("", "white"))
    area = float(true["white"] @ np.array(protocol.frame_duration))
    bias, _ = metrics.regional_bias(samples, answer, protocol, ("", "white"))
    assert bias["white"] == pytest.approx(100 * 2 * protocol.frame_duration[-1] / area, rel=1e-4)


def test_without_regions_there_is_no_regional_bias(samples, protocol):
    bare = dataclasses.replace(samples, regions_NYX=None)
    assert metrics.regional_bias(bare, samples.tracers_NKTYX, protocol, ()) == ({}, {})


def test_what_is_put_out_before_the_injection(samples, protocol):
    answer = samples.tracers_NKTYX.copy()
    answer[:, 1, : protocol.first_frame(1)] = 3.0
    assert metrics.before_injection(samples, answer, protocol) == pytest.approx((0.0, 3.0))


def test_halves_sum_to_the_mixture(samples, protocol):
    assert metrics.sum_residual(samples, halve(samples.mixture_NTYX), protocol) == 0
    nothing = np.zeros_like(samples.tracers_NKTYX)
    assert metrics.sum_residual(samples, nothing, protocol) == pytest.approx(1)


def test_bootstrap_interval_repeats_holds_the_mean_and_narrows():
    values = generator(1, "values").normal(30, 2, 200)
    few, many = metrics.bootstrap_interval(values[:12]), metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval(values[:12]) == few
    assert metrics.bootstrap_interval(values[:12], seed=1) != few
    for interval, used in ((few, values[:12]), (many, values)):
        assert interval.mean == pytest.approx(used.mean())
        assert interval.low < interval.mean < interval.high
    # The interval of a mean of n normal values is about 2 x 1.96 sd / sqrt(n) wide.
    assert many.high - many.low == pytest.approx(3.92 * values.std() / math.sqrt(200), rel=0.1)
    assert few.high - few.low > 2 * (many.high - many.low)


def test_zero_has_no_minus_sign_in_texts():
    found = metrics.Interval(-0.001, -0.04, 0.04, 8)
    assert (found.text(1), found.text(1, "+")) == ("0.0 (0.0 to 0.0)", "+0.0 (+0.0 to +0.0)")


def test_an_expanded_interval_of_few_values_errs_as_often_as_it_says():
    confidence = metrics.expand_confidence(0.95, 12)
    assert confidence == pytest.approx(0.97848, abs=1e-5)  # by hand: 1 - 2 Phi(-1.04447 * 2.20099)
    assert metrics.expand_confidence(0.95, 10_000) == pytest.approx(0.95, abs=1e-4)
    assert metrics.expand_confidence(0.95, 1) == 0.95
    draws = generator(3, "draws").normal(0, 1, (1000, 12))
    above = {
        used: np.mean([metrics.bootstrap_interval(row, confidence=used).low > 0 for row in draws])
        for used in (0.95, confidence)
    }
    assert above[0.95] > 0.03
    assert above[confidence] == pytest.approx(0.025, abs=0.0125)


@pytest.mark.parametrize("subjects", [1, 2, 3, 4])
def test_fewer_than_five_subjects_have_a_mean_and_no_interval(subjects):
    values = [51.3 + 0.1 * number for number in range(subjects)]
    few = metrics.bootstrap_interval(values)
    assert few == (pytest.approx(np.mean(values)), None, None, subjects)
    assert few.range_text(1) == f"n = {subjects}, no interval"
    assert few.text(1, "+").endswith(f" (n = {subjects}, no interval)")
    assert not few.lies_above(-99)
    assert not few.lies_below(99)
    five = metrics.bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert five.n == 5
    assert five.text(1) == f"3.0 ({five.low:.1f} to {five.high:.1f})"


def test_pairing_removes_what_differs_between_subjects():
    base = generator(2, "base").normal(30, 10, 8)
    difference = metrics.paired_difference(base + 1, base)
    assert tuple(difference) == pytest.approx((1, 1, 1, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tracers_NKTYX": None}, "no true tracers"),
        ({"regions_NYX": np.zeros((2, 24, 24), np.uint8)}, "no body pixel; got 's0'"),
        ({"tracers_NKTYX": np.zeros((2, 2, 18, 24, 24), np.float32)}, "no activity of tracer 1"),
    ],
)
def test_a_subject_that_cannot_be_scored_is_refused(samples, protocol, change, message):
    broken = dataclasses.replace(samples, **change)
    with pytest.raises(StoreError, match=message):
        metrics.psnr(broken, noisy_answer(samples), protocol)


def test_refusals_of_answers_protocols_and_empty_means(samples, protocol):
    with pytest.raises(RunError, match="wrong shape"):
        metrics.psnr(samples, samples.mixture_NTYX, protocol)
    late = protocol_of_frames("late", protocol.frame_start, protocol.frame_duration, (0, 5399))
    with pytest.raises(StoreError, match="starts after injection 2; got an injection at 5399 s"):
        metrics.psnr(samples, samples.tracers_NKTYX, late)
    with pytest.raises(StoreError, match="no subject"):
        metrics.bootstrap_interval([])
    with pytest.raises(StoreError, match="same subjects"):
        metrics.paired_difference([1.0], [1.0, 2.0])
    small = dataclasses.replace(
        samples,
        mixture_NTYX=samples.mixture_NTYX[..., 10:15],
        tracers_NKTYX=samples.tracers_NKTYX[..., 10:15],
        regions_NYX=samples.regions_NYX[..., 10:15],
    )
    with pytest.raises(StoreError, match="too small for the SSIM"):
        metrics.ssim(small, small.tracers_NKTYX, protocol)
