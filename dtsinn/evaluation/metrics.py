"""Metrics of one subject: PSNR, SSIM, NRMSE, regional bias, and intervals over subjects.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. Activities are in kBq/mL and
not decay-corrected. A *scored set* of a tracer is: body pixels, all slices of the subject, all
frames that start at or after that tracer's injection.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import RunError, StoreError
from dtsinn.core.protocol import Protocol
from dtsinn.core.seeds import generator
from dtsinn.data.body import body_mask, mean_curves, truth_of
from dtsinn.data.store import Samples

Floats = NDArray[np.floating]
Pair = tuple[float, float]

RESOLUTION = float(np.finfo(np.float32).eps)
"""An RMS error below this part of the peak is rounding of the float32 truth: PSNR ends there,
at 138 dB, so that a perfect answer has a finite score."""
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
"""Of the Gaussian window, pixels: 11 of them along each side (Wang et al. 2004)."""
SSIM_K = 0.01, 0.03
"""K1 and K2 (Wang et al. 2004)."""
SSIM_SMALLEST = 6
"""Pixels per side from which the 11-pixel Gaussian window of the SSIM can be reflected in."""


FEWEST = 5
"""Subjects from which an interval is given. Two can be drawn with return in 3 ways, four in 35,
five in 126: percentiles of fewer are those of a handful of numbers (the limit is uncited)."""


class Interval(NamedTuple):
    """A mean over subjects and its bootstrap interval, in the unit of the metric."""

    mean: float
    low: float | None = None
    """None of fewer than :data:`FEWEST` subjects."""
    high: float | None = None
    n: int = 0
    """Subjects behind it; 0 where that is not known."""

    def lies_above(self, limit: float) -> bool:
        """Whether there is an interval, and all of it is above."""
        return self.low is not None and self.low > limit

    def lies_below(self, limit: float) -> bool:
        """Whether there is an interval, and all of it is below."""
        return self.high is not None and self.high < limit

    def range_text(self, digits: int, sign: str = "") -> str:
        """Both ends: ``50.1 to 52.5``, or ``n = 2, no interval``; ``sign`` is ``+`` or empty."""
        if self.low is None or self.high is None:
            return f"n = {self.n}, no interval"
        return f"{self.low:{sign}z.{digits}f} to {self.high:{sign}z.{digits}f}"

    def text(self, digits: int, sign: str = "") -> str:
        """Mean and ends: ``51.3 (50.1 to 52.5)``."""
        return f"{self.mean:{sign}z.{digits}f} ({self.range_text(digits, sign)})"


def check_prediction(samples: Samples, predicted_NKTYX: Floats) -> None:
    """Refuse an answer whose shape is not that of the truth.

    Raises:
        RunError: It is not [N, 2, T, Y, X].
    """
    n, frames, height, width = samples.mixture_NTYX.shape
    if predicted_NKTYX.shape != (n, 2, frames, height, width):
        raise RunError(
            "a separator returned the wrong shape",
            got=predicted_NKTYX.shape,
            wanted=(n, 2, frames, height, width),
        )


def psnr(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> Pair:
    """PSNR of one subject in dB, per tracer: 10 log10(peak^2 / MSE) over the scored set.

    The peak is the maximum of the true tracer over the same set. NaN where the answer is not
    finite.

    Raises:
        StoreError: No truth, no body, no scored frame or no activity.
        RunError: An answer of the wrong shape.
    """
    moments = [_moments(samples, predicted_NKTYX, protocol, tracer) for tracer in (0, 1)]
    first, second = (_decibel(moment.peak, moment.mse) for moment in moments)
    return first, second


def nrmse(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> Pair:
    """RMS error over RMS truth on the scored set, per tracer (a fraction)."""
    truth_NKTYX, body_NYX = truth_of(samples), body_mask(samples, protocol)
    ratios = []
    for tracer in (0, 1):
        moment = _moments(samples, predicted_NKTYX, protocol, tracer)
        truth_NTYX = truth_NKTYX[:, tracer, protocol.first_frame(tracer) :]
        ratios.append(math.sqrt(moment.mse / _mean_square(truth_NTYX, body_NYX)))
    return ratios[0], ratios[1]


def ssim(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> Pair:
    """Structural similarity per tracer, the mean of its map over the scored set.

    Gaussian window of sigma 1.5 pixels, K1 0.01 and K2 0.03 (Wang et al. 2004), slice by slice
    and frame by frame; the data range is the peak of the PSNR, one for all frames, so that dim
    frames are not held to a finer standard than bright ones. The mean is taken over body
    pixels only: the empty air around a head would lift every score towards 1.

    Raises:
        StoreError: Images too small for the window.
    """
    if min(samples.mixture_NTYX.shape[-2:]) < SSIM_SMALLEST:
        raise StoreError(
            "images are too small for the SSIM",
            got=samples.mixture_NTYX.shape[-2:],
            wanted=f"at least {SSIM_SMALLEST} pixels per side",
        )
    truth_NKTYX, body_NYX = truth_of(samples), body_mask(samples, protocol)
    rows, columns = (_window_matrix(size) for size in body_NYX.shape[1:])
    means = []
    for tracer in (0, 1):
        first = protocol.first_frame(tracer)
        peak = _moments(samples, predicted_NKTYX, protocol, tracer).peak
        total = 0.0
        for n in range(len(body_NYX)):  # one slice at a time: the map is five images wide
            predicted_TYX, truth_TYX = (
                np.asarray(image[n, tracer, first:], dtype=np.float32) / np.float32(peak)
                for image in (predicted_NKTYX, truth_NKTYX)
            )
            map_TYX = _ssim_map(predicted_TYX, truth_TYX, rows, columns)
            total += float(map_TYX.mean(axis=0)[body_NYX[n]].sum(dtype=np.float64))
        means.append(total / int(body_NYX.sum()))
    return means[0], means[1]


def _ssim_map(a_TYX: Floats, b_TYX: Floats, rows: Floats, columns: Floats) -> Floats:
    """The SSIM at each pixel of images whose data range is 1; windows are products of matrices."""

    def mean(image_TYX: Floats) -> Floats:
        return rows @ image_TYX @ columns.T

    mean_a, mean_b = mean(a_TYX), mean(b_TYX)
    variance_a = np.maximum(mean(a_TYX * a_TYX) - mean_a * mean_a, 0)  # rounding can be below 0
    variance_b = np.maximum(mean(b_TYX * b_TYX) - mean_b * mean_b, 0)
    covariance = mean(a_TYX * b_TYX) - mean_a * mean_b
    c1, c2 = SSIM_K[0] ** 2, SSIM_K[1] ** 2
    above = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return above / ((mean_a * mean_a + mean_b * mean_b + c1) * (variance_a + variance_b + c2))


@functools.lru_cache(maxsize=8)
def _window_matrix(size: int) -> NDArray[np.float32]:
    """[size, size] that takes means over the window along an axis, mirrored at its ends."""
    offset = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weight = np.exp(-(offset**2) / (2 * SSIM_SIGMA**2))
    index = np.pad(np.arange(size), SSIM_RADIUS, mode="reflect")
    matrix = np.zeros((size, size))
    for place in range(size):
        np.add.at(matrix[place], index[place : place + len(offset)], weight / weight.sum())
    return matrix.astype(np.float32)


def regional_bias(
    samples: Samples, predicted_NKTYX: Floats, protocol: Protocol, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Bias of the area under each region's curve, per tracer, in percent of the true area.

    The area runs from the injection to the end of the scan: activity times frame duration,
    summed over the frames that start at or after the injection. Regions without activity and
    stores without regions have no bias.
    """
    if samples.regions_NYX is None:
        return {}, {}
    truth_NKTYX = truth_of(samples)
    biases: list[dict[str, float]] = []
    for tracer in (0, 1):
        first = protocol.first_frame(tracer)
        duration_T = np.asarray(protocol.frame_duration)[first:]
        true, found = (
            mean_curves(image[:, tracer, first:], samples.regions_NYX, names)
            for image in (truth_NKTYX, predicted_NKTYX)
        )
        areas = {name: (true[name] @ duration_T, found[name] @ duration_T) for name in true}
        biases.append(
            {
                name: float(100 * (guess - area) / area)
                for name, (area, guess) in areas.items()
                if area > 0
            }
        )
    return biases[0], biases[1]


