"""The terms of the loss, each a number without a unit that is 0 for a perfect answer.

All activities are in units of the sample's scale, and every term is relative, so that a weight
means about the same for any tracer, protocol and dose.
Shape letters: B batch, K tracer (2), T frame, N image, Y X pixel, H W tile, C channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.training.loss_term import LossBatch, LossTerm

ACTIVITY_FLOOR = 0.02
"""Least activity, in scales, that an expected variance is computed from (uncited)."""
POWER_FLOOR = 1e-6
"""Least mean square, in squared scales, that an error is related to (uncited). A tracer below it
is absent: what noise is left of it teaches nothing, and a slice of air does not outweigh others."""
PEAK_FLOOR = 1e-3
"""Least data range of the structural similarity, in scales (uncited)."""
WINDOW_SD, WINDOW_REACH = 1.5, 5
"""Gaussian window of the structural similarity, pixels; K1 and K2 (Wang et al. 2004)."""
K1, K2 = 0.01, 0.03
STRIDE = 2
"""Distance of the windows in the loss, pixels: they overlap, and it takes half the time."""
TILE = 8
"""Edge of the tiles that stand for regions, pixels (uncited)."""
TILE_BODY = 0.25
"""Least part of a tile that must be body for the tile to count (uncited)."""
FRAME_FLOOR = 1e-3
"""Least mean square of regional curves in a frame, over that of the frame of most activity, that an
error is related to (uncited)."""


@dataclass(frozen=True, kw_only=True)
class ForwardOptions:
    """Options of the forward term."""

    __pydantic_config__ = STRICT

    frame_weights: Literal["equal", "variance"] = "equal"
    """All frames alike, or each by one over its expected variance."""


class Forward(LossTerm):
    """Mean squared error of each tracer, relative to that tracer's own mean square."""

    weight = 1.0
    Options = ForwardOptions
    sufficient = True

    @staticmethod
    def value(batch: LossBatch, config: ForwardOptions) -> Tensor:
        """See :func:`forward_loss`."""
        weight_T = None
        if config.frame_weights == "variance":
            weight_T = frame_weights(batch.tracers_BKTYX, batch.timing.duration_T)
        return forward_loss(batch.predicted_BKTYX, batch.tracers_BKTYX, weight_T)


def forward_loss(
    predicted_BKTYX: Tensor, tracers_BKTYX: Tensor, weight_T: Tensor | None = None
) -> Tensor:
    """Squared error of each tracer over that tracer's mean square in the batch, averaged.

    The ratio weighs both tracers alike, as a PSNR with its own peak per tracer does. An empty
    answer costs 1.

    Args:
        predicted_BKTYX: The network's answer.
        tracers_BKTYX: The truth.
        weight_T: Weights of the frames, in error and mean square alike; none means equal ones.
    """
    error_KT = (predicted_BKTYX - tracers_BKTYX).square().mean(dim=(0, 3, 4))
    power_KT = tracers_BKTYX.square().mean(dim=(0, 3, 4))
    if weight_T is not None:
        error_KT, power_KT = error_KT * weight_T, power_KT * weight_T
    return _relative(error_KT.mean(dim=1), power_KT.mean(dim=1))


def frame_weights(tracers_BKTYX: Tensor, duration_T: Tensor) -> Tensor:
    """Weights [T] of mean 1: one over the variance that is expected in a frame of the mixture.

    The variance of a counting image is proportional to its activity over the frame's duration.
    """
    activity_T = tracers_BKTYX.sum(dim=1).mean(dim=(0, 2, 3))
    least = (ACTIVITY_FLOOR * activity_T.max()).clamp_min(POWER_FLOOR)
    weight_T = duration_T / torch.maximum(activity_T, least)
    return weight_T / weight_T.mean()


@dataclass(frozen=True, kw_only=True)
class BackwardOptions:
    """Options of the backward term."""

    __pydantic_config__ = STRICT

    backward_target: Literal["sum", "mixture", "own"] = "sum"
    """What is run backwards, and what it must give. ``sum``: the true tracers, and their sum.
    ``mixture``: the true tracers, and the measured mixture (for labels that are noisy
    themselves; with others it asks for noise that nobody can know). ``own``: the network's own
    output, and the mixture. That is the published cycle, which is zero in an exact network and
    teaches nothing; it costs two runs and is kept for the ablation."""


class Backward(LossTerm):
    """Mean squared error of tracers run backwards, against the augmented mixture.

    It is a second pass through the network, which must have an inverse.
    """

    Options = BackwardOptions
    sufficient = True
    needs_inverse = True

    @staticmethod
    def value(batch: LossBatch, config: BackwardOptions) -> Tensor:
        """See :func:`backward_loss`."""
        network, tracers_BKTYX = cast("InvertibleSeparator", batch.network), batch.tracers_BKTYX
        match config.backward_target:
            case "sum":
                return backward_loss(network, tracers_BKTYX, tracers_BKTYX.sum(dim=1))
            case "mixture":
                return backward_loss(network, tracers_BKTYX, batch.mixture_BTYX)
            case "own":
                return backward_loss(network, batch.predicted_BKTYX, batch.mixture_BTYX)


