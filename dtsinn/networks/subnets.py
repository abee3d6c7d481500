"""Subnets: the small convolutional networks inside a coupling block.

A subnet maps [B, in, Y, X] to [B, out, Y, X] and need not be invertible. With a *tame* start its
last convolution is zero, so a block starts as the identity.

An implementer promises: a constructor of (inputs, outputs, width, depth); a last convolution
``tail``; slices of any size; and to scale and shift the channels behind the first convolution by a
``film`` [2, width] where one is given (how a subnet is told of the protocol).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.pointwise import Pointwise

LEAK = 0.2
"""Slope of the leaky ReLU for negative input, as in the published network."""
MOST_LEVELS = 2
"""Times that the ``unet`` subnet halves the resolution, depth permitting (uncited)."""


class Subnet(nn.Module):
    """Base of all subnets: what happens between head and tail is the kind's own."""

    tail: nn.Conv2d
    least_depth: ClassVar[int] = 2
    """The smallest ``depth`` that the kind takes."""

    @abstractmethod
    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""


class ResidualSubnet(Subnet):
    """3x3 convolutions with skips: a head, ``depth - 2`` residual middles, a tail."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(inputs, width, 3, padding=1)
        self.middle = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate)
            for rate in self.dilations(depth - 2)
        )
        self.tail = nn.Conv2d(width, outputs, 3, padding=1)

    @staticmethod
    def dilations(middles: int) -> list[int]:
        """Dilation of each middle convolution."""
        return [1] * middles

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        x = modulate(self.head(x), film)
        for convolution in self.middle:
            x = x + convolution(functional.leaky_relu(x, LEAK))
        out: Tensor = self.tail(functional.leaky_relu(x, LEAK))
        return out


class BottleneckSubnet(ResidualSubnet):
    """A residual subnet whose head and tail are 1x1: only the middles look at neighbours.

    Head and tail, which see all frames, are most of the cost of the other kinds.
    """

    least_depth = 3  # at 2 nothing would look at neighbours

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__(inputs, outputs, width, depth)
        self.head = Pointwise(inputs, width)
        self.tail = Pointwise(width, outputs)


class MultiscaleSubnet(ResidualSubnet):
    """A residual subnet whose middles look further and further: dilations 1, 2, 4, 1, 2, 4, ..."""

    @staticmethod
    def dilations(middles: int) -> list[int]:
        """Dilation of each middle convolution."""
        return [2 ** (layer % 3) for layer in range(middles)]


class SeparableSubnet(ResidualSubnet):
    """A residual subnet whose middles are a 3x3 convolution per channel and a 1x1 over them."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__(inputs, outputs, width, depth)
        self.middle = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=width), Pointwise(width, width)
            )
            for _ in range(depth - 2)
        )


class UNetSubnet(Subnet):
    """A small U-Net: residual convolutions at full, half and a quarter of the resolution.

    Each level down has twice the channels. ``depth`` counts head, tail and the middles of one
    level; a slice of odd size loses nothing, as the way up takes its size from the way down.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        levels = min(MOST_LEVELS, depth - 1)
        wide = [width * 2**level for level in range(levels + 1)]
        self.head = nn.Conv2d(inputs, width, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(wide[level], wide[level + 1], 3, stride=2, padding=1)
            for level in range(levels)
        )
        self.bottom = nn.ModuleList(
            nn.Conv2d(wide[-1], wide[-1], 3, padding=1) for _ in range(depth - 2)
        )
        self.up = nn.ModuleList(Pointwise(wide[level + 1], wide[level]) for level in range(levels))
        self.merge = nn.ModuleList(
            nn.Conv2d(wide[level], wide[level], 3, padding=1) for level in range(levels)
        )
        self.tail = nn.Conv2d(width, outputs, 3, padding=1)

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        x = modulate(self.head(x), film)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(functional.leaky_relu(x, LEAK))
        for convolution in self.bottom:
            x = x + convolution(functional.leaky_relu(x, LEAK))
        for up, merge, skip in reversed(list(zip(self.up, self.merge, skips, strict=True))):
            x = skip + functional.interpolate(up(x), size=skip.shape[-2:])
            x = x + merge(functional.leaky_relu(x, LEAK))
        out: Tensor = self.tail(functional.leaky_relu(x, LEAK))
        return out


class DenseSubnet(Subnet):
    """3x3 convolutions that each see all earlier ones: the published kind (its depth is 5)."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            nn.Conv2d(inputs + layer * width, width, 3, padding=1) for layer in range(depth - 1)
        )
        self.tail = nn.Conv2d(inputs + (depth - 1) * width, outputs, 3, padding=1)

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """[B, inputs, Y, X] -> [B, outputs, Y, X]."""
        for layer, convolution in enumerate(self.hidden):
            new = modulate(convolution(x), film if layer == 0 else None)
            x = torch.cat((x, functional.leaky_relu(new, LEAK)), dim=1)
        out: Tensor = self.tail(x)
        return out


SUBNETS: dict[str, type[Subnet]] = {
    "residual": ResidualSubnet,
    "bottleneck": BottleneckSubnet,
    "dense": DenseSubnet,
    "multiscale": MultiscaleSubnet,
    "separable": SeparableSubnet,
    "unet": UNetSubnet,
}
"""Kinds by name; each is called with (inputs, outputs, width, depth)."""


def modulate(x: Tensor, film: Tensor | None) -> Tensor:
    """X (1 + film[0]) + film[1], channel by channel; x itself without a ``film`` [2, C]."""
    if film is None:
        return x
    gain_C, shift_C = film
    modulated: Tensor = x * (1 + gain_C[:, None, None]) + shift_C[:, None, None]
    return modulated


def draw_start(subnet: Subnet, kind: str, generator: torch.Generator) -> None:
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
