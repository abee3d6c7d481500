"""The copy: kind by kind, each thing read on both sides, sent where they differ, and read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from filelock import FileLock, Timeout

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.registry.copying import models, runs, versions
from dtsinn.registry.copying.conflicts import check_conflicts
from dtsinn.registry.copying.destination import open_destination
from dtsinn.registry.copying.inventory import Compared, Inventory, compare_inventories
from dtsinn.registry.copying.models import adopt_strays
from dtsinn.registry.copying.place import Place
from dtsinn.registry.copying.versions import is_placeholder
from dtsinn.registry.promotion.alias_transaction import MOVING, recover_abandoned
from dtsinn.registry.tracking.tracker import MlflowTracker


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


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What was copied, and what both sides hold now."""

    source: str
    destination: str
    sent: dict[str, int]
    """How many things of each kind were made, or completed."""
    rows: list[Compared]
    """Both sides, as they were read, kind by kind."""
    equal: bool
    """Whether the destination has everything."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def copy_registry(
    tracker: MlflowTracker, workspace: Workspace, to: str, *, progress: Progress = no_progress
) -> CopyReport:
    """Copy all that a registry holds to another MLflow, and compare the two.

    What was deleted is not copied, nor logged models that were never finished. Runs that still
    run are copied as they are: the next copy brings the rest.

    Args:
        tracker: Of the registry.
        workspace: That it belongs to.
        to: URI of the other MLflow.
        progress: Told of each kind.

    Raises:
        InputError: The destination is no MLflow, or the source itself, or has other things under
            the same names; nothing was copied.
        RunError: It does not answer, or stopped to.
    """
    with _hold_copy_lock(workspace):
        there = open_destination(to, workspace)
        source = _read_at_rest(tracker)
        there.read()
        check_conflicts(source, there)
        ours, theirs, sent = Inventory(), Inventory(), {}
        for kind in KINDS:
            things, sent[kind.name] = kind.things(source), 0
            for done, thing in enumerate(things):
                progress(kind.name, done, len(things))
                wanted = kind.read(source, thing, source)
                held = kind.read(there, thing, source)
                if held != wanted:
                    kind.send(thing, source, there)
                    sent[kind.name] += 1
                    held = kind.read(there, thing, source)
                ours.add(wanted)
                theirs.add(held)
            if things:
                progress(kind.name, len(things), len(things))
    rows = compare_inventories(ours, theirs)
    return CopyReport(
        source=source.shown,
        destination=there.shown,
        sent=sent,
        rows=rows,
        equal=all(row.equal for row in rows),
    )


@contextmanager
def _hold_copy_lock(workspace: Workspace) -> Iterator[None]:
    """One copy of a workspace at a time: two would send the same runs twice."""
    workspace.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(workspace.root / ".copy.lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{workspace.root} is being copied already") from None


def _read_at_rest(tracker: MlflowTracker) -> Place:
    """The source, read while no alias is on the move; what a kill left half moved is finished.

    Raises:
        InputError: It is a copy that was not finished.
        RunError: Somebody is moving them.
    """
    for model in tracker.all_pages(tracker.client.search_registered_models):
        recover_abandoned(tracker, model.name)
    source = Place(tracker.client, tracker.uri)
    source.read()
    for name, model in source.registered.items():
        if MOVING in model.tags:
            raise RunError(f"the aliases of {name} are on the move", hint="again later")
        if any(is_placeholder(version) for version in source.versions[name].values()):
            raise InputError(f"{source.shown} is itself a copy that was not finished", got=name)
    adopt_strays(source)
    return source
