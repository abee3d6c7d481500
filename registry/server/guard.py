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
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from dtsinn.registry.server.confinement import CONTROL, normalised
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
"""Bytes of an artifact, which goes to disk or bucket as it comes (uncited)."""
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
"""Of the paths that are not served those that have an answer of their own. MLflow's client takes a
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

    def __init__(self, status: int, told: str, **headers: str) -> None:
        super().__init__(told)
        self.status, self.told = status, told
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


class Guard:
    """Lets through to MLflow what a member may ask.

    Args:
        app: MLflow's application.
        owners: Of runs and models; None where nobody is asked for a password.
        served: Paths that are served.
    """

    def __init__(self, app: App, owners: Owners | None, served: re.Pattern[str]) -> None:
        self._app, self._owners, self._served = app, owners, served
        self._logins = Logins()
        self._nobodys = _hash() if owners else ""
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
                    receive = await _bodiless(scope, receive)
                else:
                    receive, send = await self._checked(scope, receive, send, held)
            except RefusedError as refusal:
                await _answer(refusal, scope, send)
                return
            await self._app(scope, receive, send)

    async def _checked(
        self, scope: Scope, receive: Receive, send: Send, held: AsyncExitStack
    ) -> tuple[Receive, Send]:
        """Let a request in; its body is read by then, or bounded while it comes.

        Args:
            scope: Of the request.
            receive: Hands its body.
            send: Takes the answer.
            held: Is left once it is answered.

        Raises:
            RefusedError: It is not let in.
        """
        user = await self._user(scope) if self._owners else None
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
                turn = self._writing.setdefault(normalised(file[1]), asyncio.Lock())
                await held.enter_async_context(turn)
                await asyncio.to_thread(_require_owner, self._owners, user, file[1])
            if scope["method"] == "PUT":
                return _bounded(_required_length(scope, FILE_LIMIT), receive, send)
        return await _read(_required_length(scope, BODY_LIMIT), receive), send

    async def _user(self, scope: Scope) -> User:
        """Who sends a request.

        Raises:
            RefusedError: Without a right password; or after too many wrong ones.
        """
        from mlflow.server import auth

        name, password = _credentials(scope)
        key = auth._auth_cache_key(name, password)
        address = scope["client"][0] if scope.get("client") else ""

        cache: Any = auth._USER_AUTH_CACHE

        def known() -> User | None:
            with auth._USER_AUTH_CACHE_LOCK:
                user: User | None = cache.get(key)
                return user

        if user := known():
            return user
        async with self._one_at_a_time:
            if user := known():  # somebody waited before
                return user
            if self._logins.is_refuted(name, address, password):
                raise _nobody()
            if wait := self._logins.wait(name, address, password):
                told = f"too many wrong passwords; try again in {wait} s"
                raise RefusedError(429, told, retry_after=str(wait))
            user = await asyncio.to_thread(_verify, name, password, self._nobodys)
            self._logins.note(name, address, password, right=user is not None)
        if user is None:
            raise _nobody()
        return user


def _require_owner(owners: Owners, user: User, path: str) -> None:
    if not owners.may_write(path, user):
        told = "only who made a run, or an admin, may write its files"
        raise RefusedError(403, f"Permission denied: {told}")


def _verify(name: str, password: str, nobodys: str) -> User | None:
    """The user of this name and password; nobody in the same time where there is no such name.

    Args:
        name: Of the user.
        password: As it was given.
        nobodys: Hash of a password that nobody has.
    """
    from mlflow.server import auth
    from werkzeug.security import check_password_hash

    user = auth._authenticate_cached(name, password)
    if user is None and not auth.store.has_user(name):
        check_password_hash(nobodys, password)
    return user


def _hash() -> str:
    """A hash as MLflow makes them, of a password that nobody has."""
    from werkzeug.security import generate_password_hash

    return generate_password_hash(secrets.token_hex())


def _credentials(scope: Scope) -> tuple[str, str]:
    """Name and password of a request.

    Raises:
        RefusedError: There are none, or they are no text that anybody can have.
    """
    given = [value for key, value in scope["headers"] if key == b"authorization"]
    kind, _, coded = (given[0] if len(given) == 1 else b"").partition(b" ")
    try:
        text = base64.b64decode(coded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise _nobody() from None
    name, found, password = text.partition(":")
    unsendable = set("\0\r\n") & set(text)  # MLflow takes a password with any other character
    if kind.lower() != b"basic" or not found or len(name) > NAME_LENGTH or unsendable:
        raise _nobody()
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


async def _bodiless(scope: Scope, receive: Receive) -> Receive:
    """What hands on a request of which nothing but its path matters.

    Raises:
        RefusedError: It is no such request.
    """
    if scope["method"] not in {"GET", "HEAD"}:
        raise RefusedError(405, "this is only read", allow="GET, HEAD")
    if any(key == b"transfer-encoding" for key, _ in scope["headers"]):
        raise _too_long(0)
    return await _read(_required_length(scope, 0), receive)


def _nobody() -> RefusedError:
    return RefusedError(
        401, "a user and a password are needed", www_authenticate='Basic realm="dtsinn"'
    )


def _required_length(scope: Scope, limit: int) -> int:
    """The limit, for a request that does not say that it is longer.

    Raises:
        RefusedError: It says so.
    """
    told = [value for key, value in scope["headers"] if key == b"content-length"]
    if any(not value.isdigit() or len(value) > 18 or int(value) > limit for value in told):
        raise _too_long(limit)
    return limit


def _too_long(limit: int) -> RefusedError:
    return RefusedError(413, f"more than {limit // 2**20} MiB" if limit else "a body, not needed")


async def _read(limit: int, receive: Receive) -> Receive:
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

    async def handed() -> Scope:
        return read.pop() if read else await receive()

    return handed


def _bounded(limit: int, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """A body that is passed on as it comes, and broken off where it is too long or pauses."""
    length, more = 0, True
    broken: list[RefusedError] = []

    async def received() -> Scope:
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

    async def sent(message: Scope) -> None:
        if broken and message["type"] == "http.response.start":
            message = {**message, "status": broken[0].status}
        await send(message)

    return received, sent


async def _answer(refusal: RefusedError, scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    code = _CODES.get(refusal.status, "BAD_REQUEST")
    told = {"error_code": code, "message": refusal.told}
    headers = {"content-type": "application/json", "connection": "close", **refusal.headers}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
