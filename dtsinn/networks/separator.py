"""What every network promises, whatever its kind.

Shape letters: B batch, K tracer (2), T frame, Y X pixel. All activities are in units of the
sample's scale (see ``normalisation``).
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn

from dtsinn.networks.config import ModelConfig


class SeparatorNetwork(nn.Module):
    """Mixture -> two tracers, for sequences of ``frames`` frames and slices of any size.

    Attributes:
        exact: There is an inverse, and it is exact up to rounding; such a network is an
            :class:`dtsinn.networks.invertible.InvertibleSeparator`.
        frames: Number of frames T.
        config: Its make.
        divisor: Sides of the slices that it takes are multiples of it.
        conditioned: It answers by the protocol that it was told of.
    """

    exact: ClassVar[bool] = False
    frames: int
    config: ModelConfig
    divisor: int = 1
    conditioned: bool = False

    @abstractmethod
    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""

    def tell_protocol(self, features_TF: Tensor) -> None:
        """Tell a network with conditioning of the protocol; to all others it says nothing.

        Args:
            features_TF: See :func:`dtsinn.networks.conditioning.protocol_features`.
        """

    def frozen(self) -> Self:
        """A copy for inference and export."""
        return copy.deepcopy(self).eval().requires_grad_(False)
