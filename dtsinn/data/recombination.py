"""Other doses, counts and partners: how noise follows when the activity of a mixture changes.

The variance of a voxel in a frame is proportional to the activity that is present, so noise is
scaled with the square root of the ratio of new to old activity. Air stays as it was.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOISE_GAIN_LIMIT = 4.0
"""Largest factor on a voxel's noise where nearly empty voxels gain activity (uncited)."""
AIR_kBq_mL = 1e-6
"""Activity that is far below any tissue's, added to both sides of a ratio (uncited)."""


def other_dose(
    tracers_BKTYX: Tensor, noise_BTYX: Tensor, factor_BK: Tensor
) -> tuple[Tensor, Tensor]:
    """Each tracer times its own factor, with the noise of the new mixture."""
    factor_BK111 = factor_BK.to(tracers_BKTYX)[:, :, None, None, None]
    scaled = tracers_BKTYX * factor_BK111
    return scaled, noise_BTYX * noise_gain(tracers_BKTYX.sum(dim=1), scaled.sum(dim=1))


def other_counts(noise_BTYX: Tensor, log_level_B: Tensor) -> Tensor:
    """The noise of a scan with exp(log_level) times the counts and the same activity."""
    return noise_BTYX * torch.exp(-log_level_B / 2).to(noise_BTYX)[:, None, None, None]


def recombine(
    tracers_BKTYX: Tensor,
    noise_BTYX: Tensor,
    other_BKTYX: Tensor,
    other_noise_BTYX: Tensor,
    chosen_B: Tensor,
) -> tuple[Tensor, Tensor]:
    """The chosen samples' first tracer with the second one of other samples.

    The noise is the sample's own. Where the sample has too little activity to take noise from
    (the partner's head is larger, say), it is the partner's, whose activity is then nearly that
    of the new mixture.

    Args:
        tracers_BKTYX: The truth, kBq/mL.
        noise_BTYX: Of the mixture, kBq/mL.
        other_BKTYX: The partners' truth.
        other_noise_BTYX: Of the partners' mixtures.
        chosen_B: Which samples are recombined.

    Returns:
        Tracers and noise.
    """
    mixed_BKTYX = torch.stack((tracers_BKTYX[:, 0], other_BKTYX[:, 1]), dim=1)
    before, other, after = (x.sum(dim=1) for x in (tracers_BKTYX, other_BKTYX, mixed_BKTYX))
    own = _ratio(before, after) <= NOISE_GAIN_LIMIT**2
    noise = torch.where(
        own, noise_BTYX * noise_gain(before, after), other_noise_BTYX * noise_gain(other, after)
    )
    chosen = chosen_B[:, None, None, None]
    return (
        torch.where(chosen[..., None], mixed_BKTYX, tracers_BKTYX),
        torch.where(chosen, noise, noise_BTYX),
    )


def noise_gain(before_BTYX: Tensor, after_BTYX: Tensor) -> Tensor:
    """Factor on the noise where the total activity changes, at most :data:`NOISE_GAIN_LIMIT`."""
    return _ratio(before_BTYX, after_BTYX).sqrt().clamp_max(NOISE_GAIN_LIMIT)


def _ratio(before_BTYX: Tensor, after_BTYX: Tensor) -> Tensor:
    return (after_BTYX.clamp_min(0) + AIR_kBq_mL) / (before_BTYX.clamp_min(0) + AIR_kBq_mL)
