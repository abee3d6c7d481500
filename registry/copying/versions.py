"""Registered models: their versions under the same numbers, tags, history and aliases.

MLflow counts a version on from the highest number that it ever gave. Numbers that the source has
no version for any more are used up by placeholders, which go again when all versions are there:
so long as they stand, whoever is killed knows by them how far it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from dtsinn.core.errors import RunError
from dtsinn.registry.copying.ids import COPIED, MOST, is_mark, make_neutral, translate_tags
from dtsinn.registry.copying.inventory import Inventory
from dtsinn.registry.copying.place import Place
from dtsinn.registry.promotion.alias_transaction import MOVING
from dtsinn.registry.promotion.lock import LOCK
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.versions import CREATED, created_at

GAP = "gap"
"""Value of the tag ``dtsinn.copied`` of placeholders; of copies it is number and files, of a
registered model the last number that was given."""


def list_models(place: Place) -> Sequence[str]:
    """Names of all registered models."""
    return list(place.registered)


def read_entry(place: Place, name: str, source: Place) -> Inventory:
    """A registered model without its versions."""
    held = Inventory()
    if name in place.registered:
        model = place.registered[name]
        tags = make_neutral(model.tags, place.ids, _drop_passing(source.registered[name].tags))
        held.note("models", name, [[name, model.description or "", tags]])
    return held


def send_entry(name: str, source: Place, there: Place) -> None:
    """Make a registered model, or bring description and tags up to date."""
    model, client = source.registered[name], there.client
    tags = translate_tags(_drop_passing(model.tags), source.ids, there.ids)
    with mlflow_errors_as(f"copying {name}"):
        if name not in there.registered:
            client.create_registered_model(name, tags, model.description or None)
            there.versions[name] = {}
        else:
            client.update_registered_model(name, model.description or "")
            for key, value in _find_changes(tags, there.registered[name].tags):
                client.set_registered_model_tag(name, key, value)
        there.registered[name] = client.get_registered_model(name)


def list_by_age(place: Place) -> Sequence[tuple[str, int]]:
    """All versions as (name, number), by age, as commands look for the newest of all models."""
    found = [version for numbered in place.versions.values() for version in numbered.values()]
    found.sort(key=lambda one: (int(one.creation_timestamp), int(one.version)))
    return [(version.name, int(version.version)) for version in found]


def read_version(place: Place, which: tuple[str, int], source: Place) -> Inventory:
    """A version: its files are of a run or logged model, and compared as theirs."""
    held, (name, number) = Inventory(), which
    version = place.versions.get(name, {}).get(number)
    if version is not None:
        told = [
            make_neutral(
                version.tags, place.ids, _drop_passing(source.versions[name][number].tags)
            ),
            created_at(version),
            place.ids.origin(version.run_id or ""),
            version.run_link or "",
            version.description or "",
            _find_files(place, version),
        ]
        held.note("versions", f"{name}/{number}", [told])
    return held


def send_version(which: tuple[str, int], source: Place, there: Place) -> None:
    """Make a version under its number, or bring its tags up to date; one call makes it whole.

    Raises:
        RunError: The destination gave the number to a version that is gone.
    """
    name, number = which
    version, client = source.versions[name][number], there.client
    tags = translate_tags(_drop_passing(version.tags), source.ids, there.ids) | {
        COPIED: make_mark(source, version),
        CREATED: str(created_at(version)),
    }
    with mlflow_errors_as(f"copying {name}/{number}"):
        if number in there.versions[name]:
            client.update_model_version(name, str(number), version.description or "")
            for key, value in _find_changes(tags, there.versions[name][number].tags):
                client.set_model_version_tag(name, str(number), key, value)
        else:
            _use_up(there, name, number - 1)
            origin, path = _find_files(source, version)
            model = there.models.get(origin)
            root = model.artifact_location if model else there.runs[origin].info.artifact_uri
            run_id = there.ids.localise(source.ids.neutralise(version.run_id or "")) or None
            _make(
                there,
                name,
                number,
                source=f"{root.rstrip('/')}{path}",
                run_id=run_id,
                run_link=version.run_link or None,
                description=version.description or None,
                tags=tags,
                # Without a run MLflow would look the model up at its global tracking URI.
                model_id=model.model_id if model and (run_id or there.served) else None,
            )
        there.versions[name][number] = client.get_model_version(name, str(number))


def read_aliases(place: Place, name: str, source: Place) -> Inventory:
    """Aliases of a model, and placeholders that are still there."""
    held = Inventory()
    wanted, aliases = source.registered[name].aliases, place.registered[name].aliases
    for alias, number in aliases.items():
        if alias in wanted:
            held.note("aliases", f"{name}@{alias}", [int(number)])
    for number, version in place.versions[name].items():
        if is_placeholder(version):
            held.note("placeholders", f"{name}/{number}", [number])
    last = place.last_number(name)
    if place is not source and place.served:  # what it does not remember is to be written down
        last = tagged.natural(place.registered[name].tags, COPIED, most=MOST)
    held.note("last numbers", name, [min(last, source.last_number(name))])
    return held


def send_aliases(name: str, source: Place, there: Place) -> None:
    """When all versions are there: the placeholders go, the aliases come.

    A number whose version was deleted since is given to no other version there either: decisions
    may name it.
    """
    client, last = there.client, source.last_number(name)
    with mlflow_errors_as(f"setting the aliases of {name}"):
        _use_up(there, name, last)
        client.set_registered_model_tag(name, COPIED, str(last))
        for number, version in list(there.versions[name].items()):
            if is_placeholder(version):
                client.delete_model_version(name, str(number))
                del there.versions[name][number]
        for alias, number in source.registered[name].aliases.items():
            client.set_registered_model_alias(name, alias, str(number))
        there.registered[name] = client.get_registered_model(name)


def is_placeholder(version: ModelVersion) -> bool:
    """Whether a version only uses up its number."""
    return bool(version.tags.get(COPIED) == GAP)


def find_location(place: Place, version: ModelVersion) -> str:
    """Where a version's files are."""
    with mlflow_errors_as(f"reading {version.name}/{version.version}"):
        uri = place.client.get_model_version_download_uri(version.name, version.version)
    return str(uri).rstrip("/")


