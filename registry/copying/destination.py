"""The other MLflow of a copy: checked, reached, and given tables where it has none."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.copying.place import Place
from dtsinn.registry.tracking.embedded import expand_home_uri, is_server, make_tables
from dtsinn.registry.tracking.environment import check_uri
from dtsinn.registry.tracking.names import hide_secrets, mlflow_errors_as
from dtsinn.registry.tracking.postgres import DRIVER, add_driver, hold_database, parse_backend
from dtsinn.registry.tracking.relocation import repair_locations
from dtsinn.registry.tracking.remote import ask


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
    uri = _check_uri(uri)
    artifacts = None
    if is_server(uri):
        ask(uri)
    else:
        artifacts = _prepare_database(uri, workspace)
    with mlflow_errors_as(f"opening {hide_secrets('uri', uri)}"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return Place(client, uri, artifacts)


def _check_uri(uri: str) -> str:
    """The URI, with a driver that is installed where it names none."""
    check_uri("--to", uri)
    uri = add_driver(expand_home_uri(uri))
    shown = hide_secrets("uri", uri)
    try:
        if not is_server(uri):
            sqlalchemy.make_url(uri).get_dialect().import_dbapi()
    except (ValueError, ImportError, sqlalchemy.exc.ArgumentError) as error:
        missing = isinstance(error, ImportError) and uri.startswith(f"{DRIVER}:")
        raise InputError(
            f"--to {shown}",
            got=hide_secrets("uri", error),
            hint='pip install "dtsinn[server]"' if missing else "",
        ) from None
    return uri


def _prepare_database(uri: str, workspace: Workspace) -> str:
    """Give a database its tables unless it has them; returns where its artifacts go."""
    url = sqlalchemy.make_url(uri)
    file = Path(url.database or "") if url.drivername.startswith("sqlite") else None
    if file is not None and (":memory:" in file.name or url.query):
        raise InputError("--to", got=hide_secrets("uri", uri), wanted="a file, without options")
    if file is not None and not file.parent.is_dir():
        raise InputError("--to", got=f"no folder {file.parent}", wanted="one to write into")
    here = workspace.artifacts_here
    artifacts = (here if file is None else file.parent.resolve() / here.name).as_uri()
    alone: AbstractContextManager[Any] = nullcontext()
    if uri.startswith(f"{DRIVER}:"):
        alone = hold_database(parse_backend(uri))
    with alone, mlflow_errors_as(f"opening {hide_secrets('uri', uri)}"):
        if file is not None and not file.exists():
            make_tables(file, artifacts)
        engine = sqlalchemy.create_engine(uri)
        with engine.connect():  # MLflow would ask for minutes
            pass
        engine.dispose()
        SqlAlchemyStore(uri, artifacts).engine.dispose()  # type: ignore[no-untyped-call]
        repair_locations(uri, workspace)
    return artifacts
