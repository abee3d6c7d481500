"""The published recipe as settings of a run, and what a trial does differently.

As trained by the code of DTS-INN (Sun et al., IEEE TRPMS, document 10542421), and as written anew
in ``docs/benchmarks.md``. What dtsinn has no setting for stands in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtsinn.core.display import value_text
from dtsinn.search.space.space import SearchSpace

PUBLISHED: Mapping[str, Any] = {
    "model.kind": "invertible",
    "model.blocks": 8,
    "model.squeeze": "none",
    "model.coupling": "one-sided",
    "model.subnet": "dense",
    "model.width": 32,
    "model.depth": 5,
    "model.shared_trunk": False,
    "model.mixing": "random orthogonal 1x1",
    "model.last_mixing": False,
    "model.clamp": 0.8,
    "model.start": "xavier",
    "model.variables": "repeat",
    "model.conditioning": "none",
    "loss.forward": 1.0,
    "loss.frame_weights": "equal",
    "loss.backward": 1.0,
    "loss.backward_target": "own",
    "loss.consistency": 0.0,
    "loss.structure": 0.0,
    "loss.time_activity": 0.0,
    "loss.non_negativity": 0.0,
    "optimizer.learning_rate": "0.0001, constant",
    "optimizer.warm_up": 0,
    "optimizer.weight_decay": 0.0,
    "optimizer.beta2": 0.999,
    "optimizer.clip": "none",
    "optimizer.ema": 0.0,
    "batch": 1,
    "accumulate": 1,
    "precision": "float32",
}
"""By dotted key. The published learning rate is halved at epochs 50, 100, 150, 200, 250 and 500,
which short trainings never reach."""
NEEDS = {
    "model.clamp": ("model.coupling", "additive"),
    "model.shared_trunk": ("model.coupling", "additive"),
    "loss.backward_target": ("loss.backward", 0.0),
}
"""Settings without any effect where another one has a value; they are not compared there."""
ADDED = {"optimizer.learning_rate": ", warm-up and cosine decay"}
"""What a run does of itself beside a setting."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """One setting that differs from the published recipe."""

    key: str
    published: str
    best: str
    searched: bool
    """Whether the search moved it; else the base configuration says so."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A trial against the published recipe."""

    departures: tuple[Departure, ...]
    same: tuple[str, ...]
    """Keys with the published value."""


def compare_with_published(space: SearchSpace, suggestion: Mapping[str, Any]) -> Comparison:
    """What a trial does differently from the published recipe."""
    own = space.settings(suggestion)
    departures, same = [], []
    for key, published in PUBLISHED.items():
        if key not in own or _idle(key, own):
            continue
        if own.get("model.kind") != "invertible" and key.startswith("model.") and key[6:] != "kind":
            continue  # a setting of the same name means another thing in another network
        if own[key] == published:
            same.append(key)
            continue
        departures.append(
            Departure(
                key=key,
                published=value_text(published),
                best=value_text(own[key]) + ADDED.get(key, ""),
                searched=key in suggestion,
            )
        )
    return Comparison(departures=tuple(departures), same=tuple(same))


def _idle(key: str, own: Mapping[str, Any]) -> bool:
    other, value = NEEDS.get(key, ("", None))
    return bool(other) and own.get(other) == value
