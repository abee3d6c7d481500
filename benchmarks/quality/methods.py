"""The rows of the tables: networks of the product, halving, and spectral analysis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from safetensors.torch import load_file, save_file

from benchmarks import published
from benchmarks.prepare import separator_of
from benchmarks.quality.data import with_few
from benchmarks.quality.method import (
    LEARNING_RATE,
    STEPS_OF_ROUND,
    WIDTH,
    Cost,
    Fitted,
    Method,
    Parameters,
    Plan,
    Round,
    Space,
    cost_of,
    width_of,
)
from benchmarks.quality.recipe import RecipeMethod
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import DivergedError
from dtsinn.data.store import Store
from dtsinn.evaluation.metrics import psnr
from dtsinn.evaluation.score import halve
from dtsinn.networks.build import METHODS, build_network
from dtsinn.networks.cascade import CascadeNetwork
from dtsinn.networks.method import SeparateSubject
from dtsinn.networks.rivals.spectral import SpectralAnalysis, SpectralConfig
from dtsinn.training.config import RunConfig, apply_changes, load_run_config
from dtsinn.training.loop import train
from dtsinn.training.loss_term import loss_timing
from dtsinn.training.losses import loss_passes, total
from dtsinn.training.state import TrainingState
from dtsinn.training.validation import validate

CALIBRATION_STEPS = 10**6
"""Steps that a calibration pretends to plan; it takes as many as it is asked for."""
KINETICS = ("val_kinetic_error", "val_kinetic_bias")
CALIBRATION_RATE = 1e-6
"""Learning rate of a calibration: no network may diverge in it."""


@dataclass(frozen=True, kw_only=True)
class NetworkMethod(Method):
    """A network of the product: a shipped run configuration with other settings."""

    base: str = "invertible"
    """The run configuration."""
    changes: Mapping[str, Any]
    """Dotted keys of the run configuration -> values."""

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        default = apply_changes(to_mapping(load_run_config(self.base)), self.changes)
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

        metrics: dict[str, float] = {}
        try:
            for report in train(store, state, on_step=note):
                if report.step == state.progress.best_step:
                    metrics = report.metrics
        except DivergedError:
            return Fitted(separate=None, cpu_seconds=ended - begun)
        separator, exact = separator_of(state, store), METHODS[config.model.kind].exact
        mixtures = [samples.mixture_NTYX for samples in store.subjects("val")] if exact else []
        return Fitted(
            separate=lambda samples: separator.separate(samples.mixture_NTYX),
            cpu_seconds=ended - begun,
            val_psnr=state.progress.best_psnr,
            round_trip_error=max(map(separator.round_trip_error, mixtures), default=None),
            kinetics={name: metrics[name] for name in KINETICS if name in metrics},
            weights=state.best,
        )

    def load(self, store: Store, settings: Mapping[str, Any], weights: Path) -> Fitted:
        """What an earlier fit left."""
        separator = separator_of(self.restore(store, settings, weights), store)
        return Fitted(separate=lambda samples: separator.separate(samples.mixture_NTYX))

    def restore(self, store: Store, settings: Mapping[str, Any], weights: Path) -> TrainingState:
        """The state of an earlier fit, as far as its best weights go."""
        config = from_mapping(RunConfig, settings, self.name)
        state = TrainingState(config, store.header.protocol.frames)
        state.best = load_file(weights)
        return state

    def cost(self, store: Store, settings: Mapping[str, Any]) -> Cost:
        """Size and work."""
        config = from_mapping(RunConfig, settings, self.name)
        network = build_network(config.model, store.header.protocol.frames)
        timing = loss_timing(store.header.protocol, "cpu")

        def loss(mixture_BTYX: torch.Tensor, tracers_BKTYX: torch.Tensor) -> torch.Tensor:
            passes = loss_passes(network, mixture_BTYX, tracers_BKTYX, timing, config.loss, 0.0)
            return torch.stack([total(terms) for terms in passes]).sum()

        return cost_of(network, loss, store)


@dataclass(frozen=True, kw_only=True)
class ClosedFormMethod(NetworkMethod):
    """A map that is fitted in closed form: no budget, no seeds."""

    trained: bool = False

    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Solve its equations; the plan says nothing."""
        return super().fit(store, settings, Plan(steps=1, validations=1), seed)


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write the weights of a training whose result is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(weights), path)


