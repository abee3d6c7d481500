"""The running average of the weights: what is validated and kept when ``optimizer.ema`` is on."""

from __future__ import annotations

import torch

from dtsinn.networks.separator import SeparatorNetwork


def decay_at(decay: float, updates: int) -> float:
    """The decay after ``updates`` earlier ones.

    It begins low, so that the average soon forgets the random start: min(decay, (1 + t)/(10 + t)),
    as TensorFlow's ``ExponentialMovingAverage`` with ``num_updates`` has it.
    """
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(average: SeparatorNetwork, network: SeparatorNetwork, decay: float) -> None:
    """Move the weights of ``average`` a part of 1 - ``decay`` towards those of ``network``."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    learned = {name for name, _ in network.named_parameters()}
    current = network.state_dict()
    for name, kept in average.state_dict().items():
        if name not in learned:  # a permutation, a running statistic: as it is now
            kept.copy_(current[name])
