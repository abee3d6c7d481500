"""Squeezes: invertible halvings of the resolution; 2x2 pixels become four channels.

The four channels of a frame stay side by side, so the halves of a coupling stay one half for each
tracer. Sizes must be even: half a pixel has no inverse.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from dtsinn.core.errors import InputError


class Squeeze(Protocol):
    """[B, C, Y, X] -> [B, 4C, Y/2, X/2] and back."""

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """To half the resolution."""

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""


class ShuffleSqueeze:
    """The 2x2 pixels themselves."""

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """To half the resolution."""
        return functional.pixel_unshuffle(x_BCYX, 2)

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        return functional.pixel_shuffle(y_BCYX, 2)


class HaarSqueeze:
    """The Haar wavelets of 2x2 pixels: their mean (times 2) and three differences.

    The transform is orthogonal and its own inverse (Haar, Mathematische Annalen 69, 1910).
    """

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """To half the resolution."""
        return _wavelets(functional.pixel_unshuffle(x_BCYX, 2))

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        return functional.pixel_shuffle(_wavelets(y_BCYX), 2)


SQUEEZES: dict[str, type[Squeeze]] = {"shuffle": ShuffleSqueeze, "haar": HaarSqueeze}
"""Kinds by name."""


def check_divisible(height: int, width: int, divisor: int) -> None:
    """Refuse slices that cannot be halved often enough.

    Raises:
        InputError: A side is no multiple of ``divisor``.
    """
    if height % divisor or width % divisor:
        raise InputError(
            "slices",
            got=f"{height}x{width} pixels",
            wanted=f"sides that are multiples of {divisor}, for the squeezes",
            hint="padding with zeros",
        )


def _wavelets(x_BCYX: Tensor) -> Tensor:
    """Sums and differences over every four channels; twice is the identity."""
    batch, channels, height, width = x_BCYX.shape
    a, b, c, d = x_BCYX.reshape(batch, channels // 4, 4, height, width).unbind(2)
    top, bottom, left, right = a + b, c + d, a - b, c - d
    parts = (top + bottom, left + right, top - bottom, left - right)
    return (torch.stack(parts, dim=2) / 2).flatten(1, 2)
