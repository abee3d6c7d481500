"""What changes with the step: the learning rate, the batch size, and so the place in the data."""

from __future__ import annotations

import math

from dtsinn.training.config import OptimizerConfig, RunConfig


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero at ``steps``."""
    warm = min(1.0, (step + 1) / max(config.warm_up, 1))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))


def batch_size(config: RunConfig, step: int) -> int:
    """Samples of a micro-batch at ``step``: doubled at equal parts of the budget."""
    sizes = _sizes(config)
    return sizes[min(step * len(sizes) // config.steps, len(sizes) - 1)]


def samples_before(config: RunConfig, step: int, store: int = 0, stores: int = 1) -> int:
    """Samples of a store that the steps before ``step`` take.

    Args:
        config: Of the run.
        step: From 0 on.
        store: Which one of ``stores``, which the steps take in turn.
        stores: Number of stores.
    """
    taken, sizes = 0, _sizes(config)
    for part, size in enumerate(sizes):
        # The steps s with s * parts // steps == part, as batch_size counts.
        first = -(-part * config.steps // len(sizes))
        last = min(-(-(part + 1) * config.steps // len(sizes)), step)
        taken += size * max(0, _turns(last, store, stores) - _turns(first, store, stores))
    return taken * config.accumulate


def _sizes(config: RunConfig) -> list[int]:
    """Batch sizes in the order of the training, each for an equal part of the steps."""
    sizes = [config.batch]
    while sizes[-1] < config.batch_end:
        sizes.append(min(2 * sizes[-1], config.batch_end))
    return sizes


def _turns(step: int, store: int, stores: int) -> int:
    """How many of the first ``step`` steps are a store's turn."""
    return max(0, (step - store + stores - 1) // stores)
