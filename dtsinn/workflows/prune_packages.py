"""What the registry uses, and packages of its own that nothing in it uses any more.

A logged model is left without a version where a registration was killed or a version deleted.
MLflow keeps the files of what is deleted in it, so they are deleted first. Whatever moment a kill
chooses, the model is still listed without a version, and the next pruning finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import ViewType

from dtsinn.core.safe_delete import bytes_of, delete_safely
from dtsinn.core.tracker import OWN_PLACE
from dtsinn.core.workspace import Workspace
from dtsinn.registry.registration import REGISTERING
from dtsinn.registry.tracking.embedded import embedded_uri, sqlite_file
from dtsinn.registry.tracking.names import ABSENT, mlflow_errors_as, suppress_mlflow
from dtsinn.registry.tracking.relocation import local_path
from dtsinn.registry.tracking.rows import KEY
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import DIGEST, LOGGED_MODEL, RUN_KEY

PRUNED = "pruned.model"
"""Tag of a run: when a package of it that no version used was deleted, ISO 8601, UTC."""


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """A logged model that no version uses."""

    model_id: str
    run: str
    """Key of the run that made it; empty where that was deleted."""
    folder: Path
    """Of its files; gone where a pruning was killed."""
    bytes: int


def find_registries(tracker: MlflowTracker, workspace: Workspace) -> list[MlflowTracker]:
    """Those to ask what is in use: the one used now, and the workspace's own beside another."""
    if tracker.workspace is not None or not workspace.database.is_file():
        return [tracker]
    uri = embedded_uri(workspace)
    return [tracker, MlflowTracker(MlflowClient(uri, uri), uri, workspace=workspace)]


def is_elsewhere(place: str, asked: Sequence[MlflowTracker]) -> bool:
    """Whether a search was recorded where nobody asked for versions, and something is there.

    Args:
        place: Of the tracker that it was recorded with; empty where there was none.
        asked: The registries that say what is in use.
    """
    file = sqlite_file(place)
    if place in ("", OWN_PLACE) or (file and not file.is_file()):
        return False
    return all(
        sqlite_file(one.uri) != file if file else one.place.rstrip("/") != place.rstrip("/")
        for one in asked
    )


def runs_in_use(asked: Sequence[MlflowTracker]) -> dict[str, list[str]]:
    """Keys of runs that versions point to, with their refs: NAME/3.

    Whoever made the version: of those that people register in MLflow only the run is known.
    """
    found: dict[str, list[str]] = {}
    for one in asked:
        with mlflow_errors_as("asking what versions use"):
            for version in one.all_pages(one.client.search_model_versions):
                keys = {version.tags.get(RUN_KEY, ""), _key_of(one, version.run_id)}
                for key in keys - {""}:
                    refs, ref = found.setdefault(key, []), f"{version.name}/{version.version}"
                    refs += [ref] if ref not in refs else []
    return found


def _key_of(tracker: MlflowTracker, run_id: str | None) -> str:
    """Key of a run, also of one that was deleted; nothing of one that is gone or foreign."""
    with suppress_mlflow(ABSENT):
        return str(tracker.client.get_run(run_id).data.tags.get(KEY, "")) if run_id else ""
    return ""


def find_orphans(
    tracker: MlflowTracker, before_ms: int, is_free: Callable[[str], bool]
) -> list[Orphan]:
    """Packages in the workspace's own MLflow that no version uses.

    Of a server there are none: others use it too.

    Args:
        tracker: The registry.
        before_ms: Those that were made later are left out, ms since 1970 UTC.
        is_free: Whether packages of the run with this key may go; of a run that was deleted the
            key is empty.
    """
    if tracker.workspace is None:
        return []
    client, root = tracker.client, tracker.workspace.artifacts.resolve()
    with mlflow_errors_as("looking for packages that no version uses"):
        experiments = tracker.all_pages(client.search_experiments, view_type=ViewType.ALL)
        ids = [one.experiment_id for one in experiments]
        models = tracker.all_pages(client.search_logged_models, experiment_ids=ids)
        versions = tracker.all_pages(client.search_model_versions)
        used = {version.tags.get(LOGGED_MODEL, "") for version in versions}
        # A version that MLflow copied under another name says so in place of a location.
        uris = [client.get_model_version_download_uri(v.name, v.version) for v in versions]
        places = [path.resolve() for path in map(local_path, uris) if path is not None]
    found = []
    for model in models:
        folder = local_path(model.artifact_location)
        if folder is None or DIGEST not in model.tags:
            continue
        whole = folder.parent if folder.parent.name == model.model_id else folder
        real = whole.resolve()
        if real.name != whole.name or root not in real.parents:  # a link, or not ours
            continue
        inside = any(one.is_relative_to(real) or real.is_relative_to(one) for one in places)
        if inside or model.model_id in used or model.creation_timestamp > before_ms:
            continue
        run = tracker.find_run(model.source_run_id) if model.source_run_id else None
        key = run.data.tags.get(KEY, "") if run else ""
        if (run and run.info.status == "RUNNING") or not is_free(key):
            continue
        found.append(Orphan(model_id=model.model_id, run=key, folder=whole, bytes=bytes_of(whole)))
    return found


def delete_orphans(
    tracker: MlflowTracker, before_ms: int, is_free: Callable[[str], bool]
) -> list[Orphan]:
    """Delete what :func:`find_orphans` finds, while nobody registers; returns what was deleted."""
    with tracker.lock(REGISTERING):
        found = find_orphans(tracker, before_ms, is_free)
        for one in found:
            with mlflow_errors_as(f"deleting {one.model_id}"):
                # From now on no registration takes it for its own.
                tracker.client.set_logged_model_tags(one.model_id, {DIGEST: ""})
                delete_safely(one.folder)
                if one.run:
                    now = datetime.now(UTC).isoformat(timespec="seconds")
                    tracker.tag(one.run, {PRUNED: now})
                tracker.client.delete_logged_model(one.model_id)
    return found
