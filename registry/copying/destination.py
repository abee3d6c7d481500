"""The other MLflow of a copy: checked, reached, and given tables where it has none."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.copying.place import Place, is_served
from dtsinn.registry.embedded import SCHEMES, make_tables
from dtsinn.registry.names import told_as, without_secrets

LOOK_s = 10.0
"""Longest wait for a server to take a connection."""


def open_destination(uri: str, workspace: Workspace) -> Place:
    """The side that is copied to.

    Args:
        uri: As it was given; of a SQLite file, artifacts go beside it, of another database into
            the workspace, where commands put them that find it as ``MLFLOW_TRACKING_URI``.
        workspace: That is copied.

    Raises:
        InputError: The URI can never answer.
        RunError: It does not answer.
    """
    uri = _checked(uri)
    artifacts = None
    if is_served(uri):
        _look_at_server(uri)
    else:
        artifacts = _prepared(uri, workspace)
    with told_as(f"opening {without_secrets('uri', uri)}"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return Place(client, uri, artifacts)


def _checked(uri: str) -> str:
    """The URI, with a driver that is installed where it names none."""
    scheme, found, rest = uri.partition("://")
    if scheme.partition("+")[0] not in SCHEMES or not found or not rest.strip("/"):
        raise InputError(
            "--to",
            got=without_secrets("uri", uri),
            wanted=f"a URI that begins with {', '.join(SCHEMES)}",
        )
    if scheme == "postgresql" and find_spec("psycopg2") is None:
        uri = f"postgresql+psycopg://{rest}"
    if uri.startswith("postgresql+psycopg:") and find_spec("psycopg") is None:
        raise InputError("--to wants psycopg", hint="pip install 'dtsinn[server]'")
    try:
        if not is_served(uri):
            sqlalchemy.make_url(uri).get_dialect().import_dbapi()
        elif urlsplit(uri).port == 0:
            raise ValueError("port 0")
    except (ValueError, ImportError, sqlalchemy.exc.ArgumentError) as error:
        told = without_secrets("uri", error)
        raise InputError(f"--to {without_secrets('uri', uri)}", got=told) from None
    return uri


def _look_at_server(uri: str) -> None:
    """Say at once that nobody is there: MLflow would ask for half a minute."""
    parts = urlsplit(uri)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), LOOK_s):
            pass
    except OSError as error:
        raise RunError(
            f"no MLflow at {without_secrets('uri', uri)}", got=error, hint="starting one there"
        ) from None


def _prepared(uri: str, workspace: Workspace) -> str:
    """Give a database its tables unless it has them; returns where its artifacts go."""
    url = sqlalchemy.make_url(uri)
    file = Path(url.database or "") if url.drivername.startswith("sqlite") else None
    if file is not None and (":memory:" in file.name or url.query):
        raise InputError("--to", got=without_secrets("uri", uri), wanted="a file, without options")
    if file is not None and not file.parent.is_dir():
        raise InputError("--to", got=f"no folder {file.parent}", wanted="one to write into")
    folder = workspace.artifacts if file is None else file.parent / workspace.artifacts.name
    artifacts = folder.absolute().as_uri()
    with told_as(f"opening {without_secrets('uri', uri)}"):
        if file is not None and not file.exists():
            make_tables(file, artifacts)
        engine = sqlalchemy.create_engine(uri)
        with engine.connect():  # MLflow would ask for minutes
            pass
        engine.dispose()
        SqlAlchemyStore(uri, artifacts).engine.dispose()  # type: ignore[no-untyped-call]
    return artifacts
