"""The invertible network with latent channels: what no tracer explains is carried along.

An exact inverse may lose nothing, and yet separation must drop noise. So the mixture enters as
channels (0, 0, m) and two additive couplings (Dinh et al., ICLR workshop 2015) act on them: the
tracers gain a function of the last part, whatever it is, and the last part loses their sum. What
comes out is (tracer 1, tracer 2, z) with z = m - tracer 1 - tracer 2, the noise and all that the
answer misses. Backwards the mixture is the sum of all three, with z = 0 that of the tracers.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dtsinn.networks.rivals.plain import PlainConfig, PlainNetwork


@dataclass(frozen=True, kw_only=True)
class LatentConfig(PlainConfig):
    """Invertible network with latent channels."""

    kind: Literal["latent"] = "latent"  # type: ignore[assignment]
    start: Literal["half", "linear", "cascade"] = "cascade"
    width: int = 24


class LatentSeparator(PlainNetwork):
    """A subnet gives the tracers, latent channels keep the rest of the mixture.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = LatentConfig
    title = "invertible network with latent channels"
    exact = True
    has_latent = True

    def latent(self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
        """Z [B, T, Y, X]: what the tracers do not explain of the mixture."""
        return mixture_BTYX - tracers_BKTYX.sum(dim=1)

    def inverse(self, tracers_BKTYX: Tensor, latent_BTYX: Tensor | None = None) -> Tensor:
        """Mix tracers [B, K, T, Y, X] and z [B, T, Y, X], without it 0, into [B, T, Y, X]."""
        sum_BTYX = tracers_BKTYX.sum(dim=1)
        return sum_BTYX if latent_BTYX is None else sum_BTYX + latent_BTYX
