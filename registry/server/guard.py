"""What comes before MLflow on a team's server: the password, and how much a request may bring.

MLflow reads a request whole before it asks who sends it. Here its headers alone decide: whoever
has no password is answered before a byte of the body is taken, however long that is said to be.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from werkzeug.security import check_password_hash, generate_password_hash

from dtsinn.registry.server.confinement import CONTROL, normalise
from dtsinn.registry.server.logins import Logins

if TYPE_CHECKING:
    from mlflow.server.auth.entities import User

    from dtsinn.registry.server.owners import Owners

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_LIMIT = 16 * 2**20
"""Bytes of a request. MLflow's largest, a batch of metrics, has 1 MB; its page sends files of
10 MB."""
FILE_LIMIT = 50 * 2**30
"""Bytes of an artifact, which goes to disk or bucket as it comes."""
PATIENCE_s = 60.0
"""How long a request's body may come in, and a file may pause."""
NAME_LENGTH = 255
"""MLflow's limit for the name of a user."""

ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts/(.*)", re.DOTALL)
PUBLIC = re.compile(r"/health|/favicon\.ico|/static-files/.*")
"""Paths that ask for no password: they are read, and take no body."""
SERVED = re.compile(
    r"/|/graphql|/get-artifact|/model-versions/get-artifact|/version|/signup"
    r"|/(?:ajax-)?api/2\.0/mlflow-artifacts/artifacts(?:/.*)?"
    r"|/(?:ajax-)?api/[23]\.0/mlflow/(?:"
    r"(?:experiments|metrics|model-versions|registered-models|logged-models|users|roles)(?:/.*)?"
    r"|runs/(?!create-promptlab-run).*|artifacts/list|upload-artifact|server-info|ui-telemetry"
    r"|traces/(?:search|metrics))",
    re.DOTALL,
)
"""Paths that are served. What else MLflow has acts for members as the server, or asks addresses
that they name: assistant, gateway, jobs, scorers, webhooks, traces kept elsewhere; or it hands out
addresses of the bucket itself. A path that a later MLflow adds is closed until it is read."""
PAGE = re.compile(r"(?!/ajax-api/3\.0/mlflow/assistant).*", re.DOTALL)
"""Paths that are served to one person: all but those of the assistant, which runs commands for
whoever is on the same machine."""
CLOSED = {
    re.compile(r"/ajax-api/3\.0/mlflow/assistant(?:/.*)?"): (404, "dtsinn serves no assistant"),
    re.compile(r"(?:.*/)?gateway(?:/.*)?"): (501, "dtsinn serves no gateway"),
    re.compile(r"/v1/traces|.*/mlflow/(?:traces(?:/.*)?|get-trace-artifact)"): (
        501,
        "dtsinn serves no traces",
    ),
    re.compile(r".*/mlflow/datasets(?:/.*)?"): (501, "dtsinn serves no evaluation data sets"),
}
"""Paths that are not served and have an answer of their own. MLflow's client takes a
403 of them for an expired password, and tells its user to renew it."""
USERS = re.compile(r"/(?:ajax-)?api/[23]\.0/mlflow/users/.*")
"""Paths by which users and their passwords are changed."""
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    501: "NOT_IMPLEMENTED",
}
"""MLflow's words for a status."""


