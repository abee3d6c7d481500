"""What every network promises, whatever its kind.

Shape letters: B batch, K tracer (2), T frame, Y X pixel. All activities are in units of the
sample's scale (see ``normalisation``).
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from dtsinn.networks.method import Learning, Method


class SeparatorNetwork(Method, nn.Module):
    """Mixture -> two tracers, for sequences of ``frames`` frames and slices of any size.

    An implementer promises what :class:`dtsinn.networks.method.Method` asks, a constructor of
    (frames, config, seed) whose weights ``seed`` alone decides, and :meth:`forward`. Samples of a
    batch do not see each other, and every weight gets a gradient. The network is exported to ONNX,
    so ``forward`` is made of what torch exports, and its state holds all that it needs. One that is
    ``exact`` has an :meth:`inverse`; one with ``has_latent`` also says by :meth:`latent` what that
    needs beside the tracers.
    :func:`dtsinn.testing.check_network` and ``check_export`` try all of it.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.

    Attributes:
        divisor: Sides of the slices that it takes are multiples of it.
        conditioned: It answers by the protocol that it was told of.
        closed_form: The part that is fitted in closed form before the first step, if there is one.
    """

    learning: ClassVar[Learning] = "gradient"
    has_weights = True
    divisor: int = 1
    conditioned: bool = False
    closed_form: ClosedFormNetwork | None

    def __init__(self, frames: int, config: Any) -> None:
        super().__init__()
        self.frames, self.config = frames, config
        self.closed_form = None

    @abstractmethod
    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""

    def latent(self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor | None:
        """What the inverse needs beside the tracers [B, K, T, Y, X]: None where that is nothing."""
        return None

    def inverse(self, tracers_BKTYX: Tensor, latent_BTYX: Tensor | None = None) -> Tensor:
        """Mix tracers [B, K, T, Y, X] again into mixtures [B, T, Y, X]; of exact networks alone.

        Args:
            tracers_BKTYX: Tracers.
            latent_BTYX: What :meth:`latent` gave; None is 0, that of tracers alone.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def condition_on(self, features_TF: Tensor) -> None:
        """Tell a network with conditioning of the protocol; to all others it says nothing.

        Args:
            features_TF: See :func:`dtsinn.networks.conditioning.protocol_features`.
        """

    def frozen(self) -> Self:
        """A copy for inference and export."""
        return copy.deepcopy(self).eval().requires_grad_(False)


class ClosedFormNetwork(SeparatorNetwork):
    """A network whose weights solve equations that are summed over a store.

    An implementer promises :meth:`moments`, whose result for several samples is the sum of those
    of each, and :meth:`solve`. Where equations need the answers of others, they are summed and
    solved in ``rounds``, one after the other. Before it is solved it gives an equal split, whatever
    the seed. Optimiser, loss, augmentation and the number of steps play no part.

    Attributes:
        rounds: Times that the store is gone through.
        balanced: Pixels of small regions weigh more than those of large ones.
    """

    learning = "closed form"
    rounds: int = 1
    balanced: ClassVar[bool] = False

    @abstractmethod
    def moments(
        self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor, weight_BYX: Tensor, turn: int
    ) -> Tensor:
        """What a batch adds to the equations of a round, in double precision.

        Args:
            mixture_BTYX: Mixtures.
            tracers_BKTYX: True tracers.
            weight_BYX: What each pixel counts for: 0 outside of the body; inside 1, or where the
                network is ``balanced`` and there are labels, more in small regions.
            turn: The round, counted from 0.
        """

    @abstractmethod
    def solve(self, moments: Tensor, turn: int) -> None:
        """Take the weights that follow from the sum of all moments of a round."""
