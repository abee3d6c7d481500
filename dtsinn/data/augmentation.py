"""Data augmentation: the same physics with another side, pose, anatomy, dose or count level.

A sample is taken apart into its tracers and its noise, the mixture less their sum; both are
varied and put together again. So the mixture stays consistent with its tracers: without noise it
is their sum, and its noise follows the activity as counting noise does.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.seeds import generator
from dtsinn.data.recombination import other_counts, other_dose, recombine
from dtsinn.data.warp import FOLDING, Warp, apply_warp, smooth

LIMITS = {
    "flip": 1.0,
    "rotation": 180.0,
    "scaling": 0.5,
    "elastic": 16.0,
    "dose": 1.0,
    "count_level": 3.0,
    "recombination": 1.0,
}
"""Largest value of each setting."""


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How samples are varied in training; 0 everywhere leaves them as they are.

    Concentrations are carried along by a change of pose, size or shape: a larger head holds more
    activity at the same kBq/mL. Turns and displacements count in pixels, which must be square.
    Noise of the labels, where they have any, counts as noise of the mixture too: warps and
    recombination then make mixtures noisier than the scanner's.
    """

    __pydantic_config__ = STRICT

    flip: float = 0.5
    """Probability that a sample is mirrored left to right."""
    rotation: float = 0.0
    """Standard deviation of a turn around the image's centre, degrees."""
    scaling: float = 0.0
    """Standard deviation of the logarithm of a factor on the size."""
    elastic: float = 0.0
    """Standard deviation of a pixel's displacement along each axis, pixels; at most a third of
    ``elastic_smoothness``, so that no tissue folds over."""
    elastic_smoothness: float = 8.0
    """Standard deviation of the Gaussian that smooths the displacements, pixels."""
    dose: float = 0.0
    """Standard deviation of the logarithm of a factor on each tracer's activity."""
    count_level: float = 0.0
    """Standard deviation of the logarithm x of the count level; noise changes by exp(-x / 2)."""
    recombination: float = 0.0
    """Probability that the second tracer comes from another sample, mixed anew."""

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            if not 0 <= getattr(self, name) <= most:
                raise InputError(
                    f"augmentation.{name}", got=getattr(self, name), wanted=f"0 to {most:g}"
                )
        if not 1 <= self.elastic_smoothness <= 1000:
            raise InputError(
                "augmentation.elastic_smoothness",
                got=self.elastic_smoothness,
                wanted="1 to 1000 pixels",
            )
        if self.elastic > FOLDING * self.elastic_smoothness:
            raise InputError(
                "augmentation.elastic",
                got=self.elastic,
                wanted=f"at most {FOLDING * self.elastic_smoothness:g}, a third of the smoothness",
            )

    @property
    def warps(self) -> bool:
        """Whether images are sampled at new places."""
        return max(self.rotation, self.scaling, self.elastic) > 0

    @property
    def rebuilds(self) -> bool:
        """Whether samples are taken apart and put together again; a mirror leaves them whole."""
        return self.warps or max(self.dose, self.count_level, self.recombination) > 0


def augment(
    batch: Mapping[str, Tensor],
    partner: Mapping[str, Tensor] | None,
    config: AugmentationConfig,
    seed: int,
    step: int,
) -> tuple[Tensor, Tensor]:
    """Vary a batch: recombination, then the warp, the dose, the count level and the mirror.

    (seed, step) fix every draw, and what one kind draws depends on no other kind.

    Args:
        batch: ``mixture`` [B, T, Y, X] and ``tracers`` [B, K, T, Y, X], the truth; kBq/mL.
        partner: The same of as many other samples; needed for recombination alone.
        config: How much.
        seed: Of the run.
        step: Of the run.

    Returns:
        The varied mixture and tracers, kBq/mL.

    Raises:
        InputError: Recombination has no partner, or one of another shape.
    """
    draws = _Draws(seed, step, len(batch["mixture"]))
    mixture_BTYX, tracers_BKTYX = batch["mixture"], batch["tracers"]
    if config.rebuilds:
        tracers_BKTYX, noise_BTYX = _vary(batch, partner, config, draws)
        mixture_BTYX = tracers_BKTYX.sum(dim=1) + noise_BTYX
    flipped_B = draws.chosen("flip", config.flip)
    if flipped_B.any():
        mixture_BTYX = _mirror(mixture_BTYX, flipped_B)
        tracers_BKTYX = _mirror(tracers_BKTYX, flipped_B)
    return mixture_BTYX, tracers_BKTYX


