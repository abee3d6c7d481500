"""A plain residual CNN over slices, frames as channels.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.config import ResidualCNNConfig
from dtsinn.networks.rivals.parts import ResidualBlock, Rival, linear_split


class ResidualCNN(Rival):
    """3x3 convolutions: a head, residual blocks of two, a tail.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its make.
        seed: Seed of the weights' start.
    """

    def __init__(self, frames: int, config: ResidualCNNConfig, seed: int = 0) -> None:
        super().__init__()
        self.frames = frames
        self.config = config
        self.head = nn.Conv2d(frames, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.blocks))
        self.tail = nn.Conv2d(config.width, 2 * frames, 3, padding=1)
        self.split = linear_split(frames)
        self.draw_start(seed, self.tail)

    def correction(self, mixture_BTYX: Tensor) -> Tensor:
        """[B, T, Y, X] -> [B, 2T, Y, X]."""
        x = self.head(mixture_BTYX)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.tail(functional.relu(x))
        return out
