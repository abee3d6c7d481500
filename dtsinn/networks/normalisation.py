"""The scale of a sample: what a network divides by before it separates.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from torch import Tensor

from dtsinn.data.body import SCALE_FLOOR_kBq_mL


def sample_scale(mixture_BTYX: Tensor, duration_T: Tensor) -> Tensor:
    """One scale per sample: the spatial maximum of its duration-weighted mean over frames.

    It needs the mixture alone, so it exists at inference; it is homogeneous of degree one,
    and padding with zeros does not move it.

    Args:
        mixture_BTYX: Mixtures in kBq/mL, not decay-corrected.
        duration_T: Frame durations in s.

    Returns:
        Scales [B] in kBq/mL, at least :data:`SCALE_FLOOR_kBq_mL`.
    """
    weight_T = (duration_T / duration_T.sum()).to(mixture_BTYX)
    mean_BYX = (mixture_BTYX * weight_T[:, None, None]).sum(dim=1)
    return mean_BYX.amax(dim=(1, 2)).clamp_min(SCALE_FLOOR_kBq_mL)


def per_sample(scale_B: Tensor, like: Tensor) -> Tensor:
    """``scale_B`` shaped so that it multiplies ``like`` (batch first) sample by sample."""
    return scale_B.reshape(-1, *([1] * (like.dim() - 1)))
