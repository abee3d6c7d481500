"""Networks of the product, trained by the product's own loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.quality.budget import STEPS_OF_ROUND, Plan, Round
from benchmarks.quality.data import with_few
from benchmarks.quality.method import (
    LEARNING_RATE,
    WIDTH,
    Cost,
    Fitted,
    Method,
    Parameters,
    Space,
    cost_of,
    width_of,
)
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import DivergedError
from dtsinn.data.store import Store
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import METHODS, build_network
from dtsinn.networks.invertible import InvertibleSeparator, round_trip_error
from dtsinn.networks.method import SeparateSubject
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training.config import RunConfig, apply_changes, load_run_config
from dtsinn.training.loop import train
from dtsinn.training.loss_term import loss_timing
from dtsinn.training.losses import loss_passes, total
from dtsinn.training.package import separator_info
from dtsinn.training.state import TrainingState
from dtsinn.training.validation import validate

CALIBRATION_STEPS = 10**6
"""Steps that a calibration pretends to plan; it takes as many as it is asked for."""
CALIBRATION_RATE = 1e-6
"""Learning rate of a calibration: no network may diverge in it."""


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(Method):
    """A network in ``configs/runs/default.yaml`` with other settings."""

    changes: Mapping[str, Any]
    """Dotted keys of the run configuration -> values."""
    searches_width: bool = True

    @property
    def modules(self) -> tuple[str, ...]:
        """The code that decides the result."""
        kind = self.changes.get("model.kind", "invertible")
        return ("dtsinn.training.loop", METHODS[kind].__module__, __name__)

    @property
    def space(self) -> Space:
        """What the search moves."""
        width = {"width": WIDTH} if self.searches_width else {}
        return {"learning_rate": LEARNING_RATE} | width

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        default = apply_changes(to_mapping(load_run_config("default")), self.changes)
        made = from_mapping(RunConfig, default, self.name)
        changes: dict[str, Any] = {}
        if "learning_rate" in parameters:
            changes["optimizer.learning_rate"] = parameters["learning_rate"]
        if "width" in parameters:
            default_width = to_mapping(made)["model"]["width"]
            changes["model.width"] = width_of(default_width, parameters["width"])
        return apply_changes(to_mapping(made), changes)

    def rounds(self, store: Store, settings: Mapping[str, Any]) -> Iterator[Round]:
        """Rounds of training, timed."""
        config = from_mapping(RunConfig, settings, self.name)
        config = replace(
            config,
            optimizer=replace(config.optimizer, learning_rate=CALIBRATION_RATE),
            steps=CALIBRATION_STEPS,
            validate_every=STEPS_OF_ROUND + 1,
        )
        small, twice = (with_few(with_few(store, "val", n), "train", 2) for n in (1, 2))
        state = TrainingState(config, small.header.protocol.frames)
        stamps: list[float] = []
        reports = train(small, state, on_step=lambda *_: stamps.append(time.process_time()))
        next(reports)  # warm
        while True:
            stamps.clear()
            next(reports)
            marks = [time.process_time()]
            for some in (small, twice):
                validate(some, state.network, torch.device("cpu"), config.round_trip_limit)
                marks.append(time.process_time())
            one, two = marks[1] - marks[0], marks[2] - marks[1]
            yield Round(steps=stamps[-1] - stamps[0], one=one, two=two)

    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Train by the product's loop; the weights that are best on ``val`` stand."""
        config = replace(
            from_mapping(RunConfig, settings, self.name),
            steps=plan.steps,
            validate_every=-(-plan.steps // plan.validations),
            seed=seed,
        )
        state = TrainingState(config, store.header.protocol.frames)
        begun = ended = time.process_time()

        def note(step: int, steps: int) -> None:
            nonlocal ended
            ended = time.process_time()

        try:
            for _ in train(store, state, on_step=note):
                pass
        except DivergedError:
            return Fitted(separate=None, cpu_seconds=ended - begun)
        return Fitted(
            separate=_separate(state, store, self.name),
            cpu_seconds=ended - begun,
            val_psnr=state.progress.best_psnr,
            round_trip_error=_round_trip(state.best_network(), store),
            weights=state.best,
        )

    def load(self, store: Store, settings: Mapping[str, Any], weights: Path) -> Fitted:
        """What an earlier fit left."""
        config = from_mapping(RunConfig, settings, self.name)
        state = TrainingState(config, store.header.protocol.frames)
        state.best = load_file(weights)
        return Fitted(separate=_separate(state, store, self.name), weights=state.best)

    def cost(self, store: Store, settings: Mapping[str, Any]) -> Cost:
        """Size and work."""
        config = from_mapping(RunConfig, settings, self.name)
        network = build_network(config.model, store.header.protocol.frames)
        timing = loss_timing(store.header.protocol, "cpu")

        def loss(mixture_BTYX: torch.Tensor, tracers_BKTYX: torch.Tensor) -> torch.Tensor:
            passes = loss_passes(network, mixture_BTYX, tracers_BKTYX, timing, config.loss, 0.0)
            return torch.stack([total(terms) for terms in passes]).sum()

        return cost_of(network, loss, store)


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write the weights of a training whose result is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), path)


def _separate(state: TrainingState, store: Store, name: str) -> SeparateSubject:
    """The best weights as the product separates with them."""
    separator = Separator(state.best_network(), separator_info(state, store.header, name))
    return lambda samples: separator.separate(samples.mixture_NTYX)


def _round_trip(network: SeparatorNetwork, store: Store) -> float | None:
    """Relative error of separating and mixing again, of the worst ``val`` subject."""
    if not isinstance(network, InvertibleSeparator):
        return None
    duration_T = torch.tensor(store.header.protocol.frame_duration)
    errors = []
    for samples in store.subjects("val"):
        mixture_BTYX = torch.from_numpy(samples.mixture_NTYX)
        scaled = mixture_BTYX / per_sample(sample_scale(mixture_BTYX, duration_T), mixture_BTYX)
        errors.append(round_trip_error(network, scaled))
    return max(errors)
