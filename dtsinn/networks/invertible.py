"""The invertible separator: mixture -> two tracers, and exactly back.

Shape letters: B batch, K tracer (2), T frame, C channel (2T), Y X pixel. All activities are in
units of the sample's scale (see ``normalisation``).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.networks.mixing import FrozenMixing, LUMixing
from dtsinn.networks.subnets import SUBNETS, draw_start
from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the separator is made of."""

    __pydantic_config__ = STRICT

    kind: Literal["invertible"] = "invertible"
    """The family of networks."""
    blocks: int = 2
    """Coupling blocks, at least 1."""
    subnet: Literal["residual", "dense"] = "residual"
    """Kind of the three subnets r, s, t in a block."""
    width: int = 24
    """Channels inside a subnet, at least 1."""
    depth: int = 4
    """3x3 convolutions in a subnet, at least 2."""
    clamp: float = 0.8
    """Largest \\|log-scale\\| of a coupling: a block's gain stays within exp(+-clamp)."""
    start: Literal["tame", "xavier"] = "tame"
    """Weights at step 0: near the identity, or as published."""
    variables: Literal["repeat", "halves", "zeros"] = "halves"
    """How T frames become 2T channels (variable augmentation)."""

    def __post_init__(self) -> None:
        for name, least in (("blocks", 1), ("width", 1), ("depth", 2)):
            if getattr(self, name) < least:
                raise InputError(
                    f"model.{name}", got=getattr(self, name), wanted=f"at least {least}"
                )
        if not 0 < self.clamp <= 4:
            raise InputError("model.clamp", got=self.clamp, wanted="a number in (0, 4]")


class CouplingBlock(nn.Module):
    """Mix channels, split them, then y1 = x1 + r(x2) and y2 = x2 exp(s(y1)) + t(y1)."""

    def __init__(self, frames: int, config: ModelConfig) -> None:
        super().__init__()
        subnet = SUBNETS[config.subnet]
        self.mixing: LUMixing | FrozenMixing = LUMixing(2 * frames)
        self.r = subnet(frames, frames, config.width, config.depth)
        self.s = subnet(frames, frames, config.width, config.depth)
        self.t = subnet(frames, frames, config.width, config.depth)
        self.clamp = config.clamp

    def log_scale(self, y1: Tensor) -> Tensor:
        """s(y1), bounded softly by the clamp."""
        return self.clamp * torch.tanh(self.s(y1) / self.clamp)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """[B, C, Y, X] -> [B, C, Y, X]."""
        x1, x2 = self.mixing(x_BCYX).chunk(2, dim=1)
        y1 = x1 + self.r(x2)
        y2 = x2 * torch.exp(self.log_scale(y1)) + self.t(y1)
        return torch.cat((y1, y2), dim=1)

    def inverse(self, y_BCYX: Tensor) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        y1, y2 = y_BCYX.chunk(2, dim=1)
        x2 = (y2 - self.t(y1)) * torch.exp(-self.log_scale(y1))
        x1 = y1 - self.r(x2)
        x_BCYX: Tensor = self.mixing.inverse(torch.cat((x1, x2), dim=1))
        return x_BCYX


class InvertibleSeparator(nn.Module):
    """Variable augmentation, then coupling blocks; the inverse runs them backwards.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its make.
        seed: Seed of the weights' start.
    """

    exact = True
    """There is an inverse, and it is exact up to rounding."""

    def __init__(self, frames: int, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.frames = frames
        self.config = config
        self.variables = VARIABLE_AUGMENTATIONS[config.variables]
        self.blocks = nn.ModuleList(CouplingBlock(frames, config) for _ in range(config.blocks))
        generator = torch.Generator().manual_seed(seed)
        for block in self.blocks:
            for subnet in (block.r, block.s, block.t):
                draw_start(subnet, config.start, generator)  # type: ignore[arg-type]

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        channels_BCYX = self.variables.encode(mixture_BTYX)
        for block in self.blocks:
            channels_BCYX = block(channels_BCYX)
        batch, _, height, width = channels_BCYX.shape
        return channels_BCYX.reshape(batch, 2, self.frames, height, width)

    def inverse_channels(self, tracers_BKTYX: Tensor) -> Tensor:
        """Run tracers [B, K, T, Y, X] backwards to the augmented mixture [B, C, Y, X]."""
        channels_BCYX = tracers_BKTYX.flatten(1, 2)
        for block in reversed(self.blocks):
            channels_BCYX = block.inverse(channels_BCYX)  # type: ignore[operator]
        return channels_BCYX

    def inverse(self, tracers_BKTYX: Tensor) -> Tensor:
        """Mix tracers [B, K, T, Y, X] again into mixtures [B, T, Y, X]."""
        return self.variables.decode(self.inverse_channels(tracers_BKTYX))

    def frozen(self) -> InvertibleSeparator:
        """A copy for inference and export, with the 1x1 convolutions as fixed matrices."""
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        for block in copied.blocks:
            block.mixing = FrozenMixing(block.mixing)  # type: ignore[arg-type]
        return copied


def round_trip_error(network: InvertibleSeparator, mixture_BTYX: Tensor) -> float:
    """Relative error of inverse(forward(m)) against m: the norm of the difference over m's."""
    with torch.no_grad():
        back = network.inverse(network(mixture_BTYX))
        return float((back - mixture_BTYX).norm() / mixture_BTYX.norm().clamp_min(1e-30))
