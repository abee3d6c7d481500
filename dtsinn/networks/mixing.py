"""Invertible 1x1 convolutions: how channels mix between coupling blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class LUMixing(nn.Module):
    """1x1 convolution with the weight W = L U, inverted by two triangular solves.

    L has a unit diagonal and U the diagonal exp(d), so W is invertible by construction
    (Kingma & Dhariwal, Glow, 2018, section 3.2, without the fixed permutation). All parameters
    zero is the identity.
    """

    eye: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))
        self.register_buffer("eye", torch.eye(channels), persistent=False)

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U, each [C, C]."""
        lower = torch.tril(self.lower, -1) + self.eye
        upper = torch.triu(self.upper, 1) + torch.diag(self.log_diagonal.exp())
        return lower, upper

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        lower, upper = self.factors()
        return functional.conv2d(x_BCYX, (lower @ upper)[:, :, None, None])

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        lower, upper = self.factors()
        flat_BCP = y_BCYX.flatten(2)
        half = torch.linalg.solve_triangular(lower, flat_BCP, upper=False, unitriangular=True)
        x_BCP: Tensor = torch.linalg.solve_triangular(upper, half, upper=True)
        return x_BCP.reshape(y_BCYX.shape)


class FrozenMixing(nn.Module):
    """An :class:`LUMixing` with W and its inverse computed once (float64), for export."""

    weight: Tensor
    inverse_weight: Tensor

    def __init__(self, mixing: LUMixing) -> None:
        super().__init__()
        with torch.no_grad():
            lower, upper = (factor.double() for factor in mixing.factors())
            weight = lower @ upper
            inverse = torch.linalg.inv(weight)
        kind = mixing.lower.dtype
        self.register_buffer("weight", weight.to(kind)[:, :, None, None])
        self.register_buffer("inverse_weight", inverse.to(kind)[:, :, None, None])

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        return functional.conv2d(x_BCYX, self.weight)

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        return functional.conv2d(y_BCYX, self.inverse_weight)
