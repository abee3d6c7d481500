"""What the registry uses, and packages of its own that nothing in it uses any more.

A logged model is left without a version where a registration was killed or a version deleted.
MLflow keeps the files of what is deleted in it, so they are deleted first. Whatever moment a kill
chooses, the model is still listed without a version, and the next pruning finishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import ViewType

from dtsinn.core.disposal import bytes_of, dispose
from dtsinn.core.workspace import Workspace
from dtsinn.registry.embedded import embedded_uri
from dtsinn.registry.names import told_as
from dtsinn.registry.references import local_path
from dtsinn.registry.registration import registering
from dtsinn.registry.rows import KEY
from dtsinn.registry.tracking import MlflowTracker
from dtsinn.registry.versions import DIGEST, LOGGED_MODEL, list_models

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


def runs_in_use(tracker: MlflowTracker, workspace: Workspace) -> dict[str, list[str]]:
    """Keys of runs that versions point to, with their refs: NAME/3.

    Where another MLflow is used now, the workspace's own is asked too.
    """
    asked = [tracker]
    if tracker.workspace is None and workspace.database.is_file():
        uri = embedded_uri(workspace)
        asked.append(MlflowTracker(MlflowClient(tracking_uri=uri, registry_uri=uri), uri))
    found: dict[str, list[str]] = {}
    for one in asked:
        for version in list_models(one):
            run = one.find_run(version.run_id) if version.run_id else None
            for key in {version.run_key, run.data.tags.get(KEY, "") if run else ""} - {""}:
                refs = found.setdefault(key, [])
                refs += [version.ref] if version.ref not in refs else []
    return found


def orphans(tracker: MlflowTracker, before_ms: int, is_free: Callable[[str], bool]) -> list[Orphan]:
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
    client, root = tracker.client, tracker.workspace.artifacts.absolute()
    with told_as("looking for packages that no version uses"):
        experiments = tracker.all_pages(client.search_experiments, view_type=ViewType.ALL)
        ids = [one.experiment_id for one in experiments]
        models = tracker.all_pages(client.search_logged_models, experiment_ids=ids)
        versions = tracker.all_pages(client.search_model_versions)
        used = {version.tags.get(LOGGED_MODEL, "") for version in versions}
        # A version that MLflow copied under another name says so in place of a location.
        places = [client.get_model_version_download_uri(v.name, v.version) for v in versions]
    found = []
    for model in models:
        folder = local_path(model.artifact_location)
        if folder is None or not folder.is_relative_to(root) or DIGEST not in model.tags:
            continue
        inside = any(f"{one}/".startswith(f"{model.artifact_location}/") for one in places)
        if inside or model.model_id in used or model.creation_timestamp > before_ms:
            continue
        run = tracker.find_run(model.source_run_id) if model.source_run_id else None
        key = run.data.tags.get(KEY, "") if run else ""
        if (run and run.info.status == "RUNNING") or not is_free(key):
            continue
        whole = folder.parent if folder.parent.name == model.model_id else folder
        found.append(Orphan(model_id=model.model_id, run=key, folder=whole, bytes=bytes_of(whole)))
    return found


def delete_orphans(
    tracker: MlflowTracker, before_ms: int, is_free: Callable[[str], bool]
) -> list[Orphan]:
    """Delete what :func:`orphans` finds, while nobody registers; returns what was deleted."""
    with registering(tracker):
        found = orphans(tracker, before_ms, is_free)
        for one in found:
            with told_as(f"deleting {one.model_id}"):
                # From now on no registration takes it for its own.
                tracker.client.set_logged_model_tags(one.model_id, {DIGEST: ""})
                dispose(one.folder)
                if one.run:
                    now = datetime.now(UTC).isoformat(timespec="seconds")
                    tracker.tag(one.run, {PRUNED: now})
                tracker.client.delete_logged_model(one.model_id)
    return found
