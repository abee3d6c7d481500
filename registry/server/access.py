"""Who may use a team's server: passwords, permissions, and the names that it answers to."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import InputError
from dtsinn.registry.server.serving import authority

ADMIN = "admin"
"""Name of the user who manages the others."""
PASSWORD_LENGTH = 12
"""MLflow's least number of characters."""
DEFAULT_PERMISSION = "EDIT"
"""What everybody with a password may do to the experiments and models of others.

dtsinn names experiments by tracer pair and models by pair and protocol, so a team meets under the
same names, while MLflow makes whoever comes first their owner. With READ, its own default, the
second person could neither log a run to ``fmz-fdg`` nor register a version of
``dtsinn-fmz-fdg-p1`` or promote one. EDIT lets them; to delete is left to owners and admins.
"""
CACHE_s = 600
"""How long a password that was right is taken for right.

To check one takes MLflow 0.1 s of a core, several times a request. It has one process, which
forgets what it knew of a user who is changed or deleted.
"""

_REFUSED = "password1234"  # of older versions of MLflow, which refuses it now
_NAME = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (compared only)


def read_password(path: Path | None) -> str:
    """Read the admin's password from a file or ``DTSINN_ADMIN_PASSWORD``; empty: there is none.

    Raises:
        InputError: What is given is no password, or others can read its file.
    """
    if path is not None:
        return _read_password_file(path)
    name = "DTSINN_ADMIN_PASSWORD"
    password = os.environ.get(name, "")
    return _check_password(password, name) if password else ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on an address.

    Raises:
        InputError: There is no such address.
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"no address {host!r}", got=getattr(error, "strerror", "") or error
        ) from None
    return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)


def parse_proxy(address: str) -> str:
    """Read the address or network of a proxy; empty where there is none.

    Raises:
        InputError: It is neither.
    """
    try:
        return str(ipaddress.ip_network(address)) if address else ""
    except ValueError as error:
        raise InputError("--behind-proxy", got=error, hint="--behind-proxy 127.0.0.1") from None


def allowed_hosts(host: str, port: int, named: Sequence[str]) -> list[str]:
    """The ``Host`` headers that are answered: where it listens, and what was named, in lower case.

    Raises:
        InputError: A name with a wildcard or a path; none is named and it listens everywhere.
    """
    for name in named:
        if not _NAME.fullmatch(name):
            raise InputError("--allowed-host", got=repr(name), wanted="NAME or NAME:PORT, no *")
    named = [name.lower() for name in named]  # as browsers and Python's clients write them
    if host not in _EVERYWHERE:
        own = ("localhost", host) if is_loopback(host) else (host,)
        return list(dict.fromkeys([*(authority(one, port) for one in own), *named]))
    if not named:
        raise InputError(
            f"{host} is every address of this machine, and clients call it by a name",
            hint=f"--allowed-host {socket.gethostname()}:{port}",
        )
    return named


def allowed_origins(hosts: Sequence[str]) -> list[str]:
    """Where MLflow's page may come from: MLflow refuses what it posts from any other place."""
    return [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]


@contextmanager
def basic_auth(database: str, password: str) -> Iterator[dict[str, str]]:
    """Settings for MLflow's child that make it ask for passwords.

    The users are kept in the same database as the runs, in tables with a version of their own.

    Args:
        database: URL with its password.
        password: For the admin, if there is none yet.

    Yields:
        What goes into the child's environment; the file that it names goes away at the end.

    Raises:
        InputError: What MLflow needs for it is not installed.
    """
    if find_spec("flask_wtf") is None:
        raise InputError("Flask-WTF is not installed", hint='pip install "dtsinn[server]"')
    lines = {
        "default_permission": DEFAULT_PERMISSION,
        "database_uri": database.replace("%", "%%"),
        "admin_username": ADMIN,
        "auth_cache_ttl_seconds": str(CACHE_s),
    }
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    with tempfile.TemporaryDirectory(prefix="dtsinn-server-") as folder:  # of mode 700
        file = Path(folder) / "auth.ini"
        file.touch(mode=0o600)
        file.write_text(f"[mlflow]\n{text}", encoding="utf-8")
        settings = {
            "MLFLOW_AUTH_CONFIG_PATH": str(file),
            # It protects the one form of MLflow's, against other sites, while it is filled in.
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        }
        yield settings | ({"MLFLOW_AUTH_ADMIN_PASSWORD": password} if password else {})


def _read_password_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InputError(f"others can read {path}", hint=f"chmod 600 {path}")
            text = file.read(10_000).decode("utf-8", errors="replace")
    except OSError as error:
        raise in_our_words(error, f"{path} cannot be read", InputError) from None
    return _check_password(text.removesuffix("\n").removesuffix("\r"), str(path))


def _check_password(password: str, where: str) -> str:
    """Return a password that MLflow takes, and that browsers and clients encode alike."""
    if len(password) < PASSWORD_LENGTH or not (password.isascii() and password.isprintable()):
        raise InputError(
            f"the admin's password in {where}",
            got=f"{len(password)} characters",
            wanted=f"at least {PASSWORD_LENGTH}, printable ASCII, on one line",
        )
    if password == _REFUSED:
        raise InputError(f"the admin's password in {where} is the one that everybody knows")
    return password
