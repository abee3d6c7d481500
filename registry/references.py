"""What a user calls a model (a REF) -> a verified package directory.

In this order: a ``models:/`` URI; ``run:ID``; a directory with a ``separator.json``; ``best``;
then ``NAME`` (= ``NAME@champion``), ``NAME@alias``, ``NAME/3``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow.artifacts

from dtsinn.core.errors import InputError, PackageError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.names import check_alias, check_key, check_name, mlflow_errors_as
from dtsinn.registry.tracking.relocation import local_path
from dtsinn.registry.tracking.tracker import MlflowTracker, connect_existing
from dtsinn.registry.versions import (
    CHAMPION,
    PACKAGE_FOLDER,
    ModelVersion,
    get_alias,
    get_version,
    list_models,
    versions_of_run,
)

FORMS = "NAME, NAME@alias, NAME/3, best, run:ID, models:/NAME/3 or a package directory"
PREFIX = "dtsinn-"
"""Beginning of the names of models that ``best`` chooses among."""

_BY_NUMBER = re.compile(r"([^/@]+)/([1-9][0-9]{0,8})")
_BY_ALIAS = re.compile(r"([^/@]+)@([^/@]+)")


@dataclass(frozen=True, kw_only=True)
class ResolvedModel:
    """A model at hand."""

    path: Path
    """A verified package directory."""
    name: str
    """Name of the registered model, or of the directory when it is in no registry."""
    version: int | None
    """None for a directory or a run that registered nothing."""
    ref: str
    """What the user typed."""
    digest: str
    """SHA-256 of weights and configuration."""


def resolve(ref: str, workspace: Workspace) -> ResolvedModel:
    """Find the package that a REF names, fetch it if need be, and verify it.

    A directory needs no workspace and no MLflow database; a missing workspace is not made.

    Raises:
        InputError: The REF is malformed, names nothing, or ``best`` is not one model.
        PackageError: Its files do not match their manifest.
    """
    folder = _find_directory(ref)
    if folder is not None:
        digest = _verify(folder)
        return ResolvedModel(
            path=folder, name=folder.resolve().name, version=None, ref=ref, digest=digest
        )
    check_ref(ref)
    tracker = connect_existing(workspace)
    version = find_version(ref, tracker)
    path = fetch(tracker, workspace, version)
    return ResolvedModel(
        path=path, name=version.name, version=version.version, ref=ref, digest=version.digest
    )


def check_ref(ref: str) -> None:
    """Refuse a REF whose form is none of the known ones, before anything is opened.

    Raises:
        InputError: It is malformed.
    """
    if ref.startswith("run:"):
        check_key(ref.removeprefix("run:"))
        return
    text = ref.removeprefix("models:/")
    if ref.startswith(("/", "./", "../", "~")) or ref in {".", ".."}:
        raise InputError("no separator package there", got=repr(ref), wanted=FORMS)
    try:
        _split(text)
    except InputError:
        raise InputError("not a model", got=repr(ref), wanted=FORMS) from None


def find_version(ref: str, tracker: MlflowTracker) -> ModelVersion:
    """Find the registered version that a REF names (any REF but a directory).

    Raises:
        InputError: It names nothing, or ``best`` is not one model.
    """
    check_ref(ref)
    if ref.startswith("run:"):
        return _find_by_run(ref.removeprefix("run:"), tracker)
    if ref == "best":
        return _find_best(tracker)
    name, number, alias = _split(ref.removeprefix("models:/"))
    if number is not None:
        return get_version(tracker, name, number)
    return get_alias(tracker, name, alias)


def fetch(tracker: MlflowTracker, workspace: Workspace, version: ModelVersion) -> Path:
    """Return the package of a version: in place when its files are on this machine, else a copy.

    Copies are kept in the workspace by digest.

    Raises:
        PackageError: The files are missing, damaged, or others than were registered.
    """
    if not version.digest:
        raise PackageError(f"{version.ref} says no digest", hint="another version: dtsinn models")
    with mlflow_errors_as(f"fetching {version.ref}"):
        uri = tracker.client.get_model_version_download_uri(version.name, str(version.version))
    local = local_path(uri)
    if local is not None:
        return _verify_version(local / "data" / PACKAGE_FOLDER, version)
    kept = workspace.packages / version.digest
    if not kept.is_dir():
        with mlflow_errors_as(f"fetching {version.ref}"):
            workspace.packages.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=f".{version.digest}.", dir=kept.parent) as partial:
                got = mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{uri.rstrip('/')}/data/{PACKAGE_FOLDER}",
                    dst_path=partial,
                    tracking_uri=tracker.uri,
                )
                _verify_version(Path(got), version)
                if not kept.is_dir():
                    Path(got).rename(kept)
    return _verify_version(kept, version)


def _find_directory(ref: str) -> Path | None:
    """Find the directory that a REF names, if it holds a package."""
    if ref.startswith(("models:/", "run:")) or not ref or "\x00" in ref:
        return None
    folder = Path(ref).expanduser()
    try:
        return folder if (folder / "separator.json").is_file() else None
    except OSError:  # a name too long for the file system
        return None


def _split(text: str) -> tuple[str, int | None, str]:
    """Split NAME, NAME@alias or NAME/3 into name, version or None, and alias."""
    if match := _BY_NUMBER.fullmatch(text):
        return check_name(match[1]), int(match[2]), ""
    if match := _BY_ALIAS.fullmatch(text):
        return check_name(match[1]), None, check_alias(match[2])
    return check_name(text), None, CHAMPION


def _find_by_run(id_or_key: str, tracker: MlflowTracker) -> ModelVersion:
    run = tracker.find_run(id_or_key)
    if run is None:
        raise InputError("no such run", got=repr(id_or_key), hint="dtsinn models")
    versions = versions_of_run(tracker, run.info.run_id)
    if not versions:
        raise InputError(f"run {id_or_key} registered no model", hint="dtsinn models")
    return versions[0]


def _find_best(tracker: MlflowTracker) -> ModelVersion:
    versions = [v for v in list_models(tracker) if v.name.startswith(PREFIX)]
    champions = [v for v in versions if CHAMPION in v.aliases]
    if len(champions) == 1:
        return champions[0]
    if champions:
        names = [v.name for v in champions]
        raise InputError(
            "best is not one model", got=", ".join(names), hint=f"{names[0]} in its place"
        )
    if not versions:
        raise InputError("no model is registered yet", hint="dtsinn search STORE")
    newest = max(versions, key=lambda v: v.created)
    raise InputError(
        "no model has a champion yet",
        got=", ".join(v.ref for v in versions),
        hint=f"{newest.ref} in its place",
    )


def _verify_version(folder: Path, version: ModelVersion) -> Path:
    if not folder.is_dir():
        raise PackageError(f"the files of {version.ref} are gone", got=f"nothing at {folder}")
    if _verify(folder) != version.digest:
        raise PackageError(f"{folder} is not what was registered as {version.ref}")
    return folder


def _verify(folder: Path) -> str:
    """Verify a package; returns its digest."""
    from dtsinn.deploy.package import package_digest, verify_package  # which imports torch

    verify_package(folder)
    return package_digest(folder)
