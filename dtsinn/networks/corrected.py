"""Networks that correct an answer which is there from the start: their base, and their parts.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.cascade import CascadeConfig, CascadeNetwork
from dtsinn.networks.method import MethodConfig
from dtsinn.networks.pointwise import Pointwise
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.networks.separator import ClosedFormNetwork, SeparatorNetwork

Convolution = nn.Conv2d | nn.ConvTranspose2d


@dataclass(frozen=True, kw_only=True)
class StartConfig(MethodConfig):
    """The settings of a network that may start from a closed form."""

    start: Literal["half", "linear", "cascade"] = "half"
    """What is corrected: half of the mixture, through a linear map of the frames that is learned,
    or the answer of a map that is fitted in closed form before the first step and stays so."""


class CorrectedNetwork(SeparatorNetwork):
    """An answer that is there from the start, plus a learned correction.

    Either a linear map of the frames, one matrix for all pixels, which starts as half of the
    mixture for each tracer and is learned: with halves that stay as they are the 2D kinds lose 1 to
    4 dB after 30 s of training (measured). Or the answer of a closed form; the correction then sees
    it beside the mixture.

    A kind makes its layers for ``inputs`` channels and then calls :meth:`draw_start`, which sets
    the last one to zero: training begins at that answer.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
    """

    def __init__(self, frames: int, config: Any) -> None:
        super().__init__(frames, config)
        self.split: Pointwise | None = None
        """The linear map [B, T, Y, X] -> [B, 2T, Y, X]; None keeps the halves."""
        self.closed_form = make_closed_form(frames, getattr(config, "start", "half"))
        self.inputs = frames if self.closed_form is None else 3 * frames
        """Channels that the correction sees."""
        self.tails: tuple[nn.Conv2d, ...] = ()
        """The last layers, which start at zero."""

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        if self.closed_form is not None:
            with torch.no_grad():
                answer_BCYX = self.closed_form(mixture_BTYX).flatten(1, 2)
            seen_BCYX = torch.cat((mixture_BTYX, answer_BCYX), dim=1)
            return self.as_tracers(answer_BCYX + self.correction(seen_BCYX))
        correction_BKTYX = self.as_tracers(self.correction(mixture_BTYX))
        if self.split is None:
            return mixture_BTYX[:, None] / 2 + correction_BKTYX
        return self.as_tracers(self.split(mixture_BTYX)) + correction_BKTYX

    @abstractmethod
    def correction(self, seen_BCYX: Tensor) -> Tensor:
        """What it sees [B, inputs, Y, X] -> what both tracers gain, [B, 2T, Y, X]."""

    def as_tracers(self, x_BCYX: Tensor) -> Tensor:
        """[B, 2T, Y, X] -> [B, K, T, Y, X]."""
        batch, _, height, width = x_BCYX.shape
        return x_BCYX.reshape(batch, 2, self.frames, height, width)

    def draw_start(self, seed: int, *tails: nn.Conv2d) -> None:
        """Fill the weights: He-normal from ``seed``, biases and the last layers zero."""
        generator = torch.Generator().manual_seed(seed)
        self.tails = tails
        if self.closed_form is not None:
            self.split = None
        learned = (m for m in self.modules() if isinstance(m, Convolution))
        for layer in (m for m in learned if m.weight.requires_grad):
            deviation = (2 / values_behind(layer)) ** 0.5
            nn.init.normal_(layer.weight, 0.0, deviation, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for tail in tails:
            nn.init.zeros_(tail.weight)
        if self.split is not None:
            eye = torch.eye(self.frames)
            with torch.no_grad():
                self.split.weight.copy_(torch.cat((eye, eye))[:, :, None, None] / 2)


def make_closed_form(frames: int, start: str) -> ClosedFormNetwork | None:
    """What a network starts from, by ``model.start``; no gradient reaches it."""
    if start == "half":
        return None
    if start == "linear":
        return LinearNetwork(frames, LinearConfig()).requires_grad_(False)
    return CascadeNetwork(frames, CascadeConfig()).requires_grad_(False)


def linear_split(frames: int) -> Pointwise:
    """The layer for :attr:`CorrectedNetwork.split`."""
    return Pointwise(frames, 2 * frames, bias=False)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3x3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, Y, X] -> the same."""
        out: Tensor = x + self.second(functional.relu(self.first(functional.relu(x))))
        return out


def values_behind(layer: Convolution) -> float:
    """How many input values an output value of ``layer`` is computed from, on average.

    He et al., ICCV 2015, eq. 10. Of a transposed convolution's kernel each output sees only one
    part in stride x stride.
    """
    height, width = layer.kernel_size
    seen = layer.in_channels * height * width
    if isinstance(layer, nn.ConvTranspose2d):
        return seen / (layer.stride[0] * layer.stride[1])
    return float(seen)
