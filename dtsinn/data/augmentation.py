"""Data augmentation: the same physics with another side, pose, anatomy, dose or count level.

A sample is taken apart into its tracers and its noise, the mixture less their sum; both are
varied and put together again. So the mixture stays consistent with its tracers: without noise it
is their sum, and its noise follows the activity as counting noise does.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.kinds import Kinds
from dtsinn.core.seeds import generator
from dtsinn.data.warp import FOLDING, Warp, apply_warp, smooth, warp_nearest

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


Batch = Mapping[str, Tensor]
"""``mixture`` [B, T, Y, X] and ``tracers`` [B, K, T, Y, X], the truth; kBq/mL."""
Settings = Mapping[str, tuple[float, float]]
"""Default and largest value by name."""


class Draws:
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


class Augmentation(ABC):
    """One way in which samples are varied.

    An implementer promises :meth:`vary`: the same physics with another sample, whose draws are
    taken under names of its own, so that no other augmentation changes them.

    Attributes:
        settings: Under ``augmentation``, by name: default and largest value (uncited); where all
            are 0, samples are left alone. What they mean, the class says.
        whole: It does the same to mixture and tracers, so samples need not be taken apart.
    """

    settings: ClassVar[Settings]
    whole: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Tracers and noise of the varied samples.

        Args:
            tracers_BKTYX: The truth, kBq/mL.
            rest_BTYX: The noise; the mixture, where the augmentation leaves samples whole.
            partner: As many other samples.
            config: The configuration of all augmentations; each reads its own options.
            draws: The random numbers of this step.
        """

    @staticmethod
    def move(labels_BYX: Tensor, config: Any, draws: Draws) -> Tensor:
        """Labels of pixels [B, Y, X], moved as :meth:`vary` moves the images of the same draws."""
        return labels_BYX


class Flip(Augmentation):
    """A mirror, left to right.

    ``flip`` is the probability that a sample is mirrored.
    """

    settings: ClassVar[Settings] = {"flip": (0.5, 1.0)}
    whole = True

    @staticmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """The chosen samples are mirrored."""
        flipped_B = draws.chosen("flip", config.flip)
        if not flipped_B.any():
            return tracers_BKTYX, rest_BTYX
        return _mirror(tracers_BKTYX, flipped_B), _mirror(rest_BTYX, flipped_B)

    @staticmethod
    def move(labels_BYX: Tensor, config: Any, draws: Draws) -> Tensor:
        """Those of the chosen samples are mirrored."""
        return _mirror(labels_BYX, draws.chosen("flip", config.flip))


class Pose(Augmentation):
    """Another pose, size and shape: images are sampled at new places.

    ``rotation`` is the standard deviation of a turn around the image's centre, degrees; ``scaling``
    that of the logarithm of a factor on the size; ``elastic`` that of a pixel's displacement along
    each axis, pixels, at most a third of ``elastic_smoothness``, so that no tissue folds over.
    """

    settings: ClassVar[Settings] = {
        "rotation": (0.0, 180.0),
        "scaling": (0.0, 0.5),
        "elastic": (0.0, 16.0),
    }

    @staticmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """See :mod:`dtsinn.data.warp`."""
        return apply_warp(tracers_BKTYX, rest_BTYX, _draw_warp(rest_BTYX, config, draws))

    @staticmethod
    def move(labels_BYX: Tensor, config: Any, draws: Draws) -> Tensor:
        """Those of the nearest pixels."""
        return warp_nearest(labels_BYX[:, None], _draw_warp(labels_BYX, config, draws))[:, 0]


