"""Moved workspaces: MLflow's tables hold absolute places of files, and files move.

MLflow resolves a location when an experiment, run or model is made, and knows no relative ones.
So where a workspace was renamed, mounted elsewhere or copied, its tables are brought in line
when it is opened: the truth is where the database lies. Everything under a former place is
rewritten in one transaction; what was written to the former place meanwhile (by dtsinn 0.1.0) is
brought along first. Paths of stores that 0.1.0 sent to MLflow become names.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import sqlalchemy
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import (
    SqlDataset,
    SqlExperiment,
    SqlLoggedModel,
    SqlRun,
    SqlTag,
    SqlTraceTag,
)
from sqlalchemy import func
from sqlalchemy.orm import aliased

from dtsinn.core.errors import InputError
from dtsinn.core.paths import name_of_store
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import hold_workspace_lock, sqlite_file
from dtsinn.registry.tracking.names import hide_secrets, mlflow_errors_as
from dtsinn.registry.tracking.rows import STORE_SOURCE

log = logging.getLogger(__name__)

LOCATIONS: tuple[Any, ...] = (
    SqlExperiment.artifact_location,
    SqlRun.artifact_uri,
    SqlLoggedModel.artifact_location,
    SqlModelVersion.source,
    SqlModelVersion.storage_location,
    SqlTraceTag.value,
)
"""Columns of MLflow's tables that hold places of files."""
FILES: tuple[Any, ...] = (SqlRun.artifact_uri, SqlLoggedModel.artifact_location)
"""Those of them that name folders which only one run or model has."""
FIRST = 0
"""Id of the experiment that MLflow makes with the tables."""


def local_path(uri: str) -> Path | None:
    """Find the folder that a location of artifacts is on this machine, if it is."""
    try:
        parsed = urlparse(uri)
    except ValueError:  # no URI at all
        return None
    if parsed.scheme == "file":
        return Path(url2pathname(parsed.path))
    return Path(uri) if not parsed.scheme else None


def repair_locations(uri: str, workspace: Workspace) -> None:
    """Let a database name the folders of artifacts where they are now; says so in one line.

    Former places of the workspace's own database are the one that it was made with, and each one
    whose runs or models have their folders here: a copy is known from its original by where its
    database lies. Another database may keep artifacts of several workspaces: of a former place
    that still exists they stay there, unless the database was copied with its artifacts.

    Args:
        uri: Address of a database with MLflow's tables.
        workspace: The workspace that uses it.

    Raises:
        InputError: The workspace moved, and cannot be written.
    """
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    is_own = sqlite_file(uri) == workspace.database.resolve()
    with mlflow_errors_as(f"opening {hide_secrets('uri', uri)}"):
        with engine.connect() as connection:
            moves = _find_moves(connection, uri, workspace)
            if not moves and not (is_own and _find_store_paths(connection)):
                return
        read_only = _find_read_only(uri, workspace)
        if read_only and moves:
            raise InputError(
                f"the workspace {workspace.root} was moved, and its records cannot be changed",
                got=f"{read_only[0]} is read-only",
                hint="opening it once where it can be written, or a copy of it",
            )
        if read_only:
            return
        with hold_workspace_lock(workspace, "database"), engine.begin() as connection:
            for move in _find_moves(
                connection, uri, workspace
            ):  # another process may have been here
                copied = _copy_late_writes(connection, move)
                count = sum(_rewrite(connection, column, move) for column in LOCATIONS)
                log.warning(
                    "the workspace was at %s, its records now say %s: %d entries%s",
                    move.old.parent,
                    move.here.parent,
                    count,
                    f", {copied} folders copied from there" if copied else "",
                )
            if is_own:
                _name_stores(connection, workspace)


@dataclass(frozen=True, kw_only=True)
class _Move:
    """A former place, and the folder that took its place."""

    was: str
    """Its URI as the tables spell it."""
    old: Path
    here: Path


def _find_moves(connection: Any, uri: str, workspace: Workspace) -> list[_Move]:
    file, own = sqlite_file(uri), workspace.artifacts_here
    beside = file.with_name(own.name) if file else own
    moves = []
    for was, (old, is_first) in _find_roots(connection, own.name).items():
        if old.resolve() in (beside.resolve(), own.resolve()):
            continue
        if is_first and file == workspace.database.resolve():
            here: Path | None = own
        elif file and _has_files(connection, was, beside):
            here = beside
        else:
            here = own if not old.exists() and _has_files(connection, was, own) else None
        if here is not None:
            moves.append(_Move(was=was, old=old, here=here))
    return moves


