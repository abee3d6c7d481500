"""Data augmentation: the same physics with another side, another dose.

The mixture is kept consistent with its tracers: it is mixed anew, and its noise is scaled with
the square root of the activity, as counting noise is.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.seeds import generator

NOISE_GAIN_LIMIT = 4.0
"""Largest factor on a voxel's noise where nearly empty voxels gain activity (uncited)."""


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How samples are varied in training; 0 everywhere leaves them as they are."""

    __pydantic_config__ = STRICT

    flip: float = 0.5
    """Probability that a sample is mirrored left to right."""
    dose: float = 0.0
    """Standard deviation of the logarithm of a factor on each tracer's activity."""

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise InputError("augmentation.flip", got=self.flip, wanted="a probability")
        if not 0 <= self.dose <= 1:
            raise InputError("augmentation.dose", got=self.dose, wanted="a number in [0, 1]")


def augment(
    mixture_BTYX: Tensor, tracers_BKTYX: Tensor, config: AugmentationConfig, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Vary a batch; (seed, step) fix every draw.

    Args:
        mixture_BTYX: kBq/mL.
        tracers_BKTYX: The truth, kBq/mL.
        config: How much.
        seed: Of the run.
        step: Of the run.

    Returns:
        The varied mixture and tracers.
    """
    rng = generator(seed, "augmentation", step)
    batch = len(mixture_BTYX)
    flips = rng.random(batch) < config.flip
    if config.dose > 0:
        factors = np.exp(rng.normal(0.0, config.dose, (batch, 2)))
        mixture_BTYX, tracers_BKTYX = _other_dose(mixture_BTYX, tracers_BKTYX, factors)
    if flips.any():
        chosen = torch.from_numpy(flips)
        mixture_BTYX = _mirror(mixture_BTYX, chosen)
        tracers_BKTYX = _mirror(tracers_BKTYX, chosen)
    return mixture_BTYX, tracers_BKTYX


def _other_dose(
    mixture_BTYX: Tensor,
    tracers_BKTYX: Tensor,
    factors: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> tuple[Tensor, Tensor]:
    factor_BK = torch.from_numpy(factors).to(tracers_BKTYX)
    before = tracers_BKTYX.sum(dim=1)
    scaled = tracers_BKTYX * factor_BK[:, :, None, None, None]
    after = scaled.sum(dim=1)
    gain = (after.clamp_min(0) / before.clamp_min(1e-6)).sqrt().clamp_max(NOISE_GAIN_LIMIT)
    return after + (mixture_BTYX - before) * gain, scaled


def _mirror(images: Tensor, chosen: Tensor) -> Tensor:
    shape = [len(chosen)] + [1] * (images.dim() - 1)
    return torch.where(chosen.reshape(shape), images.flip(-1), images)
