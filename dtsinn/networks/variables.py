"""Variable augmentation: how the T frames of a mixture become the 2T channels of the network.

An invertible network keeps the number of channels, so the mixture m must first be widened.
Each kind has an encoder and a decoder with ``decode(encode(m)) == m``; all are linear, so a pair
of tracers that sum to m has the encoding of m as its target in the backward direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class VariableAugmentation:
    """An encoder [B, T, Y, X] -> [B, 2T, Y, X] and its decoder."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]


def _repeat(m: Tensor) -> Tensor:
    return torch.cat((m, m), dim=1)


def _halves(m: Tensor) -> Tensor:
    return torch.cat((m / 2, m / 2), dim=1)


def _zeros(m: Tensor) -> Tensor:
    return torch.cat((m, torch.zeros_like(m)), dim=1)


def _mean_of_parts(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return (first + second) / 2


def _sum_of_parts(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=1)
    return first + second


def _first_part(x: Tensor) -> Tensor:
    return x.chunk(2, dim=1)[0]


VARIABLE_AUGMENTATIONS = {
    "repeat": VariableAugmentation(encode=_repeat, decode=_mean_of_parts),
    "halves": VariableAugmentation(encode=_halves, decode=_sum_of_parts),
    "zeros": VariableAugmentation(encode=_zeros, decode=_first_part),
}
"""``repeat`` is the published (m, m); ``halves`` starts an identity network as an equal split."""
