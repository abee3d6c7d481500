"""What a registry consists of, in the order in which it is copied: what others need comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dtsinn.registry.copying import models, runs, versions
from dtsinn.registry.copying.inventory import Inventory
from dtsinn.registry.copying.place import Place


@dataclass(frozen=True)
class Kind:
    """One kind of things."""

    name: str
    things: Callable[[Place], Sequence[Any]]
    """Names of all that a place has."""
    read: Callable[[Place, Any, Place], Inventory]
    """What a place holds of one thing; nothing where it has none. Of tags that people and servers
    may add, only those that the source (the last argument) has are looked at."""
    send: Callable[[Any, Place, Place], None]
    """Make a thing of the source (the first place) in the other one, or complete it there."""


KINDS = (
    Kind("experiments", runs.list_experiments, runs.read_experiment, runs.send_experiment),
    Kind("runs", runs.list_parents_first, runs.read_run, runs.send_run),
    Kind("logged models", models.list_logged, models.read_model, models.send_model),
    Kind("models", versions.list_models, versions.read_entry, versions.send_entry),
    Kind("versions", versions.list_by_age, versions.read_version, versions.send_version),
    Kind("aliases", versions.list_models, versions.read_aliases, versions.send_aliases),
)
