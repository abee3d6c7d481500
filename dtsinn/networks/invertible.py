"""The invertible separator: mixture -> two tracers, and exactly back.

Shape letters: B batch, K tracer (2), T frame, C channel (2T), Y X pixel, F feature. All
activities are in units of the sample's scale (see ``normalisation``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from torch import Tensor, nn

from dtsinn.core.config import OneOf
from dtsinn.core.errors import InputError
from dtsinn.networks.conditioning import ProtocolEmbedding
from dtsinn.networks.coupling import CouplingBlock, Precision, SubnetContext
from dtsinn.networks.memory import RMS_FLOOR, Direction, Link, Memory, run_links
from dtsinn.networks.method import MethodConfig, check_least
from dtsinn.networks.mixing import MIXINGS, Mixing
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.networks.squeezes import SQUEEZES, Squeeze, check_divisible
from dtsinn.networks.subnets import SUBNETS, Subnet, draw_start
from dtsinn.networks.variables import VARIABLE_AUGMENTATIONS

STEPS_OF_ONE = 2
"""Blocks up to which a block's step is not shortened (uncited)."""


@dataclass(frozen=True, kw_only=True)
class InvertibleConfig(MethodConfig):
    """The invertible separator."""

    kind: Literal["invertible"] = "invertible"
    blocks: int = 1
    """Coupling blocks in each stage, at least 1."""
    squeeze: str = "none"
    """How each stage begins, with commas: ``none,haar`` is a stage at full resolution and one at
    half of it. ``shuffle`` moves 2x2 pixels into channels, ``haar`` their wavelets."""
    coupling: Literal["additive", "one-sided", "two-sided"] = "additive"
    """Which half of a block's channels is scaled beside being shifted: none, the second one, as
    published, or each."""
    subnet: Annotated[str, OneOf(SUBNETS)] = "bottleneck"
    """Kind of the subnets in a block."""
    width: int = 16
    """Channels inside a subnet, at least 1."""
    depth: int = 6
    """Convolutions in a subnet, at least 2; 3 of ``bottleneck``, whose first and last one look at
    no neighbours."""
    shared_trunk: bool = True
    """Gain and shift are two outputs of one subnet, where there is a gain."""
    mixing: Annotated[str, OneOf(MIXINGS)] = "lu"
    """How channels mix before a coupling."""
    last_mixing: bool = True
    """Channels mix once more after the last block."""
    clamp: float = 0.8
    """A coupling's gain, where there is one, stays within exp(+-clamp)."""
    start: Literal["tame", "xavier"] = "tame"
    """Weights at step 0: near the identity, or as published."""
    variables: Annotated[str, OneOf(VARIABLE_AUGMENTATIONS)] = "halves"
    """How T frames become 2T channels (variable augmentation)."""
    conditioning: Literal["none", "protocol"] = "none"
    """Whether the subnets are given the frame times, injections and half-lives."""

    def __post_init__(self) -> None:
        check_least(self, blocks=1, width=1, depth=SUBNETS[self.subnet].least_depth)
        if not 0 < self.clamp <= 4:
            raise InputError("model.clamp", got=self.clamp, wanted="a number in (0, 4]")
        known = ("none", *SQUEEZES)
        if not set(self.stages) <= set(known):
            raise InputError(
                "model.squeeze",
                got=repr(self.squeeze),
                wanted=f"{', '.join(known)}, one for each stage, with commas",
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """How each stage begins."""
        return tuple(self.squeeze.split(","))


def step_of(config: InvertibleConfig) -> float:
    """Factor on what the subnets of a block put out, so that deep networks stay invertible.

    Each block is one step of a flow from mixture to tracers; more blocks make shorter steps. The
    whole change, and with it the loss of digits, then does not grow with the depth. The published
    start is left as it was published.
    """
    if config.start == "xavier":
        return 1.0
    return min(1.0, STEPS_OF_ONE / (config.blocks * len(config.stages)))


class InvertibleSeparator(SeparatorNetwork):
    """Variable augmentation, then stages of coupling blocks; the inverse runs them backwards.

    Args:
        frames: Number of frames T of the sequences that it separates.
        config: Its configuration.
        seed: Seed of the weights' start.
    """

    Config = InvertibleConfig
    title = "invertible network"
    exact = True
    protocol_TF: Tensor | None
    memory: Memory = "plain"
    """How activations are kept for the gradient; a setting of the training, not of the network."""
    precision: Precision = "float32"
    """Precision of the subnets while training; a setting of the training too."""

    def __init__(self, frames: int, config: InvertibleConfig, seed: int = 0) -> None:
        super().__init__(frames, config)
        self.variables = VARIABLE_AUGMENTATIONS[config.variables]
        self.squeezes: list[Squeeze | None] = []
        """What is done before each block, if anything."""
        self.blocks = nn.ModuleList()
        channels, step = 2 * frames, step_of(config)
        for stage in config.stages:
            squeeze = SQUEEZES[stage]() if stage != "none" else None
            channels *= 4 if squeeze else 1
            self.squeezes += [squeeze] + [None] * (config.blocks - 1)
            self.blocks.extend(CouplingBlock(channels, config, step) for _ in range(config.blocks))
        self.last: Mixing = MIXINGS[config.mixing if config.last_mixing else "identity"](2 * frames)
        self.divisor = 2 ** sum(squeeze is not None for squeeze in self.squeezes)
        self.conditioned = config.conditioning == "protocol"
        self.register_buffer("protocol_TF", None, persistent=False)
        generator = torch.Generator().manual_seed(seed)
        for module in self.blocks.modules():
            if isinstance(module, Subnet):
                draw_start(module, config.start, generator)
            elif isinstance(module, ProtocolEmbedding):
                module.draw_start(generator)

    def forward(self, mixture_BTYX: Tensor) -> Tensor:
        """Separate mixtures [B, T, Y, X] into tracers [B, K, T, Y, X]."""
        y_BCYX = self.forward_channels(self.variables.encode(mixture_BTYX))
        batch, _, height, width = y_BCYX.shape
        return y_BCYX.reshape(batch, 2, self.frames, height, width)

    def forward_channels(self, x: Tensor) -> Tensor:
        """Run an augmented mixture [B, C, Y, X] forward to both tracers' channels, the same."""
        self._check(*x.shape[-2:])
        x = self._run(x, "forward")
        for squeeze in reversed(self.squeezes):
            if squeeze is not None:
                x = squeeze.inverse(x)
        return self.last(x)  # type: ignore[no-any-return]

    def inverse_channels(self, tracers_BKTYX: Tensor) -> Tensor:
        """Run tracers [B, K, T, Y, X] backwards to the augmented mixture [B, C, Y, X]."""
        self._check(*tracers_BKTYX.shape[-2:])
        x = self.last.inverse(tracers_BKTYX.flatten(1, 2))
        for squeeze in self.squeezes:
            if squeeze is not None:
                x = squeeze.forward(x)
        return self._run(x, "inverse")

    def inverse(self, tracers_BKTYX: Tensor, latent_BTYX: Tensor | None = None) -> Tensor:
        """Mix tracers [B, K, T, Y, X] again into mixtures [B, T, Y, X]; it needs nothing else."""
        return self.variables.decode(self.inverse_channels(tracers_BKTYX))

    def _run(self, x: Tensor, direction: Direction) -> Tensor:
        """All blocks in one direction; memory and precision matter where gradients are due."""
        links = [
            Link(squeeze=squeeze, block=block, name=f"block {number} of {len(self.blocks)}")  # type: ignore[arg-type]
            for number, (squeeze, block) in enumerate(
                zip(self.squeezes, self.blocks, strict=True), 1
            )
        ]
        if direction == "inverse":
            links.reverse()
        learning = self.training and torch.is_grad_enabled()
        return run_links(
            links,
            x.contiguous(memory_format=torch.channels_last),
            direction,
            SubnetContext(
                protocol_TF=self.protocol_TF,
                precision=self.precision if learning else "float32",
            ),
            self.memory if learning else "plain",
        )

    def frozen(self) -> Self:
        """A copy for inference and export, with the 1x1 convolutions as fixed matrices."""
        copied = super().frozen()
        for block in copied.blocks:
            block.mixing = block.mixing.frozen()  # type: ignore[operator, union-attr]
        copied.last = copied.last.frozen()
        return copied

    def condition_on(self, features_TF: Tensor) -> None:
        """Tell the subnets of the protocol, where they are made to listen."""
        if self.config.conditioning == "protocol":
            self.protocol_TF = features_TF.to(next(self.parameters()))

    def _check(self, height: int, width: int) -> None:
        if torch.compiler.is_compiling():  # an export, of a network that runs
            return
        check_divisible(height, width, self.divisor)
        if self.config.conditioning == "protocol" and self.protocol_TF is None:
            raise InputError(
                "the network is conditioned on a protocol and was told of none",
                hint="condition_on",
            )


def round_trip_error(network: SeparatorNetwork, mixture_BTYX: Tensor) -> float:
    """Relative error of inverse(forward(m)) against m, in units of the sample's scale."""
    with torch.no_grad():
        tracers_BKTYX = network(mixture_BTYX)
        again = network.inverse(tracers_BKTYX, network.latent(mixture_BTYX, tracers_BKTYX))
        return relative_error(again, mixture_BTYX)


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Norm of the difference over the norm of ``wanted``.

    That norm counts as no smaller than that of an image of
    :data:`dtsinn.networks.memory.RMS_FLOOR`: rounding in an empty slice is no loss.
    """
    least = RMS_FLOOR * wanted.numel() ** 0.5
    return float((found - wanted).norm() / wanted.norm().clamp_min(least))
