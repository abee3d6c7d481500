"""A residual U-Net over slices, frames as channels.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.corrected import CorrectedNetwork, ResidualBlock, StartConfig, linear_split
from dtsinn.networks.method import check_least
from dtsinn.networks.padding import cut, pad_to_multiple


@dataclass(frozen=True, kw_only=True)
class UNetConfig(StartConfig):
    """Residual U-Net in 2D, frames as channels: 149k parameters at 18 frames."""

    kind: Literal["unet"] = "unet"
    width: int = 16
    """Channels at full resolution; twice as many at each level below."""
    levels: int = 2
    """Times that the resolution is halved."""

    def __post_init__(self) -> None:
        check_least(self, width=1, levels=1)


class UNet(CorrectedNetwork):
    """A residual block at each resolution on the way down and up, joined by sums.

    After Ronneberger et al., MICCAI 2015, with residual blocks for plain ones. Slices whose sides
    cannot be halved often enough are padded, and the answer is cut to their size.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = UNetConfig
    title = "U-Net"

    def __init__(self, frames: int, config: UNetConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        width = [config.width * 2**level for level in range(config.levels + 1)]
        steps = list(pairwise(width))
        self.head = nn.Conv2d(self.inputs, config.width, 3, padding=1)
        self.before = nn.ModuleList(ResidualBlock(wide) for wide in width[:-1])
        self.down = nn.ModuleList(nn.Conv2d(above, below, 2, stride=2) for above, below in steps)
        self.bottom = ResidualBlock(width[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 2, stride=2) for above, below in steps
        )
        self.after = nn.ModuleList(ResidualBlock(wide) for wide in width[:-1])
        self.tail = nn.Conv2d(config.width, 2 * frames, 3, padding=1)
        self.split = linear_split(frames)
        self.draw_start(seed, self.tail)

    def correction(self, seen_BCYX: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, 2T, Y, X]."""
        height, width = seen_BCYX.shape[-2:]
        x = self.head(pad_to_multiple(seen_BCYX, 2**self.config.levels, "replicate"))
        skips = []
        for block, down in zip(self.before, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(functional.relu(x))
        x = self.bottom(x)
        for up, block, skip in reversed(list(zip(self.up, self.after, skips, strict=True))):
            x = block(skip + up(functional.relu(x)))
        return cut(self.tail(functional.relu(x)), height, width)
