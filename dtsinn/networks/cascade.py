"""A cascade of closed-form maps: linear over scales, then sharpened by edge-preserving filters.

The first stage is a linear map of each pixel's frames and of their Gaussian averages at several
scales. Each later stage fits a linear map again, to the same features, the answer of the stage
before, and that answer's temporal components filtered with its own two mean images as guides (He,
Sun and Tang, IEEE TPAMI 35:1397, 2013): noise goes where the guide is flat, and edges stay. Every
map is a ridge regression on body pixels, so that nothing is drawn and nothing is tuned by steps.
Small regions weigh more (:data:`dtsinn.networks.closed_form.BALANCE`): what is read are regions.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel, F feature, O output (a frame of
one tracer), R component (of one tracer's frames).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dtsinn.core.errors import InputError
from dtsinn.networks.method import MethodConfig, check_least
from dtsinn.networks.moments import solve_ridge, sum_products
from dtsinn.networks.pointwise import mix_channels
from dtsinn.networks.separator import ClosedFormNetwork

SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the Gaussian averages, pixels (uncited; with eight of them the PSNR rises
by 0.03 dB on the benchmark's val subjects, measured)."""
GUIDED = ((2, 1e-3), (4, 3e-3))
"""Radius, pixels, and regularisation, squared scales, of each guided filter (uncited; chosen on the
benchmark's val subjects)."""
COMPONENTS = 4
"""Temporal components of each tracer that are filtered (uncited; more gain nothing, measured)."""


@dataclass(frozen=True, kw_only=True)
class CascadeConfig(MethodConfig):
    """Cascade of closed-form maps, fitted in seconds: 9k parameters at 18 frames and two stages."""

    kind: Literal["cascade"] = "cascade"
    stages: int = 2
    """Maps one after the other, 1 to 4; a single one is linear."""
    ridge: float = 1e-5
    """Added to the diagonal of the normal equations of features of norm 1; above 0."""

    def __post_init__(self) -> None:
        check_least(self, stages=1)
        if self.stages > 4:
            raise InputError("model.stages", got=self.stages, wanted="1 to 4")
        if not 0 < self.ridge < math.inf:
            raise InputError("model.ridge", got=self.ridge, wanted="a number above 0")


class CascadeNetwork(ClosedFormNetwork):
    """Stages of features and a linear map of them; until it is fitted, an equal split.

    Beyond the border of a slice there is no activity, while it is fitted as while it is used.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: It draws nothing.
    """

    Config = CascadeConfig
    title = "cascade of closed-form maps"
    balanced = True

    def __init__(self, frames: int, config: CascadeConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        first = (1 + len(SCALES)) * frames
        components = min(COMPONENTS, frames)
        later = first + 2 * frames + 2 * components * 2 * len(GUIDED)
        sizes = [first] + [later] * (config.stages - 1)
        self.maps = nn.ParameterList(torch.zeros(2 * frames, size) for size in sizes)
        self.basis = nn.Parameter(torch.zeros(2, frames, components), requires_grad=False)
        """Temporal components of each tracer [K, T, R]."""
        self.rounds = config.stages
        eye = torch.eye(frames)
        with torch.no_grad():
            for weight in self.maps:
                weight[:, :frames] = torch.cat((eye, eye)) / 2

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        last = len(self.maps) - 1
        answer_BOYX = mix_channels(self.features(mixture_BTYX, last), self.maps[last])
        batch, _, height, width = mixture_BTYX.shape
        return answer_BOYX.reshape(batch, 2, self.frames, height, width)

    def features(self, mixture_BTYX: Tensor, stage: int) -> Tensor:
        """What the map of a stage, counted from 0, is applied to: [B, F, Y, X]."""
        scales = found = self._scales(mixture_BTYX)
        for before in range(stage):
            found = self._sharpened(scales, mix_channels(found, self.maps[before]))
        return found

    @torch.no_grad()
    def moments(
        self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor, weight_BYX: Tensor, turn: int
    ) -> Tensor:
        """[F + O, F + O] products of a stage's features and the outputs, over body pixels."""
        found_BFYX = self.features(mixture_BTYX, turn)
        values = torch.cat((found_BFYX, tracers_BKTYX.flatten(1, 2)), dim=1)
        return sum_products(values, weight_BYX)

    @torch.no_grad()
    def solve(self, moments: Tensor, turn: int) -> None:
        """Take the weights that the normal equations of a stage ask for."""
        weight_OF = self.maps[turn]
        size = weight_OF.shape[1]
        weight_OF.copy_(solve_ridge(moments, size, self.config.ridge))
        if turn == 0:
            for tracer, basis in enumerate(self.basis):
                own = slice(size + tracer * self.frames, size + (tracer + 1) * self.frames)
                # eigh sorts from the smallest eigenvalue on
                basis.copy_(torch.linalg.eigh(moments[own, own]).eigenvectors[:, -basis.shape[1] :])

    def _scales(self, mixture_BTYX: Tensor) -> Tensor:
        """The mixture and its Gaussian averages, [B, F, Y, X]."""
        return torch.cat([mixture_BTYX, *(gaussian(mixture_BTYX, sd) for sd in SCALES)], dim=1)

    def _sharpened(self, scales_BFYX: Tensor, answer_BOYX: Tensor) -> Tensor:
        """The features of a later stage from the answer [B, O, Y, X] of the one before."""
        parts = answer_BOYX.chunk(2, dim=1)
        components = torch.cat(
            [mix_channels(part, basis.T) for part, basis in zip(parts, self.basis, strict=True)],
            dim=1,
        )
        filtered = [
            guided(components, part.mean(dim=1, keepdim=True), radius, regularisation)
            for radius, regularisation in GUIDED
            for part in parts
        ]
        return torch.cat([scales_BFYX, answer_BOYX, *filtered], dim=1)


def gaussian(x: Tensor, sd: float) -> Tensor:
    """Gaussian average of images [B, C, Y, X], ``sd`` of at least a pixel, in pixels."""
    scale = 1 / (sd * math.sqrt(2 * math.pi))
    return average(x, lambda offset: scale * torch.exp(-(offset**2) / (2 * sd**2)))


def guided(x: Tensor, guide: Tensor, radius: int, regularisation: float) -> Tensor:
    """Guided filter of images [B, C, Y, X] by ``guide`` [B, 1, Y, X].

    In each window of 2 ``radius`` + 1 pixels, x is fitted by a line of the guide; a pixel's answer
    is the mean of the lines of all windows that hold it.
    """
    weight = 1 / (2 * radius + 1)

    def box(*images: Tensor) -> tuple[Tensor, ...]:
        averaged = average(torch.cat(images, dim=1), lambda d: weight * (d.abs() <= radius).to(d))
        return torch.split(averaged, [image.shape[1] for image in images], dim=1)

    mean, product, mean_guide, square = box(x, guide * x, guide, guide * guide)
    variance = (square - mean_guide**2).clamp_min(0)
    slope = (product - mean_guide * mean) / (variance + regularisation)
    slope, offset = box(slope, mean - slope * mean_guide)
    return slope * guide + offset


def average(x: Tensor, weight: Callable[[Tensor], Tensor]) -> Tensor:
    """Images [B, C, Y, X] averaged along both axes with weights of the offset; zeros outside.

    Products with band matrices: at 64 x 64 pixels a fifth of the time of convolutions (measured).
    """
    height, width = x.shape[-2:]

    def band(size: int) -> Tensor:
        place = torch.arange(size, dtype=x.dtype, device=x.device)
        return weight(place[:, None] - place)

    return band(height) @ (x @ band(width))
