"""Invertible 1x1 convolutions: how channels mix between coupling blocks.

Each kind starts as the identity. ``frozen`` gives the form for inference and export, with the
matrix and its inverse computed once in float64.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from dtsinn.networks.pointwise import mix_channels

LOG_BOUND = 1.5
"""Bound of the log of U's diagonal (uncited). A network learns to shrink what is noise: without a
bound the diagonal falls to 0.003 in 6,000 steps, and the round trip to 2e-4. At 1.5 it stays near
1e-6 at the default learning rate, and the PSNR is the same (measured)."""


class Mixing(nn.Module):
    """An invertible linear map of channels, the same at every pixel."""

    @abstractmethod
    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""

    @abstractmethod
    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""

    @abstractmethod
    def frozen(self) -> Mixing:
        """The same map without anything to train."""


class IdentityMixing(Mixing):
    """No mixing: only the couplings join the two halves."""

    def __init__(self, channels: int, step: float = 1.0) -> None:
        super().__init__()

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """The input."""
        return x_BCYX

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The input."""
        return y_BCYX

    def frozen(self) -> Mixing:
        """Itself."""
        return self


class LUMixing(Mixing):
    """1x1 convolution with the weight W = L U, inverted by two triangular solves.

    L has a unit diagonal and U the diagonal exp(d), so W is invertible by construction
    (Kingma & Dhariwal, Glow, 2018, section 3.2, without the fixed permutation). In float32 it is so
    while L and U are tame; of them only d is bounded, softly, by :data:`LOG_BOUND`. L, d before its
    bound and U lie in one matrix, below its diagonal, on it and above it. All zeros is the
    identity.

    Args:
        channels: C.
        step: Factor on that matrix, so that a mixing in a deep network changes little.
    """

    eye: Tensor

    def __init__(self, channels: int, step: float = 1.0) -> None:
        super().__init__()
        self.step = step
        self.packed = nn.Parameter(torch.zeros(channels, channels))
        self.register_buffer("eye", torch.eye(channels), persistent=False)

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U, each [C, C]."""
        packed = self.packed if self.step == 1 else self.step * self.packed
        lower = torch.tril(packed, -1) + self.eye
        log_diagonal = LOG_BOUND * torch.tanh(packed.diagonal() / LOG_BOUND)
        return lower, torch.triu(packed, 1) + torch.diag(log_diagonal.exp())

    def weight(self) -> Tensor:
        """W [C, C]."""
        lower, upper = self.factors()
        return lower @ upper

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        return mix_channels(x_BCYX, self.weight())

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        # The inverse of W first: solving for every pixel takes four times as long, no nearer.
        lower, upper = self.factors()
        half = torch.linalg.solve_triangular(lower, self.eye, upper=False, unitriangular=True)
        weight = torch.linalg.solve_triangular(upper, half, upper=True)
        return mix_channels(y_BCYX, weight)

    def frozen(self) -> Mixing:
        """W and its inverse, multiplied out."""
        with torch.no_grad():
            lower, upper = (factor.double() for factor in self.factors())
            weight = lower @ upper
            return FrozenMixing(weight, torch.linalg.inv(weight), self.packed.dtype)


class OrthogonalMixing(Mixing):
    """1x1 convolution with a rotation: W = exp(A - A^T), whose inverse is its transpose.

    It keeps every pixel's norm, so noise is neither raised nor lowered. A = 0 is the identity.
    """

    def __init__(self, channels: int, step: float = 1.0) -> None:
        super().__init__()
        self.generator = nn.Parameter(torch.zeros(channels, channels))

    def weight(self) -> Tensor:
        """W [C, C]."""
        rotation: Tensor = torch.linalg.matrix_exp(self.generator - self.generator.T)
        return rotation

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        return mix_channels(x_BCYX, self.weight())

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        return mix_channels(y_BCYX, self.weight().T)

    def frozen(self) -> Mixing:
        """W and its transpose, computed once."""
        with torch.no_grad():
            generator = self.generator.double()
            weight = torch.linalg.matrix_exp(generator - generator.T)
            return FrozenMixing(weight, weight.T, self.generator.dtype)


class FrozenMixing(Mixing):
    """A fixed matrix and its inverse.

    Args:
        weight: W [C, C], float64.
        inverse: Its inverse [C, C], float64.
        kind: Type that both are kept in.
    """

    fixed: Tensor
    fixed_inverse: Tensor

    def __init__(self, weight: Tensor, inverse: Tensor, kind: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("fixed", weight.to(kind))
        self.register_buffer("fixed_inverse", inverse.to(kind))

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        return mix_channels(x_BCYX, self.fixed)

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        return mix_channels(y_BCYX, self.fixed_inverse)

    def frozen(self) -> Mixing:
        """Itself."""
        return self


MIXINGS: dict[str, type[LUMixing] | type[OrthogonalMixing] | type[IdentityMixing]] = {
    "lu": LUMixing,
    "orthogonal": OrthogonalMixing,
    "identity": IdentityMixing,
}
"""Kinds by name; each is called with the number of channels and the step of its block."""
