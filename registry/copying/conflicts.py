"""What the destination has of its own under names that the copy needs; then nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import RegisteredModel

from dtsinn.core.errors import InputError
from dtsinn.registry.copying.place import Place
from dtsinn.registry.copying.versions import make_mark
from dtsinn.registry.promotion.alias_transaction import HISTORY, MOVING
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.rows import BEGUN, ENDED, KEY
from dtsinn.registry.tracking.tracker import MlflowTracker

SHOWN = 8
"""Conflicts that are listed; of more the number is told."""


def check_conflicts(source: Place, there: Place) -> None:
    """Refuse a destination that is the source, or whose own things a copy would mix or change.

    Raises:
        InputError: It lists what they are; nothing was changed.
    """
    shared = source.runs.keys() & there.runs.keys()
    same = any(source.runs[one].info.run_id == there.runs[one].info.run_id for one in shared)
    if same or source.uri.rstrip("/") == there.uri.rstrip("/"):
        raise InputError("--to is what would be copied", got=there.shown, wanted="another MLflow")
    found = [*_find_deleted(source, there), *_compare_runs(source, there)]
    for model in source.registered.values():
        if model.name in there.registered:
            found += _compare_models(model, source, there)
    if found:
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InputError(
            f"{there.shown} has other things under the same names; nothing was copied",
            got="; ".join(found[:SHOWN]) + more,
            hint="another MLflow, or delete or rename them there",
        )


def _find_deleted(source: Place, there: Place) -> Iterator[str]:
    with mlflow_errors_as(f"reading what {there.shown} has deleted"):
        gone = MlflowTracker.all_pages(
            there.client.search_experiments, view_type=ViewType.DELETED_ONLY
        )
    for name in sorted({one.name for one in gone} & source.experiments.keys()):
        yield f"experiment {name}, which was deleted there"


def _compare_runs(source: Place, there: Place) -> Iterator[str]:
    for origin in there.doubles:
        yield f"two copies of {origin}"
    for origin, run in source.runs.items():
        key = run.data.tags.get(KEY, "")
        other = there.runs.get(origin) or there.by_key.get(key)
        if other is None:
            continue
        if not _begun_alike(run, other):
            yield f"another run {key}"
        elif any(_read_time(other, tag) > _read_time(run, tag) for tag in (BEGUN, ENDED)):
            yield f"run {key or origin}, which went on there"


def _begun_alike(run: Run, other: Run) -> bool:
    """Whether two runs are one, copied, or told of to both by the event log of its search."""
    ours, theirs = run.data.params, other.data.params
    shared = ours.keys() & theirs.keys()
    begun: bool = run.info.start_time == other.info.start_time
    return begun and all(ours[key] == theirs[key] for key in shared)


def _read_time(run: Run, tag: str) -> int:
    return tagged.moment(run.data.tags, tag)


def _compare_models(model: RegisteredModel, source: Place, there: Place) -> Iterator[str]:
    name = model.name
    other = there.registered[name]
    ours, theirs = source.versions[name], there.versions[name]
    for number in sorted(ours.keys() & theirs.keys()):
        if make_mark(source, ours[number]) != make_mark(there, theirs[number]):
            yield f"another {name}/{number}"
    last = max(theirs, default=0)
    for number in sorted(ours.keys() - theirs.keys()):
        if number < last:
            yield f"{name}/{number}, a number that was passed there ({name} is at {last})"
    for alias, at in other.aliases.items():
        if alias in model.aliases and int(at) not in ours:
            yield f"{name}@{alias}, which is {name}/{at} there"
    if MOVING in other.tags:
        yield f"{name}, whose aliases are on the move there"
    if any(k.startswith(HISTORY) and model.tags.get(k) != v for k, v in other.tags.items()):
        yield f"{name}, with decisions of its own there"
