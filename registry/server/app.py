"""MLflow's application as dtsinn serves it: without what is for its owner alone, and not for ever.

It is imported in the server's process alone: ``mlflow server --app-name`` takes it from an entry
point, which :func:`.serving.publish_apps` makes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from flask import request
from mlflow.exceptions import MlflowException
from mlflow.protos.model_registry_pb2 import CreateModelVersion
from mlflow.protos.service_pb2 import CreateExperiment
from mlflow.server import app as flask
from mlflow.server import handlers
from mlflow.server.constants import ARTIFACTS_DESTINATION_ENV_VAR
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from dtsinn.registry.server.confinement import confine, is_below
from dtsinn.registry.server.guard import PAGE, SERVED, App, Guard
from dtsinn.registry.server.owners import Owners

if TYPE_CHECKING:
    from fastapi import FastAPI

SOURCES = "mlflow-artifacts:", "models:", "runs:", "placeholder:"
"""Where the files of a version may be said to lie: in the server's own artifacts, or at what names
something there; the last stands for none."""
KEPT_s = 28 * 24 * 3600
"""How long a browser keeps the page's scripts, as MLflow says it."""
HEADERS_s = 20.0
"""How long the headers of a request may come in (nginx gives 60 s)."""


class PatientProtocol(H11Protocol):
    """Closes a connection on which a request does not come to an end of its headers.

    uvicorn itself waits for ever. ``h11`` bounds the headers' size, to 16 KiB here; uvicorn's
    other protocols do not.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEADERS_s, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def make_open_app() -> App:
    """Make the application that asks nobody for a password."""
    from mlflow.server.fastapi_app import app

    return _close_app(app, None)


def make_guarded_app() -> App:
    """Make the application that asks for a password, as MLflow's ``basic-auth`` does."""
    from mlflow.server import auth  # reads its settings on import, and opens its database

    app, owners = auth.create_app(), Owners(auth.store.engine)
    owners.guard(flask)
    return _close_app(app, owners)


def _close_app(app: FastAPI, owners: Owners | None) -> App:
    """Close all of MLflow's application that is not served."""
    app.router.routes.insert(
        0, Mount("/static-files", _Scripts(directory=str(flask.static_folder)))
    )
    threading.Thread(target=_end_with_parent, daemon=True).start()
    flask.before_request(_refuse_locations)  # after MLflow's own, which asks for the password
    if not handlers._is_serving_proxied_artifacts():  # type: ignore[no-untyped-call]
        return Guard(app, owners, PAGE)
    confine(os.environ[ARTIFACTS_DESTINATION_ENV_VAR])
    return Guard(app, owners, SERVED)


class _Scripts(StaticFiles):
    """The page's scripts and styles, which a browser keeps: their names change with them.

    MLflow hands them through a thread in pieces of 8 KiB, and the largest has 4 MB.
    """

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = f"max-age={KEPT_s}"
        return response


def _end_with_parent() -> None:
    """End MLflow's processes once nobody holds their standard input: its parent was killed."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _refuse_locations() -> tuple[dict[str, str], int] | None:
    """Refuse experiments and versions whose files would be kept wherever the client says.

    Nothing outside is opened in any case (:func:`confine`): this answers whoever asks at once.
    """
    reason = ""
    read: Any = handlers._get_request_message
    is_serving: Any = handlers._is_serving_proxied_artifacts
    try:  # as MLflow reads it, which knows each field by two names
        if request.endpoint == "_create_experiment":
            if read(CreateExperiment()).artifact_location:
                reason = "an experiment takes no artifact_location"
        elif request.endpoint == "_create_model_version" and is_serving():
            source = read(CreateModelVersion()).source
            if not any(is_below(source, kind) for kind in SOURCES):
                reason = f"a version's source begins with one of {' '.join(SOURCES)}"
    except MlflowException:
        return None  # and says so itself
    if not reason:
        return None
    message = f"where files are kept is the server's matter: {reason}"
    return {"error_code": "INVALID_PARAMETER_VALUE", "message": message}, 400
