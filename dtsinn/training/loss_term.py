"""What every term of the loss promises, and what it is given.

Shape letters: B batch, K tracer (2), T frame, Y X pixel. All activities are in units of the
sample's scale (see ``dtsinn.networks.normalisation``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from dtsinn.core.protocol import Protocol
from dtsinn.data.body import BODY_FRACTION
from dtsinn.networks.separator import SeparatorNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class LossTiming:
    """What the loss knows of the protocol, on the device of the training."""

    duration_T: Tensor
    """Durations of the frames, s."""
    scored_KT: Tensor
    """Whether a frame starts at or after the tracer's injection."""


def loss_timing(protocol: Protocol, device: torch.device | str) -> LossTiming:
    """The timing of a protocol, on a device."""
    scored = [protocol.starts_after(tracer) for tracer in range(2)]
    return LossTiming(
        duration_T=torch.tensor(protocol.frame_duration, device=device),
        scored_KT=torch.tensor(scored, device=device),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LossBatch:
    """What the terms of one pass are computed from; what they share is computed once."""

    network: SeparatorNetwork
    mixture_BTYX: Tensor
    """What was measured, in scales."""
    tracers_BKTYX: Tensor
    """The truth, in scales."""
    timing: LossTiming
    regions_BYX: Tensor | None = None
    """Labels of regions, 0 outside the body, where there are any."""

    @cached_property
    def predicted_BKTYX(self) -> Tensor:  # noqa: N802 -- a shape suffix
        """The network's answer: one run of the network for all terms."""
        answer: Tensor = self.network(self.mixture_BTYX)
        return answer

    @cached_property
    def body_BYX(self) -> Tensor:  # noqa: N802 -- a shape suffix
        """Whether a pixel is body."""
        return body_of(self.mixture_BTYX, self.timing.duration_T)


class LossTerm(ABC):
    """One term of the loss.

    An implementer promises :meth:`value`: a number without a unit, 0 for a perfect answer, about 1
    for an empty one, finite for an empty sample, and with a finite gradient in the network's
    weights. Every term is relative, so that a weight means about the same for any tracer, protocol
    and dose. It never keeps what it was given. :func:`dtsinn.testing.check_loss` tries all of it.

    The term's weight is the setting of its own name, ``loss.NAME``.

    Attributes:
        weight: The weight by default; a term of another package has always 0.
        Options: Further settings under ``loss``, a frozen dataclass whose fields have defaults. A
            term of another package has none, for files must be readable without it.
        sufficient: A network can learn to separate from this term alone.
        needs_inverse: It runs the network backwards, so the network must have an inverse, and the
            term is computed in a pass of its own.
    """

    weight: ClassVar[float] = 0.0
    Options: ClassVar[type[Any]]
    sufficient: ClassVar[bool] = False
    needs_inverse: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def value(batch: LossBatch, config: Any) -> Tensor:
        """The term without its weight.

        Args:
            batch: What it is computed from.
            config: The configuration of the whole loss; a term reads its own options.
        """


def body_of(mixture_BTYX: Tensor, duration_T: Tensor) -> Tensor:
    """Body pixels [B, Y, X]: where the mean mixture exceeds 5 % of the scale, which is 1."""
    weight_T = duration_T / duration_T.sum()
    return (mixture_BTYX * weight_T[:, None, None]).sum(dim=1) > BODY_FRACTION
