"""A convolutional encoder-decoder over slices, frames as channels.

Shape letters: B batch, T frame, Y X pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.corrected import CorrectedNetwork
from dtsinn.networks.method import MethodConfig, check_least
from dtsinn.networks.padding import cut, pad_to_multiple


@dataclass(frozen=True, kw_only=True)
class CEDConfig(MethodConfig):
    """2D encoder-decoder without skips, frames as channels: 503k parameters at 18 frames."""

    kind: Literal["ced"] = "ced"
    width: int = 32
    """Channels at full resolution; twice as many at each level below."""
    levels: int = 2
    """Times that the resolution is halved."""

    def __post_init__(self) -> None:
        check_least(self, width=1, levels=1)


class CED(CorrectedNetwork):
    """Strided convolutions down, transposed ones up, and nothing past the bottleneck.

    The rival that the field compares with (such as in Pan et al., EJNMMI Physics, 2024); the
    numbers of layers and channels are ours (uncited). It predicts the tracers themselves: neither
    skips nor half of the mixture help it, and it starts at zero, not at an equal split. Slices
    whose sides cannot be halved often enough are padded, and the answer is cut to their size.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = CEDConfig
    title = "encoder-decoder"

    def __init__(self, frames: int, config: CEDConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        width = [config.width * 2**level for level in range(config.levels + 1)]
        steps = list(pairwise(width))
        self.encoder = nn.ModuleList([nn.Conv2d(frames, width[0], 3, padding=1)])
        for above, below in steps:
            self.encoder.append(nn.Conv2d(above, below, 3, stride=2, padding=1))
            self.encoder.append(nn.Conv2d(below, below, 3, padding=1))
        self.decoder = nn.ModuleList()
        for above, below in reversed(steps):
            self.decoder.append(nn.ConvTranspose2d(below, above, 4, stride=2, padding=1))
            self.decoder.append(nn.Conv2d(above, above, 3, padding=1))
        self.tail = nn.Conv2d(width[0], 2 * frames, 3, padding=1)
        self.draw_start(seed, self.tail)

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        return self.as_tracers(self.correction(mixture_BTYX))

    def correction(self, mixture_BTYX: Tensor) -> Tensor:
        """Mixtures [B, T, Y, X] -> the two tracers themselves, [B, 2T, Y, X]."""
        height, width = mixture_BTYX.shape[-2:]
        x = pad_to_multiple(mixture_BTYX, 2**self.config.levels, "replicate")
        for layer in (*self.encoder, *self.decoder):
            x = functional.relu(layer(x))
        return cut(self.tail(x), height, width)