@dataclass(frozen=True, kw_only=True)
class HalvingMethod(Method):
    """Half of the mixture for each tracer."""

    trained: bool = False

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        return {}

    def on(self, store: Store, settings: Mapping[str, Any]) -> SeparateSubject:
        """What separates the subjects of ``store``."""
        return lambda samples: halve(samples.mixture_NTYX)

    def load(self, store: Store, settings: Mapping[str, Any], weights: Path) -> Fitted:
        """As ready as ever: there are no weights."""
        return Fitted(separate=self.on(store, settings))

    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Nothing to train: validate."""
        begun, separate = time.process_time(), self.on(store, settings)
        found = [
            psnr(samples, separate(samples), store.header.protocol)
            for samples in store.subjects("val")
        ]
        return Fitted(
            separate=separate,
            cpu_seconds=time.process_time() - begun,
            val_psnr=float(np.mean(found)),
        )


@dataclass(frozen=True, kw_only=True)
class SpectralMethod(HalvingMethod):
    """Spectral analysis; the search moves its basis and its smoothing."""

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        return to_mapping(SpectralConfig()) | dict(parameters)

    def on(self, store: Store, settings: Mapping[str, Any]) -> SeparateSubject:
        """What separates the subjects of ``store``."""
        return SpectralAnalysis(from_mapping(SpectralConfig, settings, self.name)).on(store)


SPECTRAL_SPACE: Space = {
    "terms": IntDistribution(1, 8),
    "slow": FloatDistribution(1e-3, 1e-1, log=True),  # 1/min
    "fast": FloatDistribution(0.3, 6.0, log=True),
    "smoothing_px": FloatDistribution(0.0, 4.0),
}
NETWORK_SPACE: Space = {"learning_rate": LEARNING_RATE, "width": WIDTH}
TWIN = "plain"
RIVALS = [
    kind
    for kind, method in METHODS.own.items()
    if method.learning == "gradient" and not method.exact and kind != TWIN
]
OURS = "dtsinn"
HALVING = "halving"
LINEAR = "linear"
CASCADE = "cascade"
LATENT = "latent"
FROM_LINEAR: dict[str, dict[str, Any]] = {
    "unet": {"model.width": 24, "optimizer.learning_rate": 0.0023},
    "residual-cnn": {"model.width": 32, "optimizer.learning_rate": 0.0034},
}
"""Rivals that also start from the linear map, with what the search found for them without it."""
RECIPE = "published"


def all_methods() -> dict[str, Method]:
    """All methods by name."""
    exact = asdict(replace(published.ARCHITECTURE, start="tame"))
    rows: list[Method] = [
        HalvingMethod(name=HALVING, title="halving the mixture", role="floor", modules=(__name__,)),
        SpectralMethod(
            name="spectral",
            title="spectral analysis, no training",
            role="floor",
            modules=("dtsinn.networks.rivals.spectral", __name__),
            space=SPECTRAL_SPACE,
        ),
        ClosedFormMethod(
            name=CASCADE,
            title=CascadeNetwork.title,
            role="rival",
            modules=("dtsinn.networks.closed_form", *_modules(CASCADE)),
            changes={"model.kind": CASCADE},
        ),
        ClosedFormMethod(
            name=LINEAR,
            title="linear map of 5 x 5 pixels, closed form",
            role="floor",
            modules=("dtsinn.networks.closed_form", *_modules(LINEAR)),
            changes={"model.kind": LINEAR, "loss.backward": 0.0},
        ),
        RecipeMethod(
            name=RECIPE,
            title="published recipe",
            role="published",
            modules=("benchmarks.published", "dtsinn.networks.coupling", RecipeMethod.__module__),
        ),
        NetworkMethod(
            name="published-exact",
            title="published architecture, exact",
            role="published",
            modules=_modules("invertible"),
            space={"learning_rate": LEARNING_RATE},
            changes={f"model.{key}": value for key, value in exact.items()},
        ),
        *(
            NetworkMethod(
                name=kind,
                title="twin: dtsinn's subnet, no inverse" if kind == TWIN else METHODS[kind].title,
                role="twin" if kind == TWIN else "rival",
                modules=_modules(kind),
                space=NETWORK_SPACE,
                changes={"model.kind": kind, "loss.backward": 0.0},
            )
            for kind in (*RIVALS, TWIN)
        ),
        *(
            NetworkMethod(
                name=f"{kind}-linear",
                title=f"{METHODS[kind].title} from the linear map",
                role="rival",
                modules=_modules(kind),
                changes={"model.kind": kind, "model.start": "linear"} | found,
            )
            for kind, found in FROM_LINEAR.items()
        ),
        NetworkMethod(
            name=LATENT,
            title="dtsinn",
            role="ours",
            modules=("dtsinn.networks.cascade", *_modules(LATENT)),
            space=NETWORK_SPACE,
            base="default",
            changes={},
        ),
        NetworkMethod(
            name=OURS,
            title="dtsinn's coupling blocks",
            role="ours",
            modules=_modules("invertible"),
            space=NETWORK_SPACE,
            changes={},
        ),
    ]
    return {row.name: row for row in rows}


def _modules(kind: str) -> tuple[str, ...]:
    """The code that decides the result of a network."""
    return ("dtsinn.training.loop", METHODS[kind].__module__, __name__)
