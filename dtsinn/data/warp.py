"""Warps: images turned, resized and bent, with noise that stays as strong as it was.

Images without noise are interpolated bilinearly. Interpolation averages neighbours, which would
take away up to half of a noise image's standard deviation; so noise is taken from the nearest
pixel: its distribution is kept exactly, whatever its correlation, and it still stands where the
activity stands that caused it. What comes from outside the image is 0.
Shape letters: B batch, K tracer (2), T frame, Y X pixel; coordinates (x, y) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FOLDING = 1 / 3
"""Largest displacement over smoothness: then the slope of the displacements has a standard
deviation of 0.24, and a fold, a slope below -1, is a chance of 1 in 90 000 per pixel and axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """Where the pixels of a batch come from."""

    angle_B: Tensor
    """Turn around the image's centre, degrees; positive from the x axis to the y axis."""
    log_factor_B: Tensor
    """Logarithm of the factor on the size."""
    displacement_B2YX: Tensor | None = None
    """Added to the place that a pixel is taken from: (x, y), pixels."""


def apply_warp(tracers_BKTYX: Tensor, noise_BTYX: Tensor, warp: Warp) -> tuple[Tensor, Tensor]:
    """Tracers, interpolated, and noise, from the nearest pixel, in a new pose and shape."""
    grid_BYX2 = _sources(warp, *noise_BTYX.shape[-2:]).to(noise_BTYX)
    tracers = functional.grid_sample(tracers_BKTYX.flatten(1, 2), grid_BYX2, align_corners=False)
    return tracers.reshape(tracers_BKTYX.shape), warp_nearest(noise_BTYX, warp)


def warp_nearest(images_BCYX: Tensor, warp: Warp) -> Tensor:
    """Noise or labels [B, C, Y, X], each pixel the nearest one of those before."""
    grid_BYX2 = _sources(warp, *images_BCYX.shape[-2:]).to(images_BCYX)
    found: Tensor = functional.grid_sample(
        images_BCYX, grid_BYX2, mode="nearest", align_corners=False
    )
    return found


def smooth(white_B2YX: Tensor, smoothness: float) -> Tensor:
    """White noise -> a smooth field of the same standard deviation at every pixel.

    Args:
        white_B2YX: Independent numbers.
        smoothness: Standard deviation of the Gaussian, pixels.
    """
    rows, columns = (_blur(size, smoothness).to(white_B2YX) for size in white_B2YX.shape[-2:])
    field_B2YX: Tensor = rows @ white_B2YX @ columns.T
    return field_B2YX


def _blur(size: int, smoothness: float) -> Tensor:
    """[size, size]: rows of a Gaussian filter whose squares sum to 1."""
    place = torch.arange(size, dtype=torch.float64)
    window = torch.exp(-0.5 * ((place[:, None] - place) / smoothness) ** 2)
    filter_rows: Tensor = window / window.norm(dim=1, keepdim=True)
    return filter_rows


def _sources(warp: Warp, height: int, width: int) -> Tensor:
    """Where pixels are taken from [B, Y, X, 2]: (x, y) with the image's edges at -1 and 1."""
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    shrink_B = torch.exp(-warp.log_factor_B.double())
    angle_B = torch.deg2rad(warp.angle_B.double())
    cos, sin = (
        (shrink_B * part)[:, None, None] for part in (torch.cos(angle_B), torch.sin(angle_B))
    )
    places = torch.stack((cos * x + sin * y[:, None], cos * y[:, None] - sin * x), dim=-1)
    if warp.displacement_B2YX is not None:
        places = places + warp.displacement_B2YX.double().movedim(1, -1)
    return places * 2 / torch.tensor([width, height], dtype=torch.float64)
