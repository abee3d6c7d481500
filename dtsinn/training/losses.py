"""Losses: forward, backward and consistency, each with a weight that a search can move.

All activities are in units of the sample's scale.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.networks.invertible import InvertibleSeparator

ACTIVITY_FLOOR = 0.02
"""Least activity, in scales, that a voxel's expected variance is computed from (uncited)."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms; a weight of 0 leaves a term out, and its cost too."""

    __pydantic_config__ = STRICT

    forward: float = 1.0
    """Mean squared error of each tracer, relative to that tracer's own mean square."""
    backward: float = 0.0
    """Mean squared error of the true tracers run backwards, against the augmented mixture."""
    backward_target: Literal["sum", "mixture"] = "sum"
    """What the backward direction must give: the sum of the true tracers, or the measured
    mixture (for labels that are noisy themselves)."""
    consistency: float = 0.0
    """Squared difference of the predictions' sum from the mixture over its expected variance."""

    def __post_init__(self) -> None:
        for name in ("forward", "backward", "consistency"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise InputError(f"loss.{name}", got=getattr(self, name), wanted="0 to 1e6")
        if self.forward == self.backward == 0:
            raise InputError("loss.forward and loss.backward are both 0", wanted="one above 0")


def loss_terms(
    network: InvertibleSeparator,
    mixture_BTYX: Tensor,
    tracers_BKTYX: Tensor,
    duration_T: Tensor,
    config: LossConfig,
) -> dict[str, Tensor]:
    """The weighted terms by name; their sum is what training minimises."""
    terms: dict[str, Tensor] = {}
    if config.forward or config.consistency:
        predicted_BKTYX = network(mixture_BTYX)
        if config.forward:
            terms["forward"] = config.forward * forward_loss(predicted_BKTYX, tracers_BKTYX)
        if config.consistency:
            terms["consistency"] = config.consistency * consistency_loss(
                predicted_BKTYX, mixture_BTYX, duration_T
            )
    if config.backward:
        target = mixture_BTYX if config.backward_target == "mixture" else tracers_BKTYX.sum(dim=1)
        terms["backward"] = config.backward * backward_loss(network, tracers_BKTYX, target)
    return terms


def forward_loss(predicted_BKTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
    """Squared error of each tracer over that tracer's mean square in the batch, averaged.

    The ratio weighs both tracers alike, as a PSNR with its own peak per tracer does.
    """
    error_K = (predicted_BKTYX - tracers_BKTYX).square().mean(dim=(0, 2, 3, 4))
    power_K = tracers_BKTYX.square().mean(dim=(0, 2, 3, 4))
    return (error_K / power_K.clamp_min(1e-6)).mean()


def backward_loss(
    network: InvertibleSeparator, tracers_BKTYX: Tensor, mixture_BTYX: Tensor
) -> Tensor:
    """Mean squared error of the true tracers, run backwards, against the augmented mixture.

    The network's own output would be no input: an exact network returns it to the mixture
    identically, without any gradient.
    """
    target_BCYX = network.variables.encode(mixture_BTYX)
    error = (network.inverse_channels(tracers_BKTYX) - target_BCYX).square().mean()
    return error / target_BCYX.square().mean().clamp_min(1e-6)


def consistency_loss(predicted_BKTYX: Tensor, mixture_BTYX: Tensor, duration_T: Tensor) -> Tensor:
    """Squared residual of the predictions' sum, weighted by one over the expected variance.

    A voxel's variance is proportional to its activity over the frame's duration; the weights
    have mean 1, so only ratios of variances count.
    """
    variance = mixture_BTYX.clamp_min(ACTIVITY_FLOOR) / duration_T[:, None, None]
    weight = 1.0 / variance
    residual = predicted_BKTYX.sum(dim=1) - mixture_BTYX
    return (residual.square() * (weight / weight.mean())).mean() / mixture_BTYX.square().mean()


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of the weighted terms."""
    return torch.stack(list(terms.values())).sum()
