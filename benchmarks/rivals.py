"""A plain residual CNN: the strongest rival seen so far, and no inverse.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 64
BLOCKS = 4


class ResidualCNN(nn.Module):
    """3x3 convolutions: a head, ``blocks`` residual blocks of two, a tail. 327k parameters.

    The tail starts at zero and its output is added to half of the mixture, so that training
    starts from an equal split: the same start that the separator has.
    """

    def __init__(
        self, frames: int, seed: int = 0, *, width: int = WIDTH, blocks: int = BLOCKS
    ) -> None:
        super().__init__()
        self.frames = frames
        with torch.random.fork_rng(devices=[]):  # the layers draw from the global generator
            self.head = nn.Conv2d(frames, width, 3, padding=1)
            self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
            self.tail = nn.Conv2d(width, 2 * frames, 3, padding=1)
        generator = torch.Generator().manual_seed(seed)
        for convolution in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=generator)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
        nn.init.zeros_(self.tail.weight)

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """[B, T, Y, X] -> [B, K, T, Y, X], in units of the sample's scale."""
        x = self.head(mixture_BTYX)
        for block in self.blocks:
            x = block(x)
        batch, _, height, width = mixture_BTYX.shape
        correction = self.tail(functional.relu(x)).reshape(batch, 2, self.frames, height, width)
        tracers_BKTYX: Tensor = mixture_BTYX[:, None] / 2 + correction
        return tracers_BKTYX


class _Block(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, Y, X] -> the same."""
        out: Tensor = x + self.second(functional.relu(self.first(functional.relu(x))))
        return out
