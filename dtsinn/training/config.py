"""The configuration of one run: everything that decides its result, but the store."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dtsinn.core.config import (
    STRICT,
    find_config,
    flatten,
    from_mapping,
    read_overrides,
    read_yaml,
    set_key,
)
from dtsinn.core.errors import InputError
from dtsinn.data.augmentation import AugmentationConfig
from dtsinn.networks.build import METHODS, ModelConfig
from dtsinn.networks.latent import LatentConfig
from dtsinn.training.losses import LossConfig

DEFAULT_KIND = LatentConfig.kind
"""Kind of a network whose configuration names none."""


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
    beta2: float = 0.99
    """Decay, per step, of the running average of the squared gradient."""
    clip: float = 0.1
    """Largest norm of the gradient; longer ones are shortened to it."""
    ema: float = 0.0
    """Decay, per step, of the running average of the weights that is validated and kept; 0 keeps
    the weights themselves."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate <= 1:
            raise InputError(
                "optimizer.learning_rate", got=self.learning_rate, wanted="a number in (0, 1]"
            )
        if self.warm_up < 0 or self.weight_decay < 0 or self.clip <= 0:
            raise InputError("optimizer: warm_up and weight_decay are 0 or more, clip above 0")
        for name in ("beta2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"optimizer.{name}", got=getattr(self, name), wanted="a number in [0, 1)"
                )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training."""

    __pydantic_config__ = STRICT

    model: ModelConfig = field(default_factory=LatentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: int = 4000
    """Optimiser steps: the whole budget, which the learning rate's decay spans."""
    batch: int = 1
    """Samples that go through the network at once."""
    batch_end: int = 0
    """Where ``batch`` grows to: it is doubled at equal parts of the budget; 0 leaves it."""
    accumulate: int = 1
    """Batches whose gradients make one step; several workers share them."""
    validate_every: int = 250
    """Steps between validations; each leaves a checkpoint."""
    refit: int = 256
    """Samples of each store from which the last layer is solved in closed form after the last
    step, where the network's last layer is a convolution that corrects an answer; 0 leaves it."""
    patience: int = 0
    """Validations without a gain of at least 0.01 dB that end the run; 0 never does."""
    seed: int = 0
    """Seed of the weights' start, the order of samples and the augmentation."""
    memory: Literal["plain", "checkpoint", "reversible"] = "plain"
    """How activations are kept for the gradient of an invertible network: all of them; those
    between blocks, the rest computed again; or none, recovered by running the blocks backwards."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of the subnets while training; evaluation and inverse are always float32."""
    round_trip_limit: float = 1e-3
    """Relative round-trip error above which training stops."""
    deterministic: bool = False
    """Only algorithms that give the same bits every time, where a device has faster ones too; a
    CPU needs no such request."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(name, got=getattr(self, name), wanted="at least 1")
        if self.batch_end and self.batch_end < self.batch:
            raise InputError(
                "batch_end", got=self.batch_end, wanted=f"0, or at least batch, {self.batch}"
            )
        if self.refit < 0:
            raise InputError("refit", got=self.refit, wanted="0 or more samples")
        if self.patience < 0:
            raise InputError("patience", got=self.patience, wanted="0 or more validations")
        if not 0 <= self.seed < 2**63:
            raise InputError("seed", got=self.seed, wanted="0 to 2^63 - 1")
        method = METHODS[self.model.kind]
        coupled = method.exact and not method.has_latent
        self.loss.check_inverse(self.model.kind, coupled)
        if not coupled and (self.memory, self.precision) != ("plain", "float32"):
            raise InputError(
                "memory and precision are settings of the invertible network",
                got=f"{self.memory} and {self.precision} with model.kind {self.model.kind}",
                wanted="plain and float32",
            )
        if self.round_trip_limit <= 0:
            raise InputError("round_trip_limit", got=self.round_trip_limit, wanted="above 0")


def load_run_config(name_or_path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A shipped or own run configuration with ``key=value`` overrides.

    Raises:
        InputError: No such configuration, an unknown key, or a value that is refused.
    """
    path = find_config("runs", name_or_path)
    mapping = apply_changes(read_yaml(path), read_overrides(overrides))
    where = "--set" if overrides else str(path)
    return from_mapping(RunConfig, mapping, where)


def stated_settings(name_or_path: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What a user states by dotted key: ``key=value`` overrides, and a file other than the default.

    Raises:
        InputError: No such configuration, or an override without ``=``.
    """
    content = {} if name_or_path == "default" else read_yaml(find_config("runs", name_or_path))
    return flatten(content) | flatten(read_overrides(overrides))


def apply_changes(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a run configuration's plain data with other values for dotted keys.

    Another ``model.kind`` starts from the defaults of that kind: what the base says of its own
    kind's configuration means nothing there.

    Raises:
        InputError: A key passes through a plain value.
    """
    result: dict[str, Any] = copy.deepcopy(dict(mapping))
    kind = changes.get("model.kind")
    model = result.get("model")
    if kind is not None and isinstance(model, dict) and model.get("kind", DEFAULT_KIND) != kind:
        result["model"] = {"kind": kind}
    for key, value in changes.items():
        set_key(result, key, value)
    if isinstance(result.get("model"), dict):
        result["model"].setdefault("kind", DEFAULT_KIND)
    return result