class Dose(Augmentation):
    """Other doses.

    ``dose`` is the standard deviation of the logarithm of a factor on each tracer's activity.
    """

    settings: ClassVar[Settings] = {"dose": (0.0, 1.0)}

    @staticmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Each tracer times a factor of its own; the noise follows."""
        factor_BK = draws.normal("dose", config.dose, 2).exp()
        return other_dose(tracers_BKTYX, rest_BTYX, factor_BK)


class CountLevel(Augmentation):
    """More counts or fewer, at the same activity.

    ``count_level`` is the standard deviation of the logarithm x of the count level; noise changes
    by exp(-x / 2).
    """

    settings: ClassVar[Settings] = {"count_level": (0.0, 3.0)}

    @staticmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """The noise alone changes."""
        return tracers_BKTYX, other_counts(
            rest_BTYX, draws.normal("count level", config.count_level)
        )


class Recombination(Augmentation):
    """The second tracer of another sample.

    ``recombination`` is the probability that a sample gets one, and is mixed anew.
    """

    settings: ClassVar[Settings] = {"recombination": (0.0, 1.0)}

    @staticmethod
    def vary(
        tracers_BKTYX: Tensor, rest_BTYX: Tensor, partner: Batch | None, config: Any, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """See :func:`recombine`.

        Raises:
            InputError: There is no partner, or one of another shape.
        """
        chosen_B = draws.chosen("recombination", config.recombination).to(rest_BTYX.device)
        other = _split_noise(_check_partner(partner, tuple(tracers_BKTYX.shape)))
        return recombine(tracers_BKTYX, rest_BTYX, *other, chosen_B)


AUGMENTATIONS: Kinds[Augmentation] = Kinds(
    "augmentation",
    Augmentation,  # type: ignore[type-abstract]
    {
        "recombination": Recombination,
        "pose": Pose,
        "dose": Dose,
        "count level": CountLevel,
        "flip": Flip,
    },
)
"""The augmentations, in the order in which they are applied."""
_SETTINGS = {key: value for one in AUGMENTATIONS.values() for key, value in one.settings.items()}
_AMOUNTS: Any = make_dataclass(
    "Amounts",
    [(name, float, default) for name, (default, _) in _SETTINGS.items()],
    frozen=True,
    kw_only=True,
)


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig(_AMOUNTS):  # type: ignore[misc]
    """How samples are varied in training; 0 everywhere leaves them as they are.

    Concentrations are carried along by a change of pose, size or shape: a larger head holds more
    activity at the same kBq/mL. Turns and displacements count in pixels, which must be square.
    Noise of the labels, where they have any, counts as noise of the mixture too: warps and
    recombination then make mixtures noisier than the scanner's.
    """

    __pydantic_config__ = STRICT

    elastic_smoothness: float = 8.0
    """Standard deviation of the Gaussian that smooths the displacements, pixels."""

    def __post_init__(self) -> None:
        for name, (_, most) in _SETTINGS.items():
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
    def used(self) -> list[type[Augmentation]]:
        """The augmentations that are turned on, in their order."""
        return [
            one
            for one in AUGMENTATIONS.values()
            if any(getattr(self, name) for name in one.settings)
        ]


def augment(
    batch: Batch, partner: Batch | None, config: AugmentationConfig, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Vary a batch: recombination, then the warp, the dose, the count level and the mirror.

    (seed, step) fix every draw, and what one kind draws depends on no other kind. Samples are
    taken apart and put together again only where it must be: a mirror leaves them whole.

    Args:
        batch: The samples.
        partner: As many other samples; needed for recombination alone.
        config: How much.
        seed: Of the run.
        step: Of the run.

    Returns:
        The varied mixture and tracers, kBq/mL.

    Raises:
        InputError: Recombination has no partner, or one of another shape.
    """
    draws = Draws(seed, step, len(batch["mixture"]))
    mixture_BTYX, tracers_BKTYX = batch["mixture"], batch["tracers"]
    apart = [one for one in config.used if not one.whole]
    if apart:
        tracers_BKTYX, noise_BTYX = _split_noise(batch)
        for one in apart:
            tracers_BKTYX, noise_BTYX = one.vary(tracers_BKTYX, noise_BTYX, partner, config, draws)
        mixture_BTYX = tracers_BKTYX.sum(dim=1) + noise_BTYX
    for one in config.used:
        if one.whole:
            tracers_BKTYX, mixture_BTYX = one.vary(
                tracers_BKTYX, mixture_BTYX, partner, config, draws
            )
    return mixture_BTYX, tracers_BKTYX


def augment_labels(labels_BYX: Tensor, config: AugmentationConfig, seed: int, step: int) -> Tensor:
    """Labels of pixels [B, Y, X] where :func:`augment` moves the images of the same step to."""
    draws = Draws(seed, step, len(labels_BYX))
    for one in sorted(config.used, key=lambda one: one.whole):
        labels_BYX = one.move(labels_BYX, config, draws)
    return labels_BYX


def _draw_warp(images: Tensor, config: Any, draws: Draws) -> Warp:
    """The pose and shape of this step for images [B, ..., Y, X]."""
    displacement_B2YX = None
    if config.elastic:
        white_B2YX = draws.normal("elastic", config.elastic, 2, *images.shape[-2:])
        displacement_B2YX = smooth(white_B2YX, config.elastic_smoothness)
    return Warp(
        angle_B=draws.normal("rotation", config.rotation),
        log_factor_B=draws.normal("scaling", config.scaling),
        displacement_B2YX=displacement_B2YX,
    )


def _split_noise(batch: Batch) -> tuple[Tensor, Tensor]:
    """Tracers, and the noise: the mixture less their sum."""
    return batch["tracers"], batch["mixture"] - batch["tracers"].sum(dim=1)


def _check_partner(partner: Batch | None, wanted: tuple[int, ...]) -> Batch:
    """The partner, checked."""
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
