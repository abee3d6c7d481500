"""MLflow on PostgreSQL: the database is checked, and its tables are made by one process alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import sqlalchemy
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config, _upgrade_db
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dtsinn.core.causes import brief
from dtsinn.core.errors import InputError, RunError
from dtsinn.registry.tracking.names import hide_secrets

DRIVER = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DRIVER)
CONNECT_LIMIT_s = 5
LOCK = 0x6474_7369_6E6E
"""Number of the advisory lock: "dtsinn" in ASCII."""
LOCK_WAIT_s = 180
"""Longest wait for another process that makes the tables, which takes it seconds."""
POLL_s = 0.2


def parse_backend(url: str) -> URL:
    """Read the URL of a PostgreSQL database as MLflow takes it.

    Raises:
        InputError: It is no PostgreSQL URL, or the driver is not installed.
    """
    wanted = "postgresql://USER:PASSWORD@HOST/DATABASE"
    if not url:
        raise InputError(
            "no database for the server",
            wanted=wanted,
            hint="DTSINN_BACKEND=..., or dtsinn ui, which needs none",
        )
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not rest:
        raise InputError(
            "the server's database",
            got=hide_secrets("uri", url) if rest else f"{scheme[:40]}",
            wanted=wanted,
            hint="dtsinn ui, which shows the SQLite database of a workspace",
        )
    if find_spec("psycopg") is None:
        raise InputError("psycopg is not installed", hint='pip install "dtsinn[server]"')
    try:
        return make_url(f"{DRIVER}://{rest}")
    except (ArgumentError, ValueError):
        raise InputError(
            "the server's database", got=hide_secrets("uri", url), wanted=wanted
        ) from None


def add_driver(uri: str) -> str:
    """Add to the tracking URI of a PostgreSQL database the driver that dtsinn installs."""
    scheme, _, rest = uri.partition("://")
    return f"{DRIVER}://{rest}" if scheme in SCHEMES else uri


def describe_database(url: URL) -> str:
    """Name a database and its host, for messages."""
    host = url.host or url.query.get("host", "localhost")
    port = f":{url.port}" if url.port else ""
    return f"{url.database} on {host}{port}"


@contextmanager
def hold_database(url: URL, *, upgrade: bool = False) -> Iterator[Connection]:
    """Hold the database against others that open it; it is checked first.

    MLflow makes its tables when it first opens a database, and crashes when two processes do so
    at once. The lock goes away with the connection, so one that dies leaves nothing.

    Args:
        url: As :func:`parse_backend` gives it.
        upgrade: Change the tables of an older MLflow to those of this one, all or nothing.

    Raises:
        InputError: It cannot be reached, lets this user make no tables, or its tables are of
            another version of MLflow.
        RunError: Another process holds it too long.
    """
    engine = sqlalchemy.create_engine(
        url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_LIMIT_s}
    )
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _wait_for_lock(connection, url)
            if _needs_upgrade(connection, url, upgrade=upgrade):
                _upgrade_db(engine)  # type: ignore[no-untyped-call]
            yield connection
    except SQLAlchemyError as error:
        reason = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise InputError(
            f"the database {describe_database(url)} cannot be used", got=brief(Exception(reason))
        ) from None
    finally:
        engine.dispose()


def has_user(connection: Connection, name: str) -> bool:
    """Whether MLflow keeps a password of this user in the database."""
    if not sqlalchemy.inspect(connection).has_table("users"):
        return False
    asked = sqlalchemy.text("SELECT EXISTS (SELECT FROM users WHERE username = :name)")
    return bool(connection.execute(asked, {"name": name}).scalar())


def _wait_for_lock(connection: Connection, url: URL) -> None:
    asked = sqlalchemy.text("SELECT pg_try_advisory_lock(:lock)")
    deadline = time.monotonic() + LOCK_WAIT_s
    while not connection.execute(asked, {"lock": LOCK}).scalar():
        if time.monotonic() > deadline:
            raise RunError(
                f"another process has been opening {describe_database(url)}",
                got=f"{LOCK_WAIT_s} s",
            )
        time.sleep(POLL_s)


def _needs_upgrade(connection: Connection, url: URL, *, upgrade: bool) -> bool:
    """Whether the tables are of an older MLflow, which is an error unless ``upgrade`` is set."""
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        asked = "SELECT has_schema_privilege(current_schema(), 'CREATE'), current_user"
        allowed, user = connection.execute(sqlalchemy.text(asked)).one()
        if not allowed:
            raise InputError(
                f"{user} may make no tables in {describe_database(url)}",
                hint=f"ALTER DATABASE {url.database} OWNER TO {user}",
            )
        return False
    found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    script = ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]
    wanted = script.get_current_head()
    if found in (None, wanted):
        return False
    older = found in {revision.revision for revision in script.walk_revisions()}
    if not (older and upgrade):
        kind = "an older" if older else "another"
        raise InputError(
            f"the tables in {describe_database(url)} are of {kind} MLflow",
            got=found,
            wanted=wanted,
            hint="a backup, then dtsinn server --upgrade"
            if older
            else "the version of MLflow that made them, or a newer one",
        )
    return True
