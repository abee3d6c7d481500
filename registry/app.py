"""MLflow's application as dtsinn serves it: without what is for its owner alone, and not for ever.

``mlflow server --app-name`` takes it from an entry point, which :func:`announced` makes.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.routing import Mount

OPEN, GUARDED = "dtsinn", "dtsinn-auth"
"""Names of the application, for everybody and for who has a password."""

ASSISTANT = "/ajax-api/3.0/mlflow/assistant"
"""Beginning of the paths of MLflow's assistant.

It runs commands with the rights and the environment of the server for whoever seems to be on the
same machine: with a password every client behind a proxy there, and without one every account.
"""

KEPT_s = 28 * 24 * 3600
"""How long a browser keeps the page's scripts, as MLflow tells it."""

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Scope]]
_Send = Callable[[_Scope], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


@contextmanager
def announced() -> Iterator[dict[str, str]]:
    """Settings with which a child finds the applications by their names, while it starts.

    The installation's own entry points would do, but are as old as the installation.
    """
    with tempfile.TemporaryDirectory(prefix="dtsinn-app-") as folder:
        info = Path(folder) / "dtsinn_app-0.dist-info"
        info.mkdir()
        text = f"[mlflow.app]\n{OPEN} = {__name__}:for_all\n{GUARDED} = {__name__}:with_passwords\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        paths = (os.environ.get("PYTHONPATH", ""), folder)
        yield {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def for_all() -> _App:
    """The application that asks nobody for a password."""
    from mlflow.server.fastapi_app import app

    return _closed(app)


def with_passwords() -> _App:
    """The application that asks for one, as MLflow's ``basic-auth`` does."""
    from mlflow.server.auth import create_app

    return _closed(create_app())


def _closed(app: FastAPI) -> _App:
    from mlflow.server import app as flask

    app.router.routes.insert(0, _scripts())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    flask.before_request(_refuse_places)  # after MLflow's own, which asks for the password

    async def closed(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(ASSISTANT):
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"dtsinn serves no assistant"})

    return closed


def _scripts() -> Mount:
    """The page's scripts and styles, which a browser keeps: their names change with them.

    MLflow hands them through a thread in pieces of 8 KiB, and the largest has 4 MB.
    """
    from mlflow.server import app as flask
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    class Kept(StaticFiles):
        async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
            response = await super().get_response(path, scope)
            response.headers["Cache-Control"] = f"max-age={KEPT_s}"
            return response

    return Mount("/static-files", Kept(directory=str(flask.static_folder)))


def _end_with_parent() -> None:
    """End MLflow's processes once nobody holds their standard input: its parent was killed."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _refuse_places() -> tuple[dict[str, str], int] | None:
    """Refuse experiments whose files the server would keep wherever the client says."""
    from flask import request
    from mlflow.exceptions import MlflowException
    from mlflow.protos.service_pb2 import CreateExperiment
    from mlflow.server.handlers import _get_request_message

    if not request.path.endswith("/mlflow/experiments/create"):
        return None
    try:  # as MLflow reads it, which knows each field by two names
        asked = _get_request_message(CreateExperiment())  # type: ignore[no-untyped-call]
    except MlflowException:
        return None  # and says so itself
    if not asked.artifact_location:
        return None
    told = "where files are kept is the server's matter: an experiment takes no artifact_location"
    return {"error_code": "INVALID_PARAMETER_VALUE", "message": told}, 400
