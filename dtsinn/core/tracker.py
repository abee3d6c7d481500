"""What a run reports, and the contract of whoever records it.

A run is named by its *key*, which the caller chooses once and for all (``search/trial``). Every
call may be repeated with the same arguments and must then change nothing: after a crash the
events are simply sent again. A recorder never invents time; the caller gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

OWN_PLACE = "workspace"
"""Place of a tracker that records in the workspace's own database, wherever that lies."""
RunKind = Literal["training", "search", "trial", "floor", "evaluation"]
RunStatus = Literal["finished", "pruned", "failed", "killed"]
"""How a run ended: to its budget; stopped early as an answer for the sampler (also what a
configuration did wrong); by a machine fault; by the user."""


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A run as it begins."""

    key: str
    """Its unique, stable name."""
    name: str
    """What people read."""
    kind: RunKind
    experiment: str
    """The group it is listed in: one per store and tracer pair."""
    time_ms: int
    """When it began, in ms since 1970 UTC."""
    parent: str | None = None
    """Key of the search that it belongs to."""
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Flat settings, dotted keys."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Lineage: ``store.path``, ``store.digest``, ``seed``, ``code.version``, ..."""
    description: str = ""
    """A sentence or two in Markdown."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a run measured at one step."""

    step: int
    metrics: Mapping[str, float]
    time_ms: int
    """When, in ms since 1970 UTC."""


class Tracker(Protocol):
    """Records runs, as ``dtsinn.registry.tracking.tracker`` does."""

    @property
    def place(self) -> str:
        """Where it records; trackers that say the same know the same runs."""

    def begin(self, run: RunStart) -> None:
        """Record that a run began; a key that is known already is continued."""

    def report(self, key: str, points: Sequence[Point]) -> None:
        """Record finite metrics of a run, any number of steps at once."""

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Attach a file, or the content of a directory, to a run under ``folder``."""

    def end(
        self,
        key: str,
        status: RunStatus,
        time_ms: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record how a run ended, with more tags (``reason``, ...)."""

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Record more tags of a run, also after its end; of one that is not known nothing."""

    def running(self, parent_key: str) -> list[str]:
        """Keys of the children of a run that are recorded as running."""
