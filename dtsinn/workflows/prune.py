"""Cleaning up a workspace: what searches and registry no longer need, by one policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dtsinn.core.clock import now_ms
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.outbox import delivered_place
from dtsinn.registry.tracking.tracker import connect, connect_existing
from dtsinn.search.events.state import search_folder, search_names
from dtsinn.workflows.prune_packages import (
    Orphan,
    delete_orphans,
    is_unasked,
    orphans,
    registries,
    runs_in_use,
)
from dtsinn.workflows.prune_searches import DAY_ms, Policy, SearchPruning, prune, weigh


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """What of a workspace goes, or went."""

    dry_run: bool
    searches: list[SearchPruning]
    packages: list[Orphan]
    """Of the registry, which no version uses."""

    @property
    def bytes(self) -> int:
        """All together."""
        found = [one.bytes for one in self.searches] + [one.bytes for one in self.packages]
        return sum(found)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        searches = [asdict(one) | {"bytes": one.bytes} for one in self.searches]
        packages = [asdict(one) | {"folder": str(one.folder)} for one in self.packages]
        return asdict(self) | {"searches": searches, "packages": packages, "bytes": self.bytes}


def prune_workspace(
    workspace: Workspace, policy: Policy, *, search: str | None = None, dry_run: bool = True
) -> PruneReport:
    """Delete, or only weigh, checkpoints of beaten trials and packages that no version uses.

    Args:
        workspace: To be cleaned.
        policy: What is kept.
        search: Only of this search.
        dry_run: Only say what would go.

    Raises:
        InputError: No such workspace or search.
        RunError: MLflow does not say what is in use; nothing was deleted.
        OSError: Something could not be deleted; the next pruning goes on there.
    """
    tracker = connect_existing(workspace)
    names = [search] if search else search_names(workspace)
    folders = [search_folder(workspace, name) for name in names]
    asked = registries(tracker, workspace)
    in_use = runs_in_use(asked)

    def pruned(folder: Path) -> SearchPruning:
        place = delivered_place(folder)
        if is_unasked(place, asked):
            why = f"its versions are at {place}: MLFLOW_TRACKING_URI"
            return SearchPruning(search=folder.name, left_alone=why)
        if dry_run:
            return weigh(folder, policy, in_use)
        return prune(folder, policy, in_use, partial(connect, workspace))

    found = [pruned(folder) for folder in folders]
    alone = {one.search for one in found if one.left_alone}
    before_ms = int(now_ms() - policy.older_than_days * DAY_ms)

    def is_free(key: str) -> bool:
        owner = key.rpartition("/")[0]
        return owner not in alone and search in (None, owner)

    delete: Callable[..., list[Orphan]] = orphans if dry_run else delete_orphans
    packages = delete(tracker, before_ms, is_free)
    return PruneReport(dry_run=dry_run, searches=found, packages=packages)
