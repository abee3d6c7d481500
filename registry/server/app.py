"""MLflow's application as dtsinn serves it: without what is for its owner alone, and not for ever.

``mlflow server --app-name`` takes it from an entry point, which :func:`announced` makes.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtsinn.registry.server.confinement import confine, is_below
from dtsinn.registry.server.guard import PAGE, SERVED, App, Guard
from dtsinn.registry.server.owners import Owners

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.routing import Mount

OPEN, GUARDED = "dtsinn", "dtsinn-auth"
"""Names of the application, for everybody and for who has a password."""

SOURCES = "mlflow-artifacts:", "models:", "runs:", "placeholder:"
"""Where the files of a version may be said to lie: in the server's own artifacts, or at what names
something there; the last stands for none."""

KEPT_s = 28 * 24 * 3600
"""How long a browser keeps the page's scripts, as MLflow tells it."""


@contextmanager
def announced() -> Iterator[dict[str, str]]:
    """Settings with which a child finds the applications by their names, while it starts.

    The installation's own entry points would do, but are as old as the installation.
    """
    with tempfile.TemporaryDirectory(prefix="dtsinn-app-") as folder:
        info = Path(folder) / "dtsinn_app-0.dist-info"
        info.mkdir()
        text = f"[mlflow.app]\n{OPEN} = {__name__}:make_open_app\n{GUARDED} = {__name__}:make_guarded_app\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        paths = (os.environ.get("PYTHONPATH", ""), folder)
        yield {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def make_open_app() -> App:
    """The application that asks nobody for a password."""
    from mlflow.server.fastapi_app import app

    return _closed(app, None)


def make_guarded_app() -> App:
    """The application that asks for one, as MLflow's ``basic-auth`` does."""
    from mlflow.server import app as flask
    from mlflow.server import auth

    app, owners = auth.create_app(), Owners(auth.store.engine)
    owners.guard(flask)
    return _closed(app, owners)


def _closed(app: FastAPI, owners: Owners | None) -> App:
    from mlflow.server import app as flask
    from mlflow.server.constants import ARTIFACTS_DESTINATION_ENV_VAR
    from mlflow.server.handlers import _is_serving_proxied_artifacts

    app.router.routes.insert(0, _scripts())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    flask.before_request(_refuse_places)  # after MLflow's own, which asks for the password
    if not _is_serving_proxied_artifacts():  # type: ignore[no-untyped-call]
        return Guard(app, owners, PAGE)
    confine(os.environ[ARTIFACTS_DESTINATION_ENV_VAR])
    return Guard(app, owners, SERVED)


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
    """Refuse experiments and versions whose files would be kept wherever the client says.

    Nothing outside is opened in any case (:func:`confine`): this tells whoever asks at once.
    """
    from flask import request
    from mlflow.exceptions import MlflowException
    from mlflow.protos.model_registry_pb2 import CreateModelVersion
    from mlflow.protos.service_pb2 import CreateExperiment
    from mlflow.server.handlers import _get_request_message, _is_serving_proxied_artifacts

    told = ""
    try:  # as MLflow reads it, which knows each field by two names
        if request.endpoint == "_create_experiment":
            asked = _get_request_message(CreateExperiment())  # type: ignore[no-untyped-call]
            if asked.artifact_location:
                told = "an experiment takes no artifact_location"
        elif request.endpoint == "_create_model_version" and _is_serving_proxied_artifacts():  # type: ignore[no-untyped-call]
            asked = _get_request_message(CreateModelVersion())  # type: ignore[no-untyped-call]
            if not any(is_below(asked.source, kind) for kind in SOURCES):
                told = f"a version's source begins with one of {' '.join(SOURCES)}"
    except MlflowException:
        return None  # and says so itself
    if not told:
        return None
    told = f"where files are kept is the server's matter: {told}"
    return {"error_code": "INVALID_PARAMETER_VALUE", "message": told}, 400