class RefusedError(Exception):
    """An answer that MLflow is not asked for."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


class Guard:
    """Lets through to MLflow what a member may ask.

    Args:
        app: MLflow's application.
        owners: Who made runs and models; None where nobody is asked for a password.
        served: Paths that are served.
    """

    def __init__(self, app: App, owners: Owners | None, served: re.Pattern[str]) -> None:
        self._app, self._owners, self._served = app, owners, served
        self._logins = Logins()
        self._nobodys_hash = _hash_random() if owners else ""
        # One password at a time: each takes 0.1 s of a core and 32 MB.
        self._one_at_a_time = asyncio.Lock()
        self._writing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as held:
            try:
                _require_readable(scope)
                if PUBLIC.fullmatch(scope["path"]):
                    receive = await _require_no_body(scope, receive)
                else:
                    receive, send = await self._admit(scope, receive, send, held)
            except RefusedError as refusal:
                await _answer(refusal, scope, send)
                return
            await self._app(scope, receive, send)

    async def _admit(
        self, scope: Scope, receive: Receive, send: Send, held: AsyncExitStack
    ) -> tuple[Receive, Send]:
        """Let a request in; its body is read by then, or bounded while it comes.

        Args:
            scope: ASGI's description of the request.
            receive: Hands its body.
            send: Takes the answer.
            held: Is left once it is answered.

        Raises:
            RefusedError: It is not let in.
        """
        user = await self._authenticate(scope) if self._owners else None
        path = scope["path"]
        if not self._served.fullmatch(path):
            answers = (answer for closed, answer in CLOSED.items() if closed.fullmatch(path))
            raise RefusedError(*next(answers, (403, "dtsinn does not serve this")))
        if USERS.fullmatch(path) and scope["method"] not in {"GET", "HEAD"}:
            self._logins.doubt()
        file = ARTIFACTS.fullmatch(path)
        if file and scope["method"] not in {"GET", "HEAD"}:
            if self._owners and user:
                # Of two that write one new file the second finds it: there is one such process.
                turn = self._writing.setdefault(normalise(file[1]), asyncio.Lock())
                await held.enter_async_context(turn)
                await asyncio.to_thread(_require_owner, self._owners, user, file[1])
            if scope["method"] == "PUT":
                return _bound_body(_check_length(scope, FILE_LIMIT), receive, send)
        return await _read_body(_check_length(scope, BODY_LIMIT), receive), send

    async def _authenticate(self, scope: Scope) -> User:
        """Find out who sends a request.

        Raises:
            RefusedError: Without a right password; or after too many wrong ones.
        """
        from mlflow.server import auth

        name, password = _read_credentials(scope)
        key = auth._auth_cache_key(name, password)
        address = scope["client"][0] if scope.get("client") else ""

        def known() -> User | None:
            with auth._USER_AUTH_CACHE_LOCK:
                cache: Any = auth._USER_AUTH_CACHE
                return cast("User | None", cache.get(key))

        if user := known():
            return user
        async with self._one_at_a_time:
            if user := known():  # somebody waited before
                return user
            if self._logins.is_refuted(name, address, password):
                raise _unauthorised()
            if wait := self._logins.wait(name, address, password):
                message = f"too many wrong passwords; try again in {wait} s"
                raise RefusedError(429, message, retry_after=str(wait))
            user = await asyncio.to_thread(_verify, name, password, self._nobodys_hash)
            self._logins.note(name, address, password, right=user is not None)
        if user is None:
            raise _unauthorised()
        return user


def _require_owner(owners: Owners, user: User, path: str) -> None:
    if not owners.may_write(path, user):
        rule = "only who made a run, or an admin, may write its files"
        raise RefusedError(403, f"Permission denied: {rule}")


def _verify(name: str, password: str, nobodys_hash: str) -> User | None:
    """Find the user of this name and password, or nobody in the same time.

    Args:
        name: The user's name.
        password: As it was given.
        nobodys_hash: Hash of a password that nobody has.
    """
    from mlflow.server import auth

    user = auth._authenticate_cached(name, password)
    if user is None and not auth.store.has_user(name):
        check_password_hash(nobodys_hash, password)
    return user


def _hash_random() -> str:
    """Hash, as MLflow does, a password that nobody has."""
    return generate_password_hash(secrets.token_hex())


def _read_credentials(scope: Scope) -> tuple[str, str]:
    """Read name and password of a request.

    Raises:
        RefusedError: There are none, or they are no text that anybody can have.
    """
    given = [value for key, value in scope["headers"] if key == b"authorization"]
    kind, _, coded = (given[0] if len(given) == 1 else b"").partition(b" ")
    try:
        text = base64.b64decode(coded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise _unauthorised() from None
    name, found, password = text.partition(":")
    unsendable = set("\0\r\n") & set(text)  # MLflow takes a password with any other character
    if kind.lower() != b"basic" or not found or len(name) > NAME_LENGTH or unsendable:
        raise _unauthorised()
    return name, password


def _require_readable(scope: Scope) -> None:
    """Refuse a request that two servers, or two parts of one, could read differently.

    Raises:
        RefusedError: It is one.
    """
    if scope["type"] != "http":
        raise RefusedError(403, "dtsinn serves no such connections")
    if CONTROL.search(scope["path"]):
        raise RefusedError(400, "a path without control characters is needed")
    if {b"content-length", b"transfer-encoding"} <= {key for key, _ in scope["headers"]}:
        raise RefusedError(400, "a body has a Content-Length or a Transfer-Encoding, not both")


async def _require_no_body(scope: Scope, receive: Receive) -> Receive:
    """Let in a request of which nothing but its path matters.

    Returns:
        What hands it on.

    Raises:
        RefusedError: It is no such request.
    """
    if scope["method"] not in {"GET", "HEAD"}:
        raise RefusedError(405, "this is only read", allow="GET, HEAD")
    if any(key == b"transfer-encoding" for key, _ in scope["headers"]):
        raise _too_long(0)
    return await _read_body(_check_length(scope, 0), receive)


def _unauthorised() -> RefusedError:
    return RefusedError(
        401, "a user and a password are needed", www_authenticate='Basic realm="dtsinn"'
    )


def _check_length(scope: Scope, limit: int) -> int:
    """Return the limit, for a request that does not say that it is longer.

    Raises:
        RefusedError: It says so.
    """
    lengths = [value for key, value in scope["headers"] if key == b"content-length"]
    if any(not value.isdigit() or len(value) > 18 or int(value) > limit for value in lengths):
        raise _too_long(limit)
    return limit


def _too_long(limit: int) -> RefusedError:
    return RefusedError(413, f"more than {limit // 2**20} MiB" if limit else "a body, not needed")


async def _read_body(limit: int, receive: Receive) -> Receive:
    """Read a body whole.

    Returns:
        What hands it on.

    Raises:
        RefusedError: It is longer than it may be, or does not come to its end.
    """
    parts, length, more = [], 0, True
    try:
        async with asyncio.timeout(PATIENCE_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "it did not come to its end")
                parts.append(message.get("body", b""))
                length += len(parts[-1])
                more = message.get("more_body", False)
                if length > limit:
                    raise _too_long(limit)
    except TimeoutError:
        raise RefusedError(408, f"it did not come to its end in {PATIENCE_s:g} s") from None
    read = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def replay() -> Scope:
        return read.pop() if read else await receive()

    return replay


def _bound_body(limit: int, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Pass a body on as it comes, and break it off where it is too long or pauses."""
    length, more = 0, True
    broken: list[RefusedError] = []

    async def receive_bounded() -> Scope:
        nonlocal length, more
        try:
            async with asyncio.timeout(PATIENCE_s if more else None):
                message = await receive()
        except TimeoutError:
            broken.append(RefusedError(408, f"nothing came for {PATIENCE_s:g} s"))
            return {"type": "http.disconnect"}
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
        if length > limit:
            broken.append(_too_long(limit))
            return {"type": "http.disconnect"}
        return message

    async def send_status(message: Scope) -> None:
        if broken and message["type"] == "http.response.start":
            message = {**message, "status": broken[0].status}
        await send(message)

    return receive_bounded, send_status


async def _answer(refusal: RefusedError, scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    code = _CODES.get(refusal.status, "BAD_REQUEST")
    body = {"error_code": code, "message": refusal.message}
    headers = {"content-type": "application/json", "connection": "close", **refusal.headers}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
