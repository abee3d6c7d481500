"""Subnets: the small convolutional networks inside a coupling block.

A subnet maps [B, in, Y, X] to [B, out, Y, X] and need not be invertible. With a *tame* start its
last convolution is zero, so a block starts as the identity.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
"""Slope of the leaky ReLU for negative input, as in the published network."""


class ResidualSubnet(nn.Module):
    """3x3 convolutions with skips: a head, ``depth - 2`` residual middles, a tail."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(inputs, width, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth - 2))
        self.tail = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        x = self.head(x)
        for convolution in self.middle:
            x = x + convolution(functional.leaky_relu(x, LEAK))
        out: Tensor = self.tail(functional.leaky_relu(x, LEAK))
        return out


class DenseSubnet(nn.Module):
    """3x3 convolutions that each see all earlier ones: the published kind (its depth is 5)."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            nn.Conv2d(inputs + layer * width, width, 3, padding=1) for layer in range(depth - 1)
        )
        self.tail = nn.Conv2d(inputs + (depth - 1) * width, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        for convolution in self.hidden:
            x = torch.cat((x, functional.leaky_relu(convolution(x), LEAK)), dim=1)
        out: Tensor = self.tail(x)
        return out


SUBNETS: dict[str, Callable[[int, int, int, int], ResidualSubnet | DenseSubnet]] = {
    "residual": ResidualSubnet,
    "dense": DenseSubnet,
}
"""Kinds by name; each is called with (inputs, outputs, width, depth)."""


def draw_start(subnet: ResidualSubnet | DenseSubnet, kind: str, generator: torch.Generator) -> None:
    """Fill a subnet's weights: He-normal, with a zero tail where ``kind`` is ``tame``.

    ``xavier`` draws every convolution Xavier-normal, the tail too: the published start, which
    throws the first outputs two orders of magnitude out of the data's range.
    """
    for convolution in (m for m in subnet.modules() if isinstance(m, nn.Conv2d)):
        nn.init.zeros_(convolution.bias) if convolution.bias is not None else None
        if kind == "xavier":
            nn.init.xavier_normal_(convolution.weight, generator=generator)
        elif convolution is subnet.tail:
            nn.init.zeros_(convolution.weight)
        else:
            nn.init.kaiming_normal_(convolution.weight, a=LEAK, generator=generator)
