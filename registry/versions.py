"""Versions of registered models, as dtsinn sees them."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.exceptions import MlflowException

from dtsinn.core.errors import InputError
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import check_name, mlflow_errors_as
from dtsinn.registry.tracking.tracker import MlflowTracker

CHAMPION = "champion"
PREVIOUS = "previous"
DIGEST = "dtsinn.digest"
RUN_KEY = "dtsinn.run_key"
METRICS = "dtsinn.metrics"
LOGGED_MODEL = "dtsinn.logged_model"
PACKAGE_FOLDER = "separator"
"""Name of the package inside a registered model: ``data/separator``."""
CREATED = "dtsinn.created"
"""Tag of a version that was copied from another registry: when the first one was registered."""


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A registered separator."""

    name: str
    version: int
    aliases: tuple[str, ...]
    """``champion``, ``previous`` and the user's own."""
    run_id: str
    """MLflow's id of the run that made it."""
    run_key: str
    digest: str
    """SHA-256 of weights and configuration; empty where its tag is none."""
    metrics: dict[str, float]
    """Metrics that the package carries."""
    created: int
    """ms since 1970 UTC."""
    source: str
    """Where MLflow keeps its files."""
    tags: dict[str, str]

    @property
    def ref(self) -> str:
        """How the command line calls it: ``NAME/3``."""
        return f"{self.name}/{self.version}"


def list_models(tracker: MlflowTracker) -> list[ModelVersion]:
    """List all separators in the registry, by name, newest version first."""
    return sorted(_search_versions(tracker), key=lambda v: (v.name, -v.version))


def versions_of_run(tracker: MlflowTracker, run_id: str) -> list[ModelVersion]:
    """List the separators that a run registered, newest first."""
    found = _search_versions(tracker, filter_string=f"run_id = '{run_id}'")
    return sorted(found, key=lambda v: -v.created)


def get_version(tracker: MlflowTracker, name: str, version: int) -> ModelVersion:
    """Get one version by its number.

    Raises:
        InputError: There is none; the message lists what there is.
    """
    with mlflow_errors_as(f"looking for {name}/{version}"):
        try:
            found = tracker.client.get_model_version(check_name(name), str(version))
        except MlflowException as error:
            if not _is_absent(error, tracker, name):
                raise
            raise _unknown_error(tracker, name, f"version {version}") from None
        return _read_version(found, _get_aliases(tracker).get(name, {}))


def get_alias(tracker: MlflowTracker, name: str, alias: str) -> ModelVersion:
    """Get the version that an alias points at.

    Raises:
        InputError: There is none; the message lists what there is.
    """
    found = find_alias(tracker, name, alias)
    if found is None:
        raise _unknown_error(tracker, name, alias)
    return found


def find_alias(tracker: MlflowTracker, name: str, alias: str) -> ModelVersion | None:
    """Find the version that an alias points at, or None."""
    with mlflow_errors_as(f"looking for {name}@{alias}"):
        try:
            found = tracker.client.get_model_version_by_alias(check_name(name), alias)
        except MlflowException as error:
            if not _is_absent(error, tracker, name):
                raise
            return None
        return _read_version(found, _get_aliases(tracker).get(name, {}))


def created_at(found: MlflowVersion) -> int:
    """When a version, or the first one that it is a copy of, was registered: ms since 1970 UTC."""
    return tagged.moment(found.tags, CREATED, int(found.creation_timestamp))


def _search_versions(tracker: MlflowTracker, **query: str) -> list[ModelVersion]:
    """Search the separators; models of other tools may share a server."""
    with mlflow_errors_as("listing models"):
        found = tracker.all_pages(tracker.client.search_model_versions, **query)
        aliases = _get_aliases(tracker) if found else {}
    return [_read_version(v, aliases.get(v.name, {})) for v in found if DIGEST in v.tags]


def _get_aliases(tracker: MlflowTracker) -> dict[str, dict[str, int]]:
    """Model -> alias -> version: MLflow's searches for versions leave aliases out."""
    models = tracker.all_pages(tracker.client.search_registered_models)
    return {m.name: {alias: int(v) for alias, v in m.aliases.items()} for m in models}


def _is_absent(error: MlflowException, tracker: MlflowTracker, name: str) -> bool:
    """Whether a failed look-up says that there is no such version.

    A server with passwords denies its members what does not exist, as it does what is not theirs.
    """
    if error.error_code == "PERMISSION_DENIED":
        return name not in _get_aliases(tracker)
    return error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def _read_version(found: MlflowVersion, aliases: dict[str, int]) -> ModelVersion:
    tags: dict[str, str] = dict(found.tags)
    number = int(found.version)
    return ModelVersion(
        name=found.name,
        version=number,
        aliases=tuple(sorted(alias for alias, v in aliases.items() if v == number)),
        run_id=found.run_id or "",
        run_key=tagged.run_key(tags, RUN_KEY),
        digest=tagged.digest(tags, DIGEST),
        metrics=tagged.numbers(tags, METRICS),
        created=created_at(found),
        source=found.source or "",
        tags=tags,
    )


def _unknown_error(tracker: MlflowTracker, name: str, what: str) -> InputError:
    """The error for a version that is not there, with what is and what to type."""
    versions = list_models(tracker)
    here = [v for v in versions if v.name == name]
    if not here:
        names = sorted({v.name for v in versions})
        return InputError(
            f"no model is called {name}",
            wanted=f"one of {', '.join(names)}" if names else "",
            hint="dtsinn models" if names else "dtsinn search STORE",
        )
    if what == CHAMPION:
        return InputError(f"{name} has no champion", hint=here[0].ref)
    known = [*(str(v.version) for v in here), *sorted(a for v in here for a in v.aliases)]
    return InputError(f"{name} has no {what}", wanted=f"one of {', '.join(known)}")
