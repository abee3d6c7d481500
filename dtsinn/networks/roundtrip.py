"""Where an invertible network loses its inverse: the round trip of each block by itself.

Shape letters: B batch, T frame, C channel, Y X pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dtsinn.networks.coupling import SubnetContext
from dtsinn.networks.invertible import InvertibleSeparator, relative_error


@dataclass(frozen=True, kw_only=True)
class BlockError:
    """How badly one block inverts what it made itself."""

    number: int
    """From 1 on, in the order of the forward direction."""
    blocks: int
    """How many there are."""
    error: float
    """Norm of the difference over the norm of the block's input; NaN or inf where lost."""

    def __str__(self) -> str:
        return f"block {self.number} of {self.blocks}"


def block_errors(network: InvertibleSeparator, mixture_BTYX: Tensor) -> list[float]:
    """Relative round-trip error of every block on its true input, in units of one.

    Args:
        network: Any; it is left as it is.
        mixture_BTYX: In units of the sample's scale.
    """
    errors, context = [], SubnetContext(protocol_TF=network.protocol_TF)
    with torch.no_grad():
        x_BCYX = network.variables.encode(mixture_BTYX)
        for squeeze, block in zip(network.squeezes, network.blocks, strict=True):
            if squeeze is not None:
                x_BCYX = squeeze.forward(x_BCYX)
            y_BCYX = block(x_BCYX, context)
            back_BCYX = block.inverse(y_BCYX, context)  # type: ignore[operator]
            errors.append(relative_error(back_BCYX, x_BCYX))
            x_BCYX = y_BCYX
    return errors


def worst_block(network: InvertibleSeparator, mixture_BTYX: Tensor) -> BlockError:
    """The block with the largest round-trip error, or the first whose error is not finite."""
    errors = block_errors(network, mixture_BTYX)
    lost = [place for place, error in enumerate(errors) if not math.isfinite(error)]
    place = lost[0] if lost else max(range(len(errors)), key=errors.__getitem__)
    return BlockError(number=place + 1, blocks=len(errors), error=errors[place])
