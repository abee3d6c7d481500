"""The best linear map of a neighbourhood's frames, found in closed form: the floor of all methods.

Ridge regression (Hoerl and Kennard, Technometrics 12:55, 1970) of both tracers' frames on the
mixture's frames at a pixel and around it, all slices and pixels alike, so that one convolution
applies it.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel, P body pixel, F feature (a
frame of one neighbour), O output (a frame of one tracer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.core.errors import InputError
from dtsinn.networks.method import MethodConfig
from dtsinn.networks.separator import ClosedFormNetwork

CONTEXTS = (0, 1, 2)
PIXELS = 4096
"""Body pixels that are summed at once, which bounds the memory (uncited)."""


@dataclass(frozen=True, kw_only=True)
class LinearConfig(MethodConfig):
    """Linear map of a neighbourhood's frames, fitted in seconds: 16k parameters at 18 frames."""

    kind: Literal["linear"] = "linear"
    context: int = 2
    """Neighbours on each side that it sees, pixels: 0, 1 or 2."""
    ridge: float = 1e-5
    """Added to the diagonal of the normal equations, as a part of its mean; above 0."""

    def __post_init__(self) -> None:
        if self.context not in CONTEXTS:
            raise InputError("model.context", got=self.context, wanted="0, 1 or 2")
        if not 0 < self.ridge < math.inf:
            raise InputError("model.ridge", got=self.ridge, wanted="a number above 0")


class LinearNetwork(ClosedFormNetwork):
    """One convolution without a bias; until it is fitted, an equal split.

    Beyond the border of a slice there is no activity, while it is fitted as while it is used.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: It draws nothing.
    """

    Config = LinearConfig
    title = "linear map"

    def __init__(self, frames: int, config: LinearConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        self.side = 2 * config.context + 1
        self.map = nn.Conv2d(frames, 2 * frames, self.side, padding=config.context, bias=False)
        with torch.no_grad():
            self.map.weight.zero_()
            eye = torch.eye(frames, device=self.map.weight.device)
            self.map.weight[:, :, config.context, config.context] = torch.cat((eye, eye)) / 2

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        batch, _, height, width = mixture_BTYX.shape
        tracers_BKTYX: Tensor = self.map(mixture_BTYX).reshape(batch, 2, self.frames, height, width)
        return tracers_BKTYX

    @torch.no_grad()
    def moments(
        self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor, weight_BYX: Tensor, turn: int
    ) -> Tensor:
        """[F + O, F + O] products of features and outputs with each other, over body pixels."""
        outputs = 2 * self.frames
        size = self.side**2 * self.frames + outputs
        sums = torch.zeros(size, size, dtype=torch.float64)
        around = (self.config.context,) * 4
        padded_BYXT = functional.pad(mixture_BTYX, around).movedim(1, -1).contiguous()
        wanted_BYXO = tracers_BKTYX.flatten(1, 2).movedim(1, -1).contiguous()
        for place in torch.split(weight_BYX.nonzero(), PIXELS):
            b, y, x = place.unbind(1)
            parts = [padded_BYXT[b, y + row, x + column] for row, column in self._neighbours()]
            row_PC = torch.cat((*parts, wanted_BYXO[b, y, x]), dim=1).double()
            sums += row_PC.T @ row_PC
        return sums

    @torch.no_grad()
    def solve(self, moments: Tensor, turn: int) -> None:
        """Take the weights that the normal equations ask for."""
        features = self.side**2 * self.frames
        gram_FF, cross_FO = moments[:features, :features], moments[:features, features:]
        mean = float(gram_FF.diagonal().mean())
        ridge = self.config.ridge * (mean or 1.0)  # of mixtures without activity: no map at all
        factor = torch.linalg.cholesky(gram_FF + ridge * torch.eye(features, dtype=torch.float64))
        map_FO = torch.cholesky_solve(cross_FO, factor)
        shape = (self.side, self.side, self.frames, 2 * self.frames)
        self.map.weight.copy_(map_FO.reshape(shape).permute(3, 2, 0, 1))

    def _neighbours(self) -> Iterator[tuple[int, int]]:
        """Rows and columns of the neighbourhood, from its upper left corner."""
        return ((row, column) for row in range(self.side) for column in range(self.side))
