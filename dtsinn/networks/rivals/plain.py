"""The invertible separator's own subnet without an inverse: what couplings cost is seen beside it.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from torch import Tensor

from dtsinn.networks.config import PlainConfig
from dtsinn.networks.rivals.parts import Rival, linear_split
from dtsinn.networks.subnets import SUBNETS


class PlainNetwork(Rival):
    """One subnet of a kind that coupling blocks take, beside the linear map of the frames.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its make.
        seed: Seed of the weights' start.
    """

    def __init__(self, frames: int, config: PlainConfig, seed: int = 0) -> None:
        super().__init__()
        self.frames = frames
        self.config = config
        self.subnet = SUBNETS[config.subnet](frames, 2 * frames, config.width, config.depth)
        self.split = linear_split(frames)
        self.draw_start(seed, self.subnet.tail)

    def correction(self, mixture_BTYX: Tensor) -> Tensor:
        """[B, T, Y, X] -> [B, 2T, Y, X]."""
        out: Tensor = self.subnet(mixture_BTYX)
        return out