def before_injection(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> Pair:
    """RMS error in kBq/mL in the body before each tracer's scored frames; 0 without such frames.

    The truth is zero in frames that end before the injection, so that this is what the network
    puts out where there is nothing yet.
    """
    truth_NKTYX, body_NYX = truth_of(samples), body_mask(samples, protocol)
    values = []
    for tracer in (0, 1):
        first = protocol.first_frame(tracer)
        error = predicted_NKTYX[:, tracer, :first] - truth_NKTYX[:, tracer, :first]
        values.append(math.sqrt(_mean_square(error, body_NYX)) if first else 0.0)
    return values[0], values[1]


def sum_residual(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> float:
    """RMS of (sum of the two answers - mixture) over RMS of the mixture, body, all frames."""
    body_NYX = body_mask(samples, protocol)
    rest_NTYX = predicted_NKTYX.sum(axis=1) - samples.mixture_NTYX
    return math.sqrt(
        _mean_square(rest_NTYX, body_NYX) / _mean_square(samples.mixture_NTYX, body_NYX)
    )


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Mean over subjects and its percentile bootstrap interval, subjects drawn with return.

    Fewer than :data:`FEWEST` subjects have a mean and no interval.

    Args:
        values: One value per subject.
        seed: Of the draws: equal input gives equal intervals.
        resamples: How often the subjects are drawn.
        confidence: Part of the resampled means inside the interval.

    Raises:
        StoreError: No subject.
    """
    value_S = np.asarray(values, dtype=np.float64)
    if value_S.size == 0:
        raise StoreError("an interval over subjects has no subject", wanted="at least one")
    if value_S.size < FEWEST:
        return Interval(float(value_S.mean()), n=value_S.size)
    draws = generator(seed, "bootstrap").integers(value_S.size, size=(resamples, value_S.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(value_S[draws].mean(axis=1), (tail, 1 - tail))
    return Interval(float(value_S.mean()), float(low), float(high), value_S.size)


def expand_confidence(confidence: float, subjects: int) -> float:
    """Confidence at which a percentile interval of few values is as wide as it should be.

    Percentiles of resampled means miss the factor sqrt(n / (n - 1)) and Student's quantiles; the
    "expanded percentile interval" of Hesterberg, The American Statistician 69 (2015) 371-386, asks
    for more extreme ones: tails of Phi(sqrt(n / (n - 1)) t), t the tail's quantile of Student's
    distribution of n - 1 degrees of freedom.

    Args:
        confidence: That the interval should have, in (0, 1).
        subjects: n; of one there is no better interval.
    """
    from scipy.special import ndtr, stdtrit  # here: training scores without it

    if subjects < 2:
        return confidence
    quantile = stdtrit(subjects - 1, (1 - confidence) / 2)
    return float(1 - 2 * ndtr(math.sqrt(subjects / (subjects - 1)) * quantile))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0
) -> Interval:
    """Mean and interval of first - second, subject by subject (same subjects, same order).

    The interval is as wide as so few subjects ask for (:func:`expand_confidence`): verdicts follow
    from it.

    Raises:
        StoreError: The two are not of the same length.
    """
    if len(first) != len(second):
        raise StoreError(
            "a paired difference needs the same subjects", got=(len(first), len(second))
        )
    differences = [a - b for a, b in zip(first, second, strict=True)]
    confidence = expand_confidence(0.95, len(differences))
    return bootstrap_interval(differences, seed=seed, confidence=confidence)


class _Moments(NamedTuple):
    """What PSNR and NRMSE share, over one tracer's scored set."""

    peak: float
    mse: float


def _moments(
    samples: Samples, predicted_NKTYX: Floats, protocol: Protocol, tracer: int
) -> _Moments:
    check_prediction(samples, predicted_NKTYX)
    body_NYX = body_mask(samples, protocol)
    if not body_NYX.any():
        raise StoreError("a subject has no body pixel", got=_subject(samples))
    first = protocol.first_frame(tracer)
    truth_NTYX = truth_of(samples)[:, tracer, first:]
    peak = float(truth_NTYX.max(axis=1)[body_NYX].max())
    if not peak > 0:
        raise StoreError(f"a subject has no activity of tracer {tracer + 1}", got=_subject(samples))
    mse = _mean_square(predicted_NKTYX[:, tracer, first:] - truth_NTYX, body_NYX)
    return _Moments(peak, mse)


def _mean_square(value_NTYX: Floats, body_NYX: NDArray[np.bool_]) -> float:
    """Mean over body pixels and frames of the square; sums over pixels in float64."""
    with np.errstate(over="ignore", invalid="ignore"):  # what diverged shows as inf or NaN
        square_NYX = np.einsum("ntyx,ntyx->nyx", value_NTYX, value_NTYX)
        total = float(square_NYX[body_NYX].sum(dtype=np.float64))
    return total / (int(body_NYX.sum()) * int(value_NTYX.shape[1]))


def _decibel(peak: float, mse: float) -> float:
    if not math.isfinite(mse):
        return math.nan
    return 20 * math.log10(peak / max(math.sqrt(mse), RESOLUTION * peak))


def _subject(samples: Samples) -> str:
    return repr(str(samples.subject_N[0]))
