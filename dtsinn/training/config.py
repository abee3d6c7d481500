"""The configuration of one run: everything that decides its result, but the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dtsinn.core.config import STRICT, find_config, from_mapping, read_yaml, with_overrides
from dtsinn.core.errors import InputError
from dtsinn.data.augmentation import AugmentationConfig
from dtsinn.networks.invertible import ModelConfig
from dtsinn.training.losses import LossConfig


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with linear warm-up and cosine decay to zero."""

    __pydantic_config__ = STRICT

    learning_rate: float = 2e-3
    """Peak learning rate."""
    warm_up: int = 50
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient; longer ones are shortened to it."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise InputError(
                "optimizer.learning_rate", got=self.learning_rate, wanted="a number in (0, 1]"
            )
        if self.warm_up < 0 or self.weight_decay < 0 or self.clip <= 0:
            raise InputError("optimizer: warm_up and weight_decay are 0 or more, clip above 0")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training."""

    __pydantic_config__ = STRICT

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 4000
    """Optimiser steps: the whole budget, which the learning rate's decay spans."""
    batch: int = 1
    """Samples per step."""
    validate_every: int = 250
    """Steps between validations; each leaves a checkpoint."""
    seed: int = 0
    """Of the weights' start, the order of samples and the augmentation."""
    round_trip_limit: float = 1e-3
    """Relative round-trip error above which training stops."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(name, got=getattr(self, name), wanted="at least 1")
        if not 0 <= self.seed < 2**63:
            raise InputError("seed", got=self.seed, wanted="0 to 2^63 - 1")
        if self.round_trip_limit <= 0:
            raise InputError("round_trip_limit", got=self.round_trip_limit, wanted="above 0")


def load_run_config(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A shipped or own run configuration with ``key=value`` overrides.

    Raises:
        InputError: No such configuration, an unknown key, or a value that is refused.
    """
    path = find_config("runs", name_or_path)
    mapping = with_overrides(read_yaml(path), overrides)
    where = "--set" if overrides else str(path)
    return from_mapping(RunConfig, mapping, where)
