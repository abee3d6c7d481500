"""A network that sees one pixel's time-activity curve, and nothing around it.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.corrected import CorrectedNetwork, linear_split
from dtsinn.networks.method import MethodConfig, check_least
from dtsinn.networks.pointwise import Pointwise


@dataclass(frozen=True, kw_only=True)
class TemporalConfig(MethodConfig):
    """Voxel-wise network: it sees one pixel's curve alone. 13k parameters at 18 frames."""

    kind: Literal["temporal"] = "temporal"
    width: int = 64
    """Hidden units."""
    depth: int = 4
    """Layers, the first and the last among them, at least 2."""

    def __post_init__(self) -> None:
        check_least(self, width=1, depth=2)


class TemporalNetwork(CorrectedNetwork):
    """A residual multilayer perceptron over the frames, as 1x1 convolutions.

    What it lacks against the others is what neighbouring pixels are worth.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = TemporalConfig
    title = "voxel-wise network over frames"

    def __init__(self, frames: int, config: TemporalConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        self.head = Pointwise(frames, config.width)
        self.middle = nn.ModuleList(
            Pointwise(config.width, config.width) for _ in range(config.depth - 2)
        )
        self.tail = Pointwise(config.width, 2 * frames)
        self.split = linear_split(frames)
        self.draw_start(seed, self.tail)

    def correction(self, mixture_BTYX: Tensor) -> Tensor:
        """[B, T, Y, X] -> [B, 2T, Y, X]."""
        x = self.head(mixture_BTYX)
        for layer in self.middle:
            x = x + layer(functional.relu(x))
        out: Tensor = self.tail(functional.relu(x))
        return out
