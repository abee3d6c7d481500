"""What a network is made of: one configuration per kind, told apart by ``kind``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError

SQUEEZES = ("none", "shuffle", "haar")
"""How a stage of the invertible network begins: as it is, or at half the resolution."""

MOST = {"blocks": 10_000, "depth": 10_000, "terms": 10_000, "levels": 10}
"""Of what a network has one after the other (uncited): more are never built in a life."""

SubnetKind = Literal["residual", "bottleneck", "dense", "multiscale", "separable", "unet"]


@dataclass(frozen=True, kw_only=True)
class InvertibleConfig:
    """The invertible separator."""

    __pydantic_config__ = STRICT

    kind: Literal["invertible"] = "invertible"
    blocks: int = 1
    """Coupling blocks in each stage, at least 1."""
    squeeze: str = "none"
    """How each stage begins, with commas: ``none,haar`` is a stage at full resolution and one at
    half of it. ``shuffle`` moves 2x2 pixels into channels, ``haar`` their wavelets."""
    coupling: Literal["additive", "one-sided", "two-sided"] = "additive"
    """Which half of a block's channels is scaled beside being shifted: none, the second one, as
    published, or each."""
    subnet: SubnetKind = "bottleneck"
    """Kind of the subnets in a block."""
    width: int = 16
    """Channels inside a subnet, at least 1."""
    depth: int = 6
    """Convolutions in a subnet, at least 2; 3 of ``bottleneck``, whose first and last one look at
    no neighbours."""
    shared_trunk: bool = True
    """Gain and shift are two outputs of one subnet, where there is a gain."""
    mixing: Literal["lu", "orthogonal", "identity"] = "lu"
    """How channels mix before a coupling."""
    last_mixing: bool = True
    """Channels mix once more after the last block."""
    clamp: float = 0.8
    """A coupling's gain, where there is one, stays within exp(+-clamp)."""
    start: Literal["tame", "xavier"] = "tame"
    """Weights at step 0: near the identity, or as published."""
    variables: Literal["repeat", "halves", "zeros"] = "halves"
    """How T frames become 2T channels (variable augmentation)."""
    conditioning: Literal["none", "protocol"] = "none"
    """Whether the subnets are told the frame times, injections and half-lives."""

    def __post_init__(self) -> None:
        _at_least(self, blocks=1, width=1, depth=_least_depth(self.subnet))
        if not 0 < self.clamp <= 4:
            raise InputError("model.clamp", got=self.clamp, wanted="a number in (0, 4]")
        if not set(self.squeeze.split(",")) <= set(SQUEEZES):
            raise InputError(
                "model.squeeze",
                got=repr(self.squeeze),
                wanted=f"{', '.join(SQUEEZES)}, one for each stage, with commas",
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """How each stage begins."""
        return tuple(self.squeeze.split(","))


@dataclass(frozen=True, kw_only=True)
class ResidualCNNConfig:
    """Plain residual CNN in 2D, frames as channels: 90k parameters at 18 frames."""

    __pydantic_config__ = STRICT

    kind: Literal["residual-cnn"]
    width: int = 32
    """Channels."""
    blocks: int = 4
    """Residual blocks of two 3x3 convolutions."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, blocks=1)


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """One subnet of the invertible separator's, without an inverse: 11k parameters at 18 frames."""

    __pydantic_config__ = STRICT

    kind: Literal["plain"]
    subnet: SubnetKind = "bottleneck"
    """Kind of the subnet."""
    width: int = 16
    """Channels inside it."""
    depth: int = 6
    """Convolutions in it, at least 2; 3 of ``bottleneck``."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, depth=_least_depth(self.subnet))


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Residual U-Net in 2D, frames as channels: 149k parameters at 18 frames."""

    __pydantic_config__ = STRICT

    kind: Literal["unet"]
    width: int = 16
    """Channels at full resolution; twice as many at each level below."""
    levels: int = 2
    """Times that the resolution is halved."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, levels=1)


@dataclass(frozen=True, kw_only=True)
class CEDConfig:
    """2D encoder-decoder without skips, frames as channels: 503k parameters at 18 frames."""

    __pydantic_config__ = STRICT

    kind: Literal["ced"]
    width: int = 32
    """Channels at full resolution; twice as many at each level below."""
    levels: int = 2
    """Times that the resolution is halved."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, levels=1)


@dataclass(frozen=True, kw_only=True)
class CNN3DConfig:
    """CNN in 3D over frame, y and x: 15k parameters at any number of frames."""

    __pydantic_config__ = STRICT

    kind: Literal["cnn3d"]
    width: int = 16
    """Channels."""
    depth: int = 4
    """3x3x3 convolutions, head and tail among them, at least 2."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, depth=2)


@dataclass(frozen=True, kw_only=True)
class TemporalConfig:
    """Voxel-wise network: it sees one pixel's curve alone. 13k parameters at 18 frames."""

    __pydantic_config__ = STRICT

    kind: Literal["temporal"]
    width: int = 64
    """Hidden units."""
    depth: int = 4
    """Layers, the first and the last among them, at least 2."""

    def __post_init__(self) -> None:
        _at_least(self, width=1, depth=2)


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """Spectral analysis, voxel by voxel: a basis for known inputs, and nothing to train."""

    __pydantic_config__ = STRICT

    kind: Literal["spectral"] = "spectral"
    terms: int = 4
    """Exponentials of each tracer, beside its trapping and its blood; at least 1."""
    slow: float = 0.01
    """Smallest rate of an exponential, 1/min."""
    fast: float = 1.0
    """Largest rate, 1/min; the others lie between on a logarithmic scale."""
    smoothing_px: float = 1.25
    """FWHM of the Gaussian that smooths the mixture first, pixels; 0 is none."""

    def __post_init__(self) -> None:
        _at_least(self, terms=1, smoothing_px=0)
        if not 0 < self.slow < self.fast < float("inf"):
            raise InputError(
                "model.slow and model.fast",
                got=f"{self.slow:g} and {self.fast:g} 1/min",
                wanted="rates above 0, the slower first",
            )


ModelConfig = Annotated[
    InvertibleConfig
    | ResidualCNNConfig
    | PlainConfig
    | UNetConfig
    | CEDConfig
    | CNN3DConfig
    | TemporalConfig
    | SpectralConfig,
    Field(discriminator="kind"),
]
"""The configuration of any trainable network, or of the spectral analysis that is one's rival."""


def _least_depth(subnet: SubnetKind) -> int:
    return 3 if subnet == "bottleneck" else 2


def _at_least(config: Any, **least: int) -> None:
    for name, value in least.items():
        given = getattr(config, name)
        if given < value:
            raise InputError(f"model.{name}", got=given, wanted=f"at least {value}")
        if given > MOST.get(name, given):
            raise InputError(f"model.{name}", got=given, wanted=f"at most {MOST[name]}")
