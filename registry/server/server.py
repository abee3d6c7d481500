"""MLflow for a team: PostgreSQL for runs and models, a bucket for artifacts, a password for each.

Clients reach artifacts through the server and need no keys of the bucket. Before anything starts,
the database and the bucket are tried; an address that other machines can reach is not served
without passwords.
"""

from __future__ import annotations

import base64
import os
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.environment_variables import MLFLOW_S3_IGNORE_TLS

from dtsinn.core.causes import brief, in_our_words
from dtsinn.core.errors import InputError
from dtsinn.registry.server import serving
from dtsinn.registry.server.access import (
    ADMIN,
    allowed_hosts,
    allowed_origins,
    basic_auth,
    is_loopback,
    parse_proxy,
)
from dtsinn.registry.tracking.names import hide_secrets
from dtsinn.registry.tracking.postgres import has_user, hold_database, parse_backend

CONNECT_LIMIT_s = 5
ANSWER_LIMIT_s = 15
ATTEMPTS = 2


def check_destination(url: str) -> str:
    """Write, read and delete a small object.

    Args:
        url: ``s3://bucket/prefix``, an absolute folder or its ``file://`` URL.

    Returns:
        The URL as MLflow takes it.

    Raises:
        InputError: No such place, one that cannot be written, or the S3 client is not installed.
    """
    parts = urlsplit(url)
    ends = sorted(set("?#\\") & set(url))
    if ends:
        raise InputError(
            "where artifacts go",
            got=hide_secrets("url", url),
            wanted=f"a place without {' '.join(ends)}, at which a URL may end",
        )
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        _try_bucket(parts.netloc, parts.path.strip("/"))
        return url.rstrip("/")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return _try_folder(Path(unquote(parts.path)))
    if not parts.scheme and Path(url).is_absolute():
        return _try_folder(Path(url))
    raise InputError(
        "where artifacts go",
        got=hide_secrets("url", url) or "nothing",
        wanted="s3://BUCKET/PREFIX or an absolute folder",
        hint="DTSINN_ARTIFACTS=s3://...",
    )


def _try_folder(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"dtsinn")
    except OSError as error:
        raise in_our_words(error, f"{folder} cannot be written", InputError) from None
    return folder.as_uri()


