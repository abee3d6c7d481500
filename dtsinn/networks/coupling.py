"""Coupling blocks: each half of the channels shifts, and may scale, the other; all can be undone.

Shape letters: B batch, T frame, C channel, Y X pixel, F feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dtsinn.networks.conditioning import ProtocolEmbedding
from dtsinn.networks.mixing import MIXINGS, Mixing
from dtsinn.networks.subnets import SUBNETS

if TYPE_CHECKING:
    from dtsinn.networks.invertible import InvertibleConfig

Precision = Literal["float32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class SubnetContext:
    """What the subnets of a block get beside their input."""

    protocol_TF: Tensor | None = None
    """Features of the protocol, where the network is made to listen; no gradient flows to it."""
    precision: Precision = "float32"
    """Precision of the arithmetic inside the subnets."""


NOTHING = SubnetContext()
"""The context of most networks: none."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """y = gain x + shift, value by value."""

    gain: Tensor | None
    """None is 1."""
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to x."""
        return (x if self.gain is None else x * self.gain) + self.shift

    def inverse(self, y: Tensor) -> Tensor:
        """Take it back from y."""
        return y - self.shift if self.gain is None else (y - self.shift) / self.gain

    def detached(self) -> Affine:
        """The same without a graph."""
        gain = None if self.gain is None else self.gain.detach()
        return Affine(gain=gain, shift=self.shift.detach())


class Conditioner(nn.Module):
    """What one half of the channels does to the other one: a shift, and a gain if it is scaled.

    Gain and shift are two outputs of one subnet, or those of two. The gain is
    exp(clamp (2 sigmoid(raw) - 1)), as published: softly bounded by exp(+-clamp).

    Args:
        half: Channels of either half.
        config: Configuration of the network.
        scaled: Whether there is a gain.
        step: Factor on what the subnets put out.
    """

    def __init__(self, half: int, config: InvertibleConfig, scaled: bool, step: float) -> None:
        super().__init__()
        if not scaled:
            outputs = {"shift": half}
        elif config.shared_trunk:
            outputs = {"both": 2 * half}
        else:
            outputs = {"raw": half, "shift": half}
        make = SUBNETS[config.subnet]
        self.subnets = nn.ModuleDict(
            {name: make(half, count, config.width, config.depth) for name, count in outputs.items()}
        )
        self.film = None
        if config.conditioning == "protocol":
            self.film = nn.ModuleDict({name: ProtocolEmbedding(config.width) for name in outputs})
        self.clamp, self.step = config.clamp, step

    def forward(self, x: Tensor, context: SubnetContext) -> Affine:
        """What ``x`` [B, C/2, Y, X] does to the other half."""
        out = {name: self._run(name, x, context) for name in self.subnets}
        if "both" in out:
            out["raw"], out["shift"] = out["both"].chunk(2, dim=1)
        if "raw" not in out:
            return Affine(gain=None, shift=out["shift"])
        gain = torch.exp((2 * self.clamp) * torch.sigmoid(out["raw"]) - self.clamp)
        return Affine(gain=gain, shift=out["shift"])

    def _run(self, name: str, x: Tensor, context: SubnetContext) -> Tensor:
        subnet = self.subnets[name]
        film = self.film[name](context.protocol_TF) if self.film is not None else None
        if context.precision == "float32":
            out: Tensor = subnet(x, film)
        else:
            # Not torch.autocast: on the CPU it goes back to float32 at each concatenation.
            weights = {key: value.bfloat16() for key, value in subnet.named_parameters()}
            film = film.bfloat16() if film is not None else None
            out = functional_call(subnet, weights, (x.bfloat16(), film)).to(x.dtype)
        return out if self.step == 1 else self.step * out


class CouplingBlock(nn.Module):
    """Mix channels, split them, and let each half act on the other in turn.

    y1 = q(x2) x1 + r(x2), then y2 = s(y1) x2 + t(y1). An additive block has no gains q and s, a
    one-sided one no q, as published.

    Args:
        channels: C, even.
        config: Configuration of the network.
        step: Factor on what the subnets put out, and on the mixing.
    """

    def __init__(self, channels: int, config: InvertibleConfig, step: float = 1.0) -> None:
        super().__init__()
        half = channels // 2
        self.mixing: Mixing = MIXINGS[config.mixing](channels, step)
        self.on_first = Conditioner(half, config, config.coupling == "two-sided", step)
        """q and r."""
        self.on_second = Conditioner(half, config, config.coupling != "additive", step)
        """s and t."""

    def forward(self, x_BCYX: Tensor, context: SubnetContext = NOTHING) -> Tensor:
        """[B, C, Y, X] -> [B, C, Y, X]."""
        x1, x2 = self.mixing(x_BCYX).chunk(2, dim=1)
        y1 = self.on_first(x2, context).forward(x1)
        return torch.cat((y1, self.on_second(y1, context).forward(x2)), dim=1)

    def inverse(self, y_BCYX: Tensor, context: SubnetContext = NOTHING) -> Tensor:
        """The x whose :meth:`forward` is ``y_BCYX``."""
        y1, y2 = y_BCYX.chunk(2, dim=1)
        x2 = self.on_second(y1, context).inverse(y2)
        x1 = self.on_first(x2, context).inverse(y1)
        return self.mixing.inverse(torch.cat((x1, x2), dim=1))
