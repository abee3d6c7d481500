"""The invertible network with latent channels: what no tracer explains is carried along.

An exact inverse may lose nothing, and yet separation must drop noise. So the mixture enters as
channels (0, 0, m) and two additive couplings (Dinh et al., ICLR workshop 2015) act on them: the
tracers gain a function of the last part, whatever it is, and the last part loses their sum. What
comes out is (tracer 1, tracer 2, z) with z = m - tracer 1 - tracer 2, the noise and all that the
answer misses. Backwards the mixture is the sum of all three, with z = 0 that of the tracers.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from dtsinn.core.config import OneOf
from dtsinn.networks.corrected import CorrectedNetwork
from dtsinn.networks.method import MethodConfig, check_least
from dtsinn.networks.subnets import SUBNETS


@dataclass(frozen=True, kw_only=True)
class LatentConfig(MethodConfig):
    """Invertible network with latent channels: 35k parameters at 18 frames, 12k of them fitted."""

    kind: Literal["latent"] = "latent"
    start: Literal["linear", "cascade"] = "cascade"
    """The closed form that is corrected; it is fitted before the first step and stays so."""
    blocks: int = 1
    """Subnets, each of which corrects the answer that those before it left."""
    subnet: Annotated[str, OneOf(SUBNETS)] = "bottleneck"
    """Kind of the subnets."""
    width: int = 24
    """Channels inside a subnet."""
    depth: int = 6
    """Convolutions in a subnet, at least 2; 3 of ``bottleneck``."""

    def __post_init__(self) -> None:
        check_least(self, blocks=1, width=1, depth=SUBNETS[self.subnet].least_depth)


class LatentSeparator(CorrectedNetwork):
    """Subnets correct a closed form's answer, latent channels keep the rest of the mixture.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = LatentConfig
    title = "invertible network with latent channels"
    exact = True
    has_latent = True

    def __init__(self, frames: int, config: LatentConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        make = SUBNETS[config.subnet]
        blocks = [
            make(self.inputs, 2 * frames, config.width, config.depth) for _ in range(config.blocks)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.draw_start(seed, *(block.tail for block in blocks))

    def correction(self, seen_BCYX: Tensor) -> Tensor:
        """Mixture and answer [B, 3T, Y, X] -> [B, 2T, Y, X]."""
        mixture_BTYX, answer = torch.split(seen_BCYX, [self.frames, 2 * self.frames], dim=1)
        gained = torch.zeros_like(answer)
        for block in self.blocks:
            gained = gained + block(torch.cat((mixture_BTYX, answer + gained), dim=1))
        return gained

    def latent(self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor) -> Tensor:
        """Z [B, T, Y, X]: what the tracers do not explain of the mixture."""
        return mixture_BTYX - tracers_BKTYX.sum(dim=1)

    def inverse(self, tracers_BKTYX: Tensor, latent_BTYX: Tensor | None = None) -> Tensor:
        """Mix tracers [B, K, T, Y, X] and z [B, T, Y, X], without it 0, into [B, T, Y, X]."""
        sum_BTYX = tracers_BKTYX.sum(dim=1)
        return sum_BTYX if latent_BTYX is None else sum_BTYX + latent_BTYX
