"""The embedded MLflow of a workspace: one SQLite file, artifacts beside it, no server."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from dtsinn.core.errors import InputError
from dtsinn.core.lock import hold_lock
from dtsinn.core.paths import home_path
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking import environment
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.postgres import add_driver

LOCK_WAIT_s = 300
"""Longest wait for another process that makes the database or begins a run."""


def tracking_uri(workspace: Workspace) -> str:
    """Where runs are recorded: ``MLFLOW_TRACKING_URI`` when set, else the workspace's SQLite.

    Raises:
        InputError: A variable of MLflow can never work, or the workspace's path cannot stand in
            a URI.
    """
    environment.check()
    uri = add_driver(expand_home_uri(os.environ.get("MLFLOW_TRACKING_URI", "")))
    return uri or embedded_uri(workspace)


def expand_home_uri(uri: str) -> str:
    """Replace a leading ``~`` in the path of an SQLite file's URI by the home folder."""
    kind, found, path = uri.partition(":///")
    return f"{kind}{found}{home_path(path)}" if kind == "sqlite" and path[:1] == "~" else uri


def embedded_uri(workspace: Workspace) -> str:
    """SQLite URI of the workspace.

    Raises:
        InputError: The path holds a character that ends a path inside a URI.
    """
    path = str(workspace.database.resolve())  # MLflow keeps one connection to each spelling
    if any(c in "?#%" or not c.isprintable() for c in path):
        raise InputError("the workspace's path", got=repr(path), wanted="none of ? # % in it")
    return f"sqlite:///{path}"


def is_server(uri: str) -> bool:
    """Whether a tracking URI is that of a server."""
    return uri.startswith(("http:", "https:"))


def sqlite_file(uri: str) -> Path | None:
    """File of an SQLite URI, however it is spelled; None for any other URI."""
    path = uri.removeprefix("sqlite:///")
    return Path(path).resolve() if path != uri else None


def hold_workspace_lock(
    workspace: Workspace, name: str, wait_s: float = LOCK_WAIT_s, *, busy: Exception | None = None
) -> AbstractContextManager[None]:
    """Hold a lock between processes that share the workspace; see :func:`.hold_lock`."""
    return hold_lock(workspace.root / f".{name}.lock", wait_s, busy=busy)


def make_database(workspace: Workspace) -> None:
    """Make and migrate the database unless it exists; safe in several processes at once.

    MLflow's own migration crashes when several processes meet in it, and one that is killed
    half-way leaves tables that no later one can repair: so the file is made under a lock,
    under another name, and renamed when it is whole.
    """
    if workspace.database.is_file():
        return
    embedded_uri(workspace)  # whose path can stand in one
    with mlflow_errors_as(f"making the workspace {workspace.root}"):
        workspace.artifacts.mkdir(parents=True, exist_ok=True)
        with hold_workspace_lock(workspace, "database"):
            if workspace.database.is_file():
                return
            make_tables(workspace.database, workspace.artifacts_here.as_uri())


def make_tables(database: Path, artifacts: str) -> None:
    """Make an SQLite file with MLflow's tables, whole or not at all.

    Args:
        database: The file.
        artifacts: URI of the folder for artifacts of MLflow's own default experiment.
    """
    partial = Path(f"{database}.partial")
    partial.unlink(missing_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{partial.absolute()}", artifacts)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    partial.replace(database)


def require_workspace(workspace: Workspace) -> None:
    """Refuse a place in which nothing was recorded yet, instead of making one.

    Raises:
        InputError: There is no database: neither the workspace's, nor the file that
            ``MLFLOW_TRACKING_URI`` names.
    """
    uri = tracking_uri(workspace)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        if not workspace.database.is_file():
            raise InputError(f"no workspace at {workspace.root}", hint="dtsinn search STORE")
    elif uri.startswith("sqlite:"):
        file = Path(uri.partition(":///")[2].partition("?")[0])
        if not file.is_file():
            raise InputError("MLFLOW_TRACKING_URI", got=uri, wanted="a file that exists")
