"""Fine-tuning: a run that starts from the weights of a separator that exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.deploy.package import SeparatorInfo, load_network
from dtsinn.training.config import RunConfig
from dtsinn.training.state import TrainingState


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent:
    """The separator that a run starts from."""

    info: SeparatorInfo
    weights: Mapping[str, Tensor]
    digest: str
    """Digest of its weights and configuration."""


def read_parent(package: Path) -> Parent:
    """The separator in a package folder, after verification.

    Raises:
        PackageError: The package is damaged, incomplete or not what it says.
    """
    network, info, digest = load_network(package)
    return Parent(info=info, weights=network.state_dict(), digest=digest)


def config_of_child(config: RunConfig, asked: Mapping[str, Any], parent: Parent) -> RunConfig:
    """A run's configuration with the model of its parent.

    Args:
        config: Of the run, as it would be without a parent.
        asked: The settings that the user asked for, by dotted key; those of the model may only
            repeat what the parent has.
        parent: Where the weights come from.

    Raises:
        InputError: A setting contradicts the parent's model, or the loss does not go with it.
    """
    has = flatten({"model": to_mapping(parent.info.model)})
    wants = flatten({"model": to_mapping(config.model)})
    for key in asked:
        if key.startswith("model.") and wants.get(key) != has.get(key):
            raise InputError(
                f"--set {key} contradicts the separator that --init names",
                got=wants.get(key),
                wanted=has.get(key, f"no such setting, as its model.kind is {has['model.kind']}"),
            )
    return dataclasses.replace(config, model=parent.info.model)


def start_from(state: TrainingState, parent: Parent, stores: Sequence[Store]) -> None:
    """Give a fresh state its parent's weights; another tracer pair is taken note of.

    Raises:
        InputError: The parent separates another number of frames, or has another model, or one
            that is fitted in closed form, which starts from nothing.
    """
    if state.network.learning != "gradient":
        raise InputError(
            f"--init: a separator of model.kind {state.config.model.kind} is fitted in closed form",
            got="weights to start from",
            hint="train without --init",
        )
    frames = stores[0].header.protocol.frames
    if parent.info.frames != frames:
        raise InputError(
            f"--init: {stores[0].header.path} has other frames than the separator",
            got=f"{frames} frames",
            wanted=f"{parent.info.frames}",
        )
    if state.config.model != parent.info.model:
        raise InputError("--init: the run has another model than the separator")
    state.start_from(parent.weights)
    state.progress.init = parent.digest
    state.progress.init_tracers = ",".join(parent.info.tracers)
