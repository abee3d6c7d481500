"""What the rivals share: their base, a residual block, and how weights start.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.pointwise import Pointwise
from dtsinn.networks.separator import SeparatorNetwork

Convolution = nn.Conv2d | nn.ConvTranspose2d


class Rival(SeparatorNetwork):
    """A linear map of the frames, which starts as half of the mixture for each, plus a correction.

    The linear map, one matrix for all pixels, is learned: with halves that stay as they are the
    2D kinds lose 1 to 4 dB after 30 s of training (measured), and a rival should be a strong one.

    A kind makes its layers and then calls :meth:`draw_start`, which sets the last one to zero:
    training begins at an equal split, as that of the invertible separator.
    """

    def __init__(self, frames: int, config: Any) -> None:
        super().__init__(frames, config)
        self.split: Pointwise | None = None
        """The linear map [B, T, Y, X] -> [B, 2T, Y, X]; None keeps the halves."""

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        correction_BKTYX = self.as_tracers(self.correction(mixture_BTYX))
        if self.split is None:
            return mixture_BTYX[:, None] / 2 + correction_BKTYX
        return self.as_tracers(self.split(mixture_BTYX)) + correction_BKTYX

    @abstractmethod
    def correction(self, mixture_BTYX: Tensor) -> Tensor:
        """Mixtures [B, T, Y, X] -> what the first and the second tracer gain, [B, 2T, Y, X]."""

    def as_tracers(self, x_BCYX: Tensor) -> Tensor:
        """[B, 2T, Y, X] -> [B, K, T, Y, X]."""
        batch, _, height, width = x_BCYX.shape
        return x_BCYX.reshape(batch, 2, self.frames, height, width)

    def draw_start(self, seed: int, tail: nn.Conv2d) -> None:
        """Fill the weights: He-normal from ``seed``, biases and the last layer zero."""
        generator = torch.Generator().manual_seed(seed)
        for layer in (m for m in self.modules() if isinstance(m, Convolution)):
            deviation = (2 / values_behind(layer)) ** 0.5
            nn.init.normal_(layer.weight, 0.0, deviation, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(tail.weight)
        if self.split is not None:
            eye = torch.eye(self.frames)
            with torch.no_grad():
                self.split.weight.copy_(torch.cat((eye, eye))[:, :, None, None] / 2)


def linear_split(frames: int) -> Pointwise:
    """The layer for :attr:`Rival.split`."""
    return Pointwise(frames, 2 * frames, bias=False)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, Y, X] -> the same."""
        out: Tensor = x + self.second(functional.relu(self.first(functional.relu(x))))
        return out


def values_behind(layer: Convolution) -> float:
    """How many input values an output value of ``layer`` is computed from, on average.

    He et al., ICCV 2015, eq. 10. Of a transposed convolution's kernel each output sees only one
    part in stride x stride.
    """
    height, width = layer.kernel_size
    seen = layer.in_channels * height * width
    if isinstance(layer, nn.ConvTranspose2d):
        return seen / (layer.stride[0] * layer.stride[1])
    return float(seen)
