"""The invertible separator's own subnet without an inverse: what couplings cost is seen beside it.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor

from dtsinn.core.config import OneOf
from dtsinn.networks.corrected import CorrectedNetwork, StartConfig, linear_split
from dtsinn.networks.method import check_least
from dtsinn.networks.subnets import SUBNETS


@dataclass(frozen=True, kw_only=True)
class PlainConfig(StartConfig):
    """One subnet of the invertible separator's, without an inverse: 11k parameters at 18 frames."""

    kind: Literal["plain"] = "plain"
    subnet: Annotated[str, OneOf(SUBNETS)] = "bottleneck"
    """Kind of the subnet."""
    width: int = 16
    """Channels inside it."""
    depth: int = 6
    """Convolutions in it, at least 2; 3 of ``bottleneck``."""

    def __post_init__(self) -> None:
        check_least(self, width=1, depth=SUBNETS[self.subnet].least_depth)


class PlainNetwork(CorrectedNetwork):
    """One subnet of a kind that coupling blocks take, beside the linear map of the frames.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = PlainConfig
    title = "subnet without an inverse"

    def __init__(self, frames: int, config: PlainConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        self.subnet = SUBNETS[config.subnet](self.inputs, 2 * frames, config.width, config.depth)
        self.split = linear_split(frames)
        self.draw_start(seed, self.subnet.tail)

    def correction(self, seen_BCYX: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, 2T, Y, X]."""
        out: Tensor = self.subnet(seen_BCYX)
        return out
