"""Methods without training: the halved mixture, and spectral analysis with known inputs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution

from benchmarks import published
from benchmarks.quality.budget import Plan
from benchmarks.quality.method import Fitted, Method, Parameters, Space
from benchmarks.quality.networks import NetworkMethod
from benchmarks.quality.recipe import RecipeMethod
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.data.store import Store
from dtsinn.evaluation.metrics import psnr
from dtsinn.evaluation.score import halve
from dtsinn.networks.build import METHODS
from dtsinn.networks.method import SeparateSubject
from dtsinn.networks.rivals.spectral import SpectralAnalysis, SpectralConfig


@dataclass(frozen=True, kw_only=True)
class HalvingMethod(Method):
    """Half of the mixture for each tracer."""

    trained: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """The code that decides the result."""
        return (__name__,)

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        return {}

    def on(self, store: Store, settings: Mapping[str, Any]) -> SeparateSubject:
        """What separates the subjects of ``store``."""
        return lambda samples: halve(samples.mixture_NTYX)

    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Nothing to train: validate."""
        begun, protocol, separate = (
            time.process_time(),
            store.header.protocol,
            self.on(store, settings),
        )
        found = [psnr(samples, separate(samples), protocol) for samples in store.subjects("val")]
        return Fitted(
            separate=separate,
            cpu_seconds=time.process_time() - begun,
            val_psnr=float(np.mean(found)),
        )


@dataclass(frozen=True, kw_only=True)
class SpectralMethod(HalvingMethod):
    """Spectral analysis; the search moves its basis and its smoothing."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The code that decides the result."""
        return ("dtsinn.networks.rivals.spectral", __name__)

    @property
    def space(self) -> Space:
        """What the search moves."""
        return {
            "terms": IntDistribution(1, 8),
            "slow": FloatDistribution(1e-3, 1e-1, log=True),  # 1/min
            "fast": FloatDistribution(0.3, 6.0, log=True),
            "smoothing_px": FloatDistribution(0.0, 4.0),
        }

    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything but budget and seed."""
        return to_mapping(SpectralConfig()) | dict(parameters)

    def on(self, store: Store, settings: Mapping[str, Any]) -> SeparateSubject:
        """What separates the subjects of ``store``."""
        return SpectralAnalysis(from_mapping(SpectralConfig, settings, self.name)).on(store)


TWIN = "plain"
RIVALS = [
    kind
    for kind, method in METHODS.own.items()
    if method.learning == "gradient" and not method.exact and kind != TWIN
]
OURS = "dtsinn"
HALVING = "halving"
RECIPE = "published"


def all_methods() -> dict[str, Method]:
    """All methods by name."""
    exact = asdict(replace(published.ARCHITECTURE, start="tame"))
    rows: list[Method] = [
        HalvingMethod(name=HALVING, title="halving the mixture", role="floor"),
        SpectralMethod(name="spectral", title="spectral analysis, no training", role="floor"),
        RecipeMethod(name=RECIPE, title="published recipe", role="published"),
        NetworkMethod(
            name="published-exact",
            title="published architecture, exact",
            role="published",
            changes={f"model.{key}": value for key, value in exact.items()},
            searches_width=False,
        ),
        *(
            NetworkMethod(
                name=kind,
                title=METHODS[kind].title,
                role="rival",
                changes={"model.kind": kind, "loss.backward": 0.0},
            )
            for kind in RIVALS
        ),
        NetworkMethod(
            name=TWIN,
            title="twin: dtsinn's subnet, no inverse",
            role="twin",
            changes={"model.kind": "plain", "loss.backward": 0.0},
        ),
        NetworkMethod(name=OURS, title="dtsinn", role="ours", changes={}),
    ]
    return {row.name: row for row in rows}