def _find_roots(connection: Any, name: str) -> dict[str, tuple[Path, bool]]:
    """Find folders called ``name`` in which experiments keep files; whether the first one does."""
    roots: dict[str, tuple[Path, bool]] = {}
    columns = SqlExperiment.experiment_id, SqlExperiment.artifact_location
    for number, location in connection.execute(sqlalchemy.select(*columns)):
        # Ours all use the root itself; those that people make have a folder of their own in it.
        root = (location or "").removesuffix(f"/{number}")
        folder = local_path(root)
        if folder is not None and folder.is_absolute() and folder.name == name:
            _, was_first = roots.get(root, (folder, False))
            roots[root] = folder, was_first or number == FIRST
    return roots


def _has_files(connection: Any, was: str, here: Path) -> bool:
    """Whether a run's or model's folder of a former place is here."""
    return any((here / inner).exists() for inner in _find_folders(connection, was))


def _find_folders(connection: Any, was: str) -> Iterable[Path]:
    """Folders of runs and models under a former place, relative to it."""
    for column in FILES:
        for (location,) in connection.execute(
            sqlalchemy.select(column).where(_lies_in(column, was))
        ):
            inner = Path(url2pathname(location[len(was) :].strip("/")))
            if inner.parts and ".." not in inner.parts:
                yield inner


def _lies_in(column: Any, was: str) -> Any:
    inside = func.substr(column, 1, len(was) + 1) == f"{was}/"
    return sqlalchemy.or_(column == was, inside)


def _rewrite(connection: Any, column: Any, move: _Move) -> int:
    """Replace the former place, as a URI or as a path; returns the number of entries."""
    count = 0
    for was, now in {move.was: move.here.as_uri(), str(move.old): str(move.here)}.items():
        changed = {column: now + func.substr(column, len(was) + 1)}
        count += connection.execute(
            sqlalchemy.update(column.class_).where(_lies_in(column, was)).values(changed)
        ).rowcount
    return count


def _copy_late_writes(connection: Any, move: _Move) -> int:
    """Copy what 0.1.0 wrote to the former place after the move; returns the number of folders.

    Where an original lives on there, only folders that are not here at all are this copy's.
    """
    copied = 0
    is_original = Workspace(move.old.parent).database.exists()
    for inner in _find_folders(connection, move.was) if move.old.is_dir() else ():
        source, target = move.old / inner, move.here / inner
        if not source.is_dir() or (is_original and target.exists()):
            continue
        partial = target.with_name(f".{target.name}.partial")
        if target.exists():
            shutil.copytree(target, partial, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(source, partial, ignore=_list_links, dirs_exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        copied += 1
    return copied


def _list_links(folder: str, names: list[str]) -> list[str]:
    """A link would carry a foreign file along."""
    return [name for name in names if Path(folder, name).is_symlink()]


def _find_store_paths(connection: Any) -> dict[str, str]:
    """Find whole paths of stores, as dtsinn 0.1.0 sent them to MLflow, and their digests."""
    path, digest = aliased(SqlTag), aliased(SqlTag)
    question: Any = (
        sqlalchemy.select(path.value, digest.value)
        .join(digest, path.run_uuid == digest.run_uuid)
        .where(path.key == "store.path", digest.key == "store.digest")
        .where(func.substr(path.value, 1, 1) == "/")
    )
    return dict(connection.execute(question.distinct()).all())


def _name_stores(connection: Any, workspace: Workspace) -> None:
    """Leave the names of stores in MLflow; the workspace remembers the folders."""
    from dtsinn.data.known_stores import note_store  # seldom needed, and imports zarr

    for path, digest in _find_store_paths(connection).items():
        note_store(workspace, digest, path)
        name = name_of_store(path)
        source: Any = SqlDataset.dataset_source
        renamed = func.replace(source, json.dumps(path), json.dumps(name))
        for table, values, where in (
            (SqlTag, {SqlTag.value: name}, (SqlTag.key == "store.path", SqlTag.value == path)),
            (SqlDataset, {source: renamed}, (SqlDataset.dataset_source_type == STORE_SOURCE,)),
        ):
            connection.execute(sqlalchemy.update(table).where(*where).values(values))


def _find_read_only(uri: str, workspace: Workspace) -> list[Path]:
    """Files and folders that cannot be written, of those that a repair writes."""
    file = sqlite_file(uri)
    places = [workspace.root, *([file, file.parent] if file else [])]
    return [place for place in places if place.exists() and not os.access(place, os.W_OK)]
