"""A plain residual CNN over slices, frames as channels.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.corrected import CorrectedNetwork, ResidualBlock, StartConfig, linear_split
from dtsinn.networks.method import check_least


@dataclass(frozen=True, kw_only=True)
class ResidualCNNConfig(StartConfig):
    """Plain residual CNN in 2D, frames as channels: 90k parameters at 18 frames."""

    kind: Literal["residual-cnn"] = "residual-cnn"
    width: int = 32
    """Channels."""
    blocks: int = 4
    """Residual blocks of two 3x3 convolutions."""

    def __post_init__(self) -> None:
        check_least(self, width=1, blocks=1)


class ResidualCNN(CorrectedNetwork):
    """3x3 convolutions: a head, residual blocks of two, a tail.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = ResidualCNNConfig
    title = "residual CNN"

    def __init__(self, frames: int, config: ResidualCNNConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        self.head = nn.Conv2d(self.inputs, config.width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(config.width) for _ in range(config.blocks))
        self.tail = nn.Conv2d(config.width, 2 * frames, 3, padding=1)
        self.split = linear_split(frames)
        self.draw_start(seed, self.tail)

    def correction(self, seen_BCYX: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, 2T, Y, X]."""
        x = self.head(seen_BCYX)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.tail(functional.relu(x))
        return out
