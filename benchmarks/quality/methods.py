"""The rows of the tables, in their order."""

from __future__ import annotations

from dataclasses import asdict, replace

from benchmarks import published
from benchmarks.quality.floors import HalvingMethod, SpectralMethod
from benchmarks.quality.method import Method
from benchmarks.quality.networks import NetworkMethod
from benchmarks.quality.recipe import RecipeMethod
from dtsinn.networks.build import METHODS

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