class _Draws:
    """The random numbers of one step: a generator for each kind."""

    def __init__(self, seed: int, step: int, batch: int) -> None:
        self.seed, self.step, self.batch = seed, step, batch

    def chosen(self, kind: str, probability: float) -> Tensor:
        """Which samples [B] a kind takes."""
        return torch.from_numpy(self._of(kind).random(self.batch) < probability)

    def normal(self, kind: str, deviation: float, *rest: int) -> Tensor:
        """Normal numbers [B, ...] of mean 0."""
        return torch.from_numpy(self._of(kind).normal(0.0, deviation, (self.batch, *rest)))

    def _of(self, kind: str) -> np.random.Generator:
        return generator(self.seed, "augmentation", kind, self.step)


def _vary(
    batch: Mapping[str, Tensor],
    partner: Mapping[str, Tensor] | None,
    config: AugmentationConfig,
    draws: _Draws,
) -> tuple[Tensor, Tensor]:
    """The tracers and the noise of the varied samples."""
    tracers_BKTYX, noise_BTYX = _split_noise(batch)
    if config.recombination:
        chosen_B = draws.chosen("recombination", config.recombination).to(noise_BTYX.device)
        other = _split_noise(_check_partner(partner, batch))
        tracers_BKTYX, noise_BTYX = recombine(tracers_BKTYX, noise_BTYX, *other, chosen_B)
    if config.warps:
        warp = _draw_warp(config, draws, *noise_BTYX.shape[-2:])
        tracers_BKTYX, noise_BTYX = apply_warp(tracers_BKTYX, noise_BTYX, warp)
    if config.dose:
        factor_BK = draws.normal("dose", config.dose, 2).exp()
        tracers_BKTYX, noise_BTYX = other_dose(tracers_BKTYX, noise_BTYX, factor_BK)
    if config.count_level:
        noise_BTYX = other_counts(noise_BTYX, draws.normal("count level", config.count_level))
    return tracers_BKTYX, noise_BTYX


def _draw_warp(config: AugmentationConfig, draws: _Draws, height: int, width: int) -> Warp:
    displacement_B2YX = None
    if config.elastic:
        white_B2YX = draws.normal("elastic", config.elastic, 2, height, width)
        displacement_B2YX = smooth(white_B2YX, config.elastic_smoothness)
    return Warp(
        angle_B=draws.normal("rotation", config.rotation),
        log_factor_B=draws.normal("scaling", config.scaling),
        displacement_B2YX=displacement_B2YX,
    )


def _split_noise(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Tracers, and the noise: the mixture less their sum."""
    return batch["tracers"], batch["mixture"] - batch["tracers"].sum(dim=1)


def _check_partner(
    partner: Mapping[str, Tensor] | None, batch: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The partner, checked."""
    wanted = tuple(batch["tracers"].shape)
    if partner is None or tuple(partner["tracers"].shape) != wanted:
        raise InputError(
            "augmentation.recombination needs a partner for each sample",
            got="none" if partner is None else f"tracers {tuple(partner['tracers'].shape)}",
            wanted=f"tracers {wanted}",
        )
    return partner


def _mirror(images: Tensor, chosen_B: Tensor) -> Tensor:
    chosen = chosen_B.to(images.device).reshape(-1, *([1] * (images.dim() - 1)))
    return torch.where(chosen, images.flip(-1), images)