def _try_bucket(bucket: str, prefix: str) -> None:
    if find_spec("boto3") is None:
        raise InputError("boto3 is not installed", hint='pip install "dtsinn[server]"')
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    key = f"{prefix}/.dtsinn-{uuid.uuid4().hex}".lstrip("/")
    limits = Config(
        connect_timeout=CONNECT_LIMIT_s,
        read_timeout=ANSWER_LIMIT_s,
        retries={"total_max_attempts": ATTEMPTS},
        s3={"addressing_style": os.environ.get("MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE", "auto")},
    )
    endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL")  # MLflow's own name for AWS_ENDPOINT_URL
    verify = False if MLFLOW_S3_IGNORE_TLS.get() else None  # type: ignore[no-untyped-call]
    try:
        client = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, config=limits, verify=verify
        )
        try:
            _require_bucket(client, bucket)  # some servers make one that an object names
            client.put_object(Bucket=bucket, Key=key, Body=b"dtsinn")
            client.get_object(Bucket=bucket, Key=key)["Body"].read()
            client.delete_object(Bucket=bucket, Key=key)
        finally:
            client.close()
    except (BotoCoreError, ClientError, ValueError) as error:
        raise InputError(
            f"the bucket {bucket} cannot be written",
            got=brief(error),
            hint="MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) from None


def _require_bucket(client: Any, bucket: str) -> None:
    try:
        client.head_bucket(Bucket=bucket)
    except client.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise InputError(f"there is no bucket {bucket}", hint="making it first") from None
        # One who may not ask whether it is there may still be one who may write.


PORT = 5000
ASK_LIMIT_s = 30
CONNECTIONS = {
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "10",
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "50",
}
"""Connections of MLflow to PostgreSQL: those that are kept, and those beyond at most.

MLflow answers 40 requests at a time, and who logs a batch holds one connection while he takes
another: with SQLAlchemy's 15 in all, a few dozen clients make them wait for each other until they
give up. With more than 40 somebody always goes on, and 60 of PostgreSQL's 100 leave room.
"""


@dataclass(frozen=True, kw_only=True)
class TeamServer:
    """What a server is to be."""

    backend: str = field(repr=False)
    """URL of a PostgreSQL database, with the password unless the driver finds it elsewhere."""
    artifacts: str
    """``s3://bucket/prefix``, or an absolute folder."""
    host: str = "127.0.0.1"
    """Address that it listens on."""
    port: int = PORT
    """0 takes a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that clients call it by, besides the address."""
    proxy: str = ""
    """Address or network of the proxy before it, which says whom a request comes from."""
    admin_password: str = field(default="", repr=False)
    """Password of the user ``admin``; needed until there is one."""
    auth: bool = True
    """Ask everybody for a password."""
    upgrade: bool = False
    """Change the tables of an older MLflow to those of this one; its servers are stopped first."""


def serve(
    order: TeamServer, *, announce: Callable[[str], None], note: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        order: What is served.
        announce: Called with the address once it answers.
        note: Called with what the admin had better know.

    Raises:
        InputError: What is wrong with the order; nothing was started.
        RunError: MLflow did not start, or ended by itself.
    """
    with serving.end_on_signal(), start_team_server(order, note) as served:
        announce(served.url)
        served.run()


@contextmanager
def start_team_server(
    order: TeamServer, note: Callable[[str], None], log: Path | None = None
) -> Iterator[serving.ServerProcess]:
    """Start a server, wait until it answers, and end it with the context; see :func:`serve`.

    Args:
        order: What is served.
        note: Called with what the admin had better know.
        log: Where MLflow's words go; None: to standard error.
    """
    local = is_loopback(order.host)
    if not local and not order.auth:
        raise InputError(
            f"everybody who reaches {order.host} could change everything without a password",
            wanted="a password, or 127.0.0.1",
            hint="--admin-password-file FILE instead of --no-auth",
        )
    database = parse_backend(order.backend)
    port = serving.find_port(order.host, order.port)
    hosts = allowed_hosts(order.host, port, order.allowed_hosts)
    proxy = parse_proxy(order.proxy)
    uri = database.render_as_string(hide_password=False)
    guarded: AbstractContextManager[dict[str, str]] = nullcontext({})
    if order.auth:
        guarded = basic_auth(uri, order.admin_password)
    with ExitStack() as stack:
        # Both until MLflow runs: it has made its tables then, and read the file with its settings.
        with guarded as settings, hold_database(database, upgrade=order.upgrade) as connection:
            known = order.auth and has_user(connection, ADMIN)
            if order.auth and not (known or order.admin_password):
                raise InputError(
                    f"nobody has a password yet, and there is none for {ADMIN}",
                    hint="DTSINN_ADMIN_PASSWORD=..., or --admin-password-file FILE",
                )
            options = {
                "--artifacts-destination": check_destination(order.artifacts),
                "--allowed-hosts": ",".join(hosts),
                "--cors-allowed-origins": ",".join(allowed_origins(hosts)),
                "--app-name": serving.GUARDED if order.auth else serving.OPEN,
            }
            words = [word for pair in options.items() for word in pair]
            pool = {name: os.environ.get(name, number) for name, number in CONNECTIONS.items()}
            secrets = {**pool, **settings, "MLFLOW_BACKEND_STORE_URI": uri}
            served = serving.start(
                "the server",
                order.host,
                port,
                [*words, "--serve-artifacts"],
                secrets,
                log,
                proxy,
            )
            stack.callback(served.stop)
        if known and order.admin_password and not _admin_password_holds(served, hosts[0], order):
            note(
                f"{ADMIN} has had another password since an earlier start: it still holds, "
                "and the one given now was not used"
            )
        if not local:
            note(f"{order.host} is served without TLS: let a proxy with a certificate face it")
        yield served


def _admin_password_holds(served: serving.ServerProcess, host: str, order: TeamServer) -> bool:
    """Whether the running server takes the admin's password: MLflow sets it only once."""
    login = base64.b64encode(f"{ADMIN}:{order.admin_password}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310 (our own server)
        f"{served.url}/api/2.0/mlflow/users/current",
        headers={"Authorization": f"Basic {login}", "Host": host},
    )
    try:
        with serving.direct_opener.open(request, timeout=ASK_LIMIT_s):
            return True
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code != 401
