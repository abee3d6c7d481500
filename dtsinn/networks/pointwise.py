"""Linear maps of the channels, the same at every pixel: 1x1 convolutions, as matrix products.

Shape letters: B batch, C O channels, Y X pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def mix_channels(x_BCYX: Tensor, weight_OC: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """``weight_OC`` x at every pixel, plus ``bias_O``: [B, O, Y, X], channels last in memory.

    On one CPU thread a training step is 3 to 10 % shorter than with torch's 1x1 convolution
    (measured, 64 x 64 pixels). An exported graph has the convolution, which run-times with the
    channels first take as it is.
    """
    if torch.compiler.is_compiling():
        return functional.conv2d(x_BCYX, weight_OC[:, :, None, None], bias_O)
    return functional.linear(x_BCYX.permute(0, 2, 3, 1), weight_OC, bias_O).permute(0, 3, 1, 2)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution through :func:`mix_channels`."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        return mix_channels(x_BCYX, self.weight[:, :, 0, 0], self.bias)