def backward_loss(
    network: InvertibleSeparator, tracers_BKTYX: Tensor, mixture_BTYX: Tensor
) -> Tensor:
    """Mean squared error of tracers, run backwards, against the augmented mixture, relative.

    Args:
        network: The network whose inverse is trained.
        tracers_BKTYX: The true tracers. The network's own output is no input to learn from: an
            exact network returns it to its mixture identically, without any gradient.
        mixture_BTYX: What they must give.
    """
    target_BCYX = network.variables.encode(mixture_BTYX)
    error = (network.inverse_channels(tracers_BKTYX) - target_BCYX).square().mean()
    return error / target_BCYX.square().mean().clamp_min(POWER_FLOOR)


class Consistency(LossTerm):
    """Squared difference of the predictions' sum from the mixture over its expected variance."""

    @staticmethod
    def value(batch: LossBatch, config: Any) -> Tensor:
        """See :func:`consistency_loss`."""
        return consistency_loss(
            batch.predicted_BKTYX,
            batch.mixture_BTYX,
            batch.tracers_BKTYX.sum(dim=1),
            batch.timing.duration_T,
        )


def consistency_loss(
    predicted_BKTYX: Tensor, mixture_BTYX: Tensor, expected_BTYX: Tensor, duration_T: Tensor
) -> Tensor:
    """Residual of the predictions' sum over the mixture, both in expected standard deviations.

    Sum of (prediction - mixture)^2 / variance over the sum of expected^2 / variance, where a
    voxel's variance is proportional to its expected activity over the frame's duration. The
    variance is not that of the measured mixture: voxels that noise has lowered would weigh more
    and pull the predictions down (by 2.6 % at medium noise, measured).

    Args:
        predicted_BKTYX: The network's answer.
        mixture_BTYX: What was measured.
        expected_BTYX: What was to be expected: the sum of the true tracers.
        duration_T: Of the frames, s.
    """
    weight = duration_T[:, None, None] / expected_BTYX.clamp_min(ACTIVITY_FLOOR)
    weight = weight / weight.mean()
    residual = predicted_BKTYX.sum(dim=1) - mixture_BTYX
    power = (expected_BTYX.square() * weight).mean().clamp_min(POWER_FLOOR)
    return (residual.square() * weight).mean() / power


class Structure(LossTerm):
    """1 - SSIM, as in the evaluation: in the body, on the frames that are scored."""

    @staticmethod
    def value(batch: LossBatch, config: Any) -> Tensor:
        """See :func:`structure_loss`."""
        scored_KT = batch.timing.scored_KT
        return structure_loss(batch.predicted_BKTYX, batch.tracers_BKTYX, scored_KT, batch.body_BYX)


def structure_loss(
    predicted_BKTYX: Tensor, tracers_BKTYX: Tensor, scored_KT: Tensor, body_BYX: Tensor
) -> Tensor:
    """1 - SSIM, the mean over the body, over a tracer's scored frames and over both tracers.

    The data range of a sample's tracer is its peak over the scored frames.
    """
    losses = []
    for tracer, scored_T in enumerate(scored_KT):
        predicted, truth = (x[:, tracer, scored_T] for x in (predicted_BKTYX, tracers_BKTYX))
        peak_B = truth.amax(dim=(1, 2, 3)).clamp_min(PEAK_FLOOR)
        similarity = structural_similarity(
            predicted, truth, peak_B[:, None, None, None], STRIDE
        ).mean(dim=1)
        body = body_BYX[:, ::STRIDE, ::STRIDE]
        losses.append(1 - (similarity * body).sum() / body.sum().clamp_min(1))
    return torch.stack(losses).mean()


def structural_similarity(first: Tensor, second: Tensor, peak: Tensor, stride: int = 1) -> Tensor:
    """The map of structural similarities [..., Y, X] of two images; 1 where they are alike.

    It is taken at every ``stride``-th row and column; at the border the window is cut off. The
    Gaussian means are products with band matrices: 20 times as fast on a CPU as depthwise
    convolutions (measured at 128 x 128 pixels). Two means of products are enough, for the formula
    holds both variances only in their sum.
    """
    rows = _gaussian_means(first.shape[-2], first)[::stride]
    columns = _gaussian_means(first.shape[-1], first)[::stride].T
    images = torch.stack((first, second, first.square() + second.square(), first * second))
    mean1, mean2, squares, product = (rows @ images @ columns).unbind()
    means, both = mean1.square() + mean2.square(), mean1 * mean2
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    luminance = (2 * both + c1) / (means + c1)
    contrast: Tensor = (2 * (product - both) + c2) / (squares - means + c2)
    return luminance * contrast


class TimeActivity(LossTerm):
    """Squared error of the mean curves of regions, relative in each frame."""

    weight = 0.3

    @staticmethod
    def value(batch: LossBatch, config: Any) -> Tensor:
        """See :func:`time_activity_loss`."""
        return time_activity_loss(
            batch.predicted_BKTYX, batch.tracers_BKTYX, batch.body_BYX, batch.regions_BYX
        )