def make_mark(place: Place, version: ModelVersion) -> str:
    """What says of a version, and of all its copies, which one it is: number and files."""
    return str(version.tags.get(COPIED) or f"{version.version} {_find_files(place, version)[0]}")


def _find_files(place: Place, version: ModelVersion) -> tuple[str, str]:
    """Origin of the model or run that holds a version's files, and the path in it."""
    return place.whose(find_location(place, version)) or ("", "")


def _use_up(there: Place, name: str, number: int) -> None:
    """Let placeholders stand for all numbers up to this one that were not given."""
    for gap in range(there.last_number(name) + 1, number + 1):
        _make(there, name, gap, source=f"placeholder:/{name}", tags={COPIED: GAP})


def _make(there: Place, name: str, number: int, **what: Any) -> None:
    made = there.client.create_model_version(name, **what)
    if int(made.version) != number:
        there.client.delete_model_version(name, made.version)
        raise RunError(
            f"{there.shown} gave number {number} of {name} to a version that is gone",
            got=f"{name}/{made.version} as the next one",
            hint="an MLflow that never had this model",
        )
    there.versions[name][number] = made


def _find_changes(tags: Mapping[str, str], there: Mapping[str, str]) -> list[tuple[str, str]]:
    """Tags that the destination lacks or has otherwise, in their order."""
    return [(key, value) for key, value in tags.items() if there.get(key) != value]


def _drop_passing(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags but those that are signs of who is at work."""
    return {k: v for k, v in tags.items() if not (is_mark(k) or k == MOVING or k.startswith(LOCK))}
