"""The published recipe, its defects included: a network whose reverse is not its inverse.

Written anew from what is known of DTS-INN's code (Sun et al., IEEE TRPMS, document 10542421):
8 coupling blocks with dense subnets, every convolution Xavier-normal, the mixture repeated twice,
random orthogonal 1x1 convolutions, and skips over the block pairs 1-2, 3-4 and 5-6 which the
reverse direction does not undo.

Shape letters: B batch, K tracer (2), T frame, C channel (2T), Y X pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.data.body import SCALE_FLOOR_kBq_mL
from dtsinn.networks.coupling import CouplingBlock
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.subnets import Subnet, draw_start
from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS

ARCHITECTURE = InvertibleConfig(
    blocks=8,
    coupling="one-sided",
    subnet="dense",
    width=32,
    depth=5,
    shared_trunk=False,
    last_mixing=False,
    clamp=0.8,
    start="xavier",
    variables="repeat",
)
"""As published."""
SKIPS_OVER = 6
"""Blocks that stand in pairs with a skip; the last two have none."""
LEARNING_RATE = 1e-4
MILESTONES = (50, 100, 150, 200, 250, 500)
"""Epochs at which the learning rate is halved."""


class OrthogonalMixing(nn.Module):
    """1x1 convolution P L (U + diag) that starts as a random orthogonal matrix (as in Glow)."""

    permutation: Tensor
    eye: Tensor
    sign: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        orthogonal = torch.linalg.qr(torch.randn(channels, channels, generator=generator))[0]
        permutation, lower, upper = torch.linalg.lu(orthogonal)
        self.register_buffer("permutation", permutation)
        self.register_buffer("eye", torch.eye(channels))
        self.register_buffer("sign", upper.diagonal().sign())
        self.lower = nn.Parameter(lower)
        self.upper = nn.Parameter(upper)
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U, each [C, C]."""
        lower = torch.tril(self.lower, -1) + self.eye
        diagonal = torch.diag(self.sign * self.log_diagonal.exp())
        return lower, torch.triu(self.upper, 1) + diagonal

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """W x at every pixel."""
        lower, upper = self.factors()
        weight = self.permutation @ lower @ upper
        return functional.conv2d(x_BCYX, weight[:, :, None, None])

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        lower, upper = self.factors()
        half = torch.linalg.solve_triangular(
            lower, self.permutation.T, upper=False, unitriangular=True
        )
        weight = torch.linalg.solve_triangular(upper, half, upper=True)
        return functional.conv2d(y_BCYX, weight[:, :, None, None])


class PublishedBlock(CouplingBlock):
    """A coupling block with the published mixing."""

    def __init__(self, frames: int, config: InvertibleConfig, generator: torch.Generator) -> None:
        super().__init__(2 * frames, config)
        self.mixing = OrthogonalMixing(2 * frames, generator)  # type: ignore[assignment]
        for subnet in (module for module in self.modules() if isinstance(module, Subnet)):
            draw_start(subnet, config.start, generator)


class PublishedNetwork(nn.Module):
    """Blocks with skips forward and without them backward."""

    def __init__(self, frames: int, seed: int = 0, config: InvertibleConfig = ARCHITECTURE) -> None:
        super().__init__()
        self.frames = frames
        self.variables = VARIABLE_AUGMENTATIONS[config.variables]
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):  # the layers draw from the global generator
            self.blocks = nn.ModuleList(
                PublishedBlock(frames, config, generator) for _ in range(config.blocks)
            )

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """[B, T, Y, X] -> [B, K, T, Y, X], in units of the sample's maximum."""
        x_BCYX = skip = self.variables.encode(mixture_BTYX)
        for number, block in enumerate(self.blocks, 1):
            if number % 2 == 1:
                skip = x_BCYX
            x_BCYX = block(x_BCYX)
            if number % 2 == 0 and number <= SKIPS_OVER:
                x_BCYX = x_BCYX + skip
        batch, _, height, width = x_BCYX.shape
        return x_BCYX.reshape(batch, 2, self.frames, height, width)

    def reverse(self, tracers_BKTYX: Tensor) -> Tensor:
        """The published reverse direction: tracers -> [B, C, Y, X]."""
        x_BCYX = tracers_BKTYX.flatten(1, 2)
        for block in reversed(self.blocks):
            x_BCYX = block.inverse(x_BCYX)  # type: ignore[operator]
        return x_BCYX

    def inverse(self, tracers_BKTYX: Tensor) -> Tensor:
        """What the reverse direction gives for the mixture, [B, T, Y, X]."""
        return self.variables.decode(self.reverse(tracers_BKTYX))


def published_scale(mixture_BTYX: Tensor) -> Tensor:
    """Scales [B]: the maximum of each mixture, so that its activity lies in 0..1.

    The published rule is not known, but the loss clamps to [0, 1]. Negative voxels are kept.
    """
    return mixture_BTYX.amax(dim=(1, 2, 3)).clamp_min(SCALE_FLOOR_kBq_mL)


def published_loss(
    network: PublishedNetwork, mixture_BTYX: Tensor, tracers_BKTYX: Tensor
) -> Tensor:
    """Mean squared error of the tracers, and of the hybrid regenerated from the own output."""
    predicted_BKTYX = network(mixture_BTYX)
    again_BCYX = network.reverse(predicted_BKTYX).clamp(0, 1)
    cycle = functional.mse_loss(again_BCYX, network.variables.encode(mixture_BTYX))
    return functional.mse_loss(predicted_BKTYX, tracers_BKTYX) + cycle