def time_activity_loss(
    predicted_BKTYX: Tensor,
    tracers_BKTYX: Tensor,
    body_BYX: Tensor,
    regions_BYX: Tensor | None = None,
) -> Tensor:
    """Squared error of regional curves over their mean square in the frame, per tracer.

    Noise averages out in a region, bias does not; and each frame counts alike, for V_T and Ki are
    read from late frames of little activity. An empty answer costs 1.

    Args:
        predicted_BKTYX: The network's answer.
        tracers_BKTYX: The truth.
        body_BYX: Whether a pixel is body.
        regions_BYX: Labels, 0 outside the body; a region weighs by the root of its pixels. Without
            them regions are tiles of 8 x 8 pixels, of which the body's part counts.
    """
    labels_BYX = _tiles(body_BYX) if regions_BYX is None else regions_BYX.long()
    error_BRKT, pixels_BR = _regional_means(predicted_BKTYX - tracers_BKTYX, labels_BYX)
    truth_BRKT, _ = _regional_means(tracers_BKTYX, labels_BYX)
    if regions_BYX is None:
        weight_BR = (pixels_BR >= TILE_BODY * TILE**2).to(truth_BRKT)
    else:
        weight_BR = pixels_BR.sqrt()
    weight_BR[:, 0] = 0
    weight_BR = weight_BR / weight_BR.sum().clamp_min(1)
    error_KT, power_KT = (
        torch.einsum("brkt,br->kt", means.square(), weight_BR) for means in (error_BRKT, truth_BRKT)
    )
    peak_K1 = power_KT.amax(dim=1, keepdim=True)
    least_KT = torch.maximum(power_KT, (FRAME_FLOOR * peak_K1).clamp_min(POWER_FLOOR))
    ratio_K = (error_KT / least_KT).sum(dim=1) / (power_KT / least_KT).sum(dim=1).clamp_min(
        POWER_FLOOR
    )
    return torch.where(peak_K1[:, 0] > POWER_FLOOR, ratio_K, 0.0).mean()


def _tiles(body_BYX: Tensor) -> Tensor:
    """Labels of tiles, counted from 1; 0 outside the body."""
    width = body_BYX.shape[-1] // TILE + 1
    rows, columns = (torch.arange(n, device=body_BYX.device) // TILE for n in body_BYX.shape[-2:])
    return body_BYX * (1 + rows[:, None] * width + columns)


def _regional_means(images_BKTYX: Tensor, labels_BYX: Tensor) -> tuple[Tensor, Tensor]:
    """Means [B, R, K, T] over the pixels of each label, and the number of those [B, R]."""
    batch, tracers, frames = images_BKTYX.shape[:3]
    regions = int(labels_BYX.max()) + 1
    first_B = torch.arange(batch, device=labels_BYX.device) * regions
    index_P = (labels_BYX + first_B[:, None, None]).flatten()
    # Rows of channels are as they lie in memory, and adding them up is cheap.
    rows = images_BKTYX.flatten(1, 2).movedim(1, -1).reshape(len(index_P), -1)
    sums = rows.new_zeros(batch * regions, rows.shape[1]).index_add(0, index_P, rows)
    pixels = torch.bincount(index_P, minlength=batch * regions).to(rows)
    means = sums / pixels.clamp_min(1)[:, None]
    return means.reshape(batch, regions, tracers, frames), pixels.reshape(batch, regions)


class NonNegativity(LossTerm):
    """Mean square of negative predictions, relative to the tracer's mean square."""

    @staticmethod
    def value(batch: LossBatch, config: Any) -> Tensor:
        """See :func:`non_negativity_loss`."""
        return non_negativity_loss(batch.predicted_BKTYX, batch.tracers_BKTYX)


def non_negativity_loss(predicted_BKTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
    """Mean square of the negative part of the answer over the truth's mean square, per tracer."""
    below_K = predicted_BKTYX.clamp_max(0).square().mean(dim=(0, 2, 3, 4))
    power_K = tracers_BKTYX.square().mean(dim=(0, 2, 3, 4))
    return _relative(below_K, power_K)


def _relative(error_K: Tensor, power_K: Tensor) -> Tensor:
    """Mean over the tracers of error over power; a tracer that is absent counts as no error."""
    ratio_K = error_K / power_K.clamp_min(POWER_FLOOR)
    return torch.where(power_K > POWER_FLOOR, ratio_K, 0.0).mean()


def _gaussian_means(size: int, like: Tensor) -> Tensor:
    """[size, size]: row i averages over a Gaussian window around i; its sum is 1."""
    place = torch.arange(size, device=like.device, dtype=like.dtype)
    distance = place[:, None] - place
    window = torch.exp(-0.5 * (distance / WINDOW_SD) ** 2) * (distance.abs() <= WINDOW_REACH)
    means: Tensor = window / window.sum(dim=1, keepdim=True)
    return means
