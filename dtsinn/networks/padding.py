"""Slices of any size for networks that halve the resolution: pad, and cut the answer."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(
    x: Tensor, step: int, mode: Literal["constant", "replicate"] = "constant"
) -> Tensor:
    """Add rows below and columns at the right of ``x`` [..., Y, X] until ``step`` divides both.

    They are zeros, or with ``replicate`` copies of the last row and column.
    """
    if step == 1:
        return x
    height, width = x.shape[-2:]
    return functional.pad(x, (0, -width % step, 0, -height % step), mode=mode)


def cut(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left part of ``x`` [..., Y, X].

    An index would do the same, but an exporter then no longer knows the sizes by their names.
    """
    return x.narrow(-2, 0, height).narrow(-1, 0, width)
