"""From a model configuration to a network: the one dictionary of kinds."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dtsinn.core.errors import InputError
from dtsinn.networks.config import ModelConfig
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.rivals.ced import CED
from dtsinn.networks.rivals.cnn3d import CNN3D
from dtsinn.networks.rivals.plain import PlainNetwork
from dtsinn.networks.rivals.residual_cnn import ResidualCNN
from dtsinn.networks.rivals.temporal import TemporalNetwork
from dtsinn.networks.rivals.unet import UNet
from dtsinn.networks.separator import SeparatorNetwork

NETWORKS: dict[str, type[SeparatorNetwork]] = {
    "invertible": InvertibleSeparator,
    "residual-cnn": ResidualCNN,
    "plain": PlainNetwork,
    "unet": UNet,
    "ced": CED,
    "cnn3d": CNN3D,
    "temporal": TemporalNetwork,
}
"""Kinds of networks by the name that ``model.kind`` takes; called with (frames, config, seed)."""


def build_network(config: ModelConfig, frames: int, seed: int = 0) -> SeparatorNetwork:
    """A fresh network for sequences of ``frames`` frames, its weights drawn from ``seed``.

    Raises:
        InputError: The configuration is of a method without weights.
    """
    if config.kind not in NETWORKS:
        raise InputError(
            f"model.kind {config.kind} is no network",
            got="nothing to train",
            wanted=f"one of {', '.join(NETWORKS)}",
            hint="dtsinn evaluate --baselines",
        )
    make: Callable[[int, ModelConfig, int], SeparatorNetwork] = NETWORKS[config.kind]
    # torch's layers draw weights from the global generator before ours replaces them.
    with torch.random.fork_rng(devices=[]):
        return make(frames, config, seed)


def parameter_count(network: SeparatorNetwork) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
