"""The loss of a training: which terms, with which weights, in which order.

Terms of the separating pass share one run of the network; the mixing pass runs it backwards. A
training differentiates the first pass before the second one begins, so that the activations of
only one of them are in memory. All activities are in units of the sample's scale.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol
from dtsinn.networks.build import kinds_with
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training import terms

AUXILIARY = ("backward", "consistency", "structure", "time_activity", "non_negativity")
"""Terms beside the forward one, in which :attr:`LossConfig.ramp` has a say."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms; a weight of 0 leaves a term out, and its cost too."""

    __pydantic_config__ = STRICT

    forward: float = 1.0
    """Mean squared error of each tracer, relative to that tracer's own mean square."""
    frame_weights: Literal["equal", "variance"] = "equal"
    """Of the forward term: all frames alike, or each by one over its expected variance."""
    backward: float = 0.0
    """Mean squared error of tracers run backwards, against the augmented mixture; a second pass
    through the network, which must have an inverse."""
    backward_target: Literal["sum", "mixture", "own"] = "sum"
    """What is run backwards, and what it must give. ``sum``: the true tracers, and their sum.
    ``mixture``: the true tracers, and the measured mixture (for labels that are noisy
    themselves; with others it asks for noise that nobody can know). ``own``: the network's own
    output, and the mixture. That is the published cycle, which is zero in an exact network and
    teaches nothing; it costs two runs and is kept for the ablation."""
    consistency: float = 0.0
    """Squared difference of the predictions' sum from the mixture over its expected variance."""
    structure: float = 0.0
    """1 - SSIM, as in the evaluation: in the body, on the frames that are scored."""
    time_activity: float = 0.0
    """Squared error of the mean curves of small regions, tiles of 8 x 8 pixels, relative."""
    non_negativity: float = 0.0
    """Mean square of negative predictions, relative to the tracer's mean square."""
    ramp: float = 0.0
    """Part of the training over which all weights but ``forward`` rise linearly from 0."""

    def __post_init__(self) -> None:
        for name in ("forward", *AUXILIARY):
            if not 0 <= getattr(self, name) <= 1e6:
                raise InputError(f"loss.{name}", got=getattr(self, name), wanted="0 to 1e6")
        if not 0 <= self.ramp <= 1:
            raise InputError("loss.ramp", got=self.ramp, wanted="a number in [0, 1]")
        if self.forward == self.backward == 0:
            raise InputError("loss.forward and loss.backward are both 0", wanted="one above 0")
        if self.forward == 0 and self.backward_target == "own":
            raise InputError(
                "loss.backward_target own teaches nothing by itself", wanted="loss.forward above 0"
            )
        if self.forward == 0 and self.ramp > 0:
            raise InputError(
                "loss.ramp starts a training without any loss", wanted="loss.forward above 0"
            )

    def weights(self, share: float) -> dict[str, float]:
        """The weight of every term when the part ``share`` of the training is done."""
        risen = min(1.0, share / self.ramp) if self.ramp else 1.0
        return {"forward": self.forward} | {name: risen * getattr(self, name) for name in AUXILIARY}


@dataclass(frozen=True, kw_only=True, eq=False)
class LossTiming:
    """What the loss knows of the protocol, on the device of the training."""

    duration_T: Tensor
    """Of the frames, s."""
    scored_KT: Tensor
    """Whether a frame starts at or after the tracer's injection."""


def loss_timing(protocol: Protocol, device: torch.device | str) -> LossTiming:
    """The timing of a protocol, on a device."""
    scored = [protocol.starts_after(tracer) for tracer in range(2)]
    return LossTiming(
        duration_T=torch.tensor(protocol.frame_duration, device=device),
        scored_KT=torch.tensor(scored, device=device),
    )


def loss_passes(
    network: SeparatorNetwork,
    mixture_BTYX: Tensor,
    tracers_BKTYX: Tensor,
    timing: LossTiming,
    config: LossConfig,
    share: float,
) -> Iterator[dict[str, Tensor]]:
    """The weighted terms by name, pass by pass; their sum is what training minimises.

    Nothing of the mixing pass is computed before the iterator is asked for it.

    Args:
        network: Mixtures -> tracers.
        mixture_BTYX: What was measured, in scales.
        tracers_BKTYX: The truth, in scales.
        timing: Of the protocol.
        config: Which terms.
        share: Part of the training that is done, in [0, 1).

    Yields:
        The terms of the separating pass, then ``backward``; a pass without terms is left out.

    Raises:
        InputError: ``backward`` is asked of a network without an inverse.
    """
    weights = config.weights(share)
    if weights["backward"] and not isinstance(network, InvertibleSeparator):
        raise InputError(
            "loss.backward needs an inverse",
            got=f"model.kind {network.config.kind}",
            wanted=f"model.kind {' or '.join(kinds_with(exact=True))}",
        )
    if any(weight for name, weight in weights.items() if name != "backward"):
        yield _separating(network, mixture_BTYX, tracers_BKTYX, timing, config, weights)
    if weights["backward"] and isinstance(network, InvertibleSeparator):
        loss = _mixing(network, mixture_BTYX, tracers_BKTYX, config)
        yield {"backward": weights["backward"] * loss}


def total(weighted: dict[str, Tensor]) -> Tensor:
    """The sum of the weighted terms."""
    return torch.stack(list(weighted.values())).sum()


def _separating(
    network: SeparatorNetwork,
    mixture_BTYX: Tensor,
    tracers_BKTYX: Tensor,
    timing: LossTiming,
    config: LossConfig,
    weights: dict[str, float],
) -> dict[str, Tensor]:
    """The weighted terms that need the network's answer."""
    predicted_BKTYX = network(mixture_BTYX)
    duration_T = timing.duration_T
    body_BYX = terms.body_of(mixture_BTYX, duration_T)
    found: dict[str, Tensor] = {}
    if weights["forward"]:
        by_frame = config.frame_weights == "variance"
        weight_T = terms.frame_weights(tracers_BKTYX, duration_T) if by_frame else None
        found["forward"] = terms.forward_loss(predicted_BKTYX, tracers_BKTYX, weight_T)
    if weights["consistency"]:
        found["consistency"] = terms.consistency_loss(
            predicted_BKTYX, mixture_BTYX, tracers_BKTYX.sum(dim=1), duration_T
        )
    if weights["structure"]:
        found["structure"] = terms.structure_loss(
            predicted_BKTYX, tracers_BKTYX, timing.scored_KT, body_BYX
        )
    if weights["time_activity"]:
        found["time_activity"] = terms.time_activity_loss(predicted_BKTYX, tracers_BKTYX, body_BYX)
    if weights["non_negativity"]:
        found["non_negativity"] = terms.non_negativity_loss(predicted_BKTYX, tracers_BKTYX)
    return {name: weights[name] * term for name, term in found.items()}


def _mixing(
    network: InvertibleSeparator, mixture_BTYX: Tensor, tracers_BKTYX: Tensor, config: LossConfig
) -> Tensor:
    """The backward term, without its weight."""
    match config.backward_target:
        case "sum":
            return terms.backward_loss(network, tracers_BKTYX, tracers_BKTYX.sum(dim=1))
        case "mixture":
            return terms.backward_loss(network, tracers_BKTYX, mixture_BTYX)
        case "own":
            return terms.backward_loss(network, network(mixture_BTYX), mixture_BTYX)
