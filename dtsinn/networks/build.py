"""From a model configuration to a network: the one dictionary of kinds."""

from __future__ import annotations

import torch

from dtsinn.networks.invertible import InvertibleSeparator, ModelConfig

NETWORKS = {"invertible": InvertibleSeparator}
"""Kinds of networks by the name that ``model.kind`` takes."""


def build_network(config: ModelConfig, frames: int, seed: int = 0) -> InvertibleSeparator:
    """A fresh network for sequences of ``frames`` frames, its weights drawn from ``seed``."""
    # torch's layers draw weights from the global generator before ours replaces them.
    with torch.random.fork_rng(devices=[]):
        return NETWORKS[config.kind](frames, config, seed)


def parameter_count(network: InvertibleSeparator) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
