"""Who made a run or a logged model, as the server saw it: only they, and admins, change it.

What a run says of its user is what its client wrote. So the server itself notes who is logged in
when one is made, in a table beside MLflow's own, which no request can write to.
"""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, request
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as asked
from mlflow.server import handlers
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.utils.uri import validate_path_is_safe
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, select
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from mlflow.server.auth.entities import User

SHARED = "gate"
"""Folder of a run to which everybody may add files, and only the owner overwrites them: reports
of the gate, by whoever promotes."""

_BEGINNING = "beginning"
"""Stands in the place of an id in the row that says since when owners are noted."""
_MADE = {"_create_run": ("run", "run_id"), "_create_logged_model": ("model", "model_id")}
"""MLflow's handler -> where its answer holds the id of what it made."""
_PLACE = re.compile(
    r"\d+/(?:models/(?P<model>m-[0-9a-f]{32})|(?P<run>[0-9a-f]{32}))/artifacts/(?P<file>.+)"
)
_MANAGED = {"_update_experiment", "_delete_experiment", "_rename_registered_model"}
"""MLflow's handlers that rename or delete what others may be at work in."""
DENIED = "Permission denied: only who made it, or an admin, may change it"


class Owners:
    """The table of owners.

    Args:
        engine: Of the database in which the users are.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._table = Table(
            "dtsinn_owners",
            MetaData(),
            Column("thing", String(64), primary_key=True),  # id of a run or logged model
            Column("owner", Integer, nullable=False),  # id of a user, which is given once
        )
        self._table.metadata.create_all(engine)
        asked = self._table.select().where(self._table.c.thing == _BEGINNING)
        with engine.begin() as connection:
            if connection.execute(asked).first() is None:
                now = int(time.time())  # s since 1970; the column holds it until 2038
                connection.execute(self._table.insert().values(thing=_BEGINNING, owner=now))
            self._since = connection.execute(asked).one().owner

    def record(self, thing: str, user: User) -> None:
        """Note who made a thing."""
        with self._engine.begin() as connection:
            connection.execute(self._table.insert().values(thing=thing, owner=user.id))

    def may_change(self, thing: str, user: User) -> bool:
        """Whether a user made a thing, or is an admin.

        Of what was begun before this table nobody knows who did: while it is unfinished everybody
        may go on with it, and admins alone once it has ended. Admins alone change what is younger
        and has no owner.
        """
        if user.is_admin:
            return True
        asked = self._table.select().where(self._table.c.thing == thing)
        with self._engine.connect() as connection:
            found = connection.execute(asked).first()
        if found is None:
            return bool(0 < _unfinished_since(thing) < 1000 * self._since)
        return bool(found.owner == user.id)

    def may_write(self, path: str, user: User) -> bool:
        """Whether a user may put or delete a file.

        Args:
            path: Below the artifact root, as it stands in the request.
            user: Who asks.
        """
        if user.is_admin:
            return True
        try:  # as MLflow will read it, which unquotes it once more
            plain = posixpath.normpath(validate_path_is_safe(path))  # type: ignore[no-untyped-call]
        except MlflowException:
            return False
        place = _PLACE.fullmatch(plain)
        if place is None:
            return False
        thing: str = place["run"] or place["model"]
        if self.may_change(thing, user):
            return True
        in_shared = bool(place["run"]) and place["file"].startswith(f"{SHARED}/")
        return in_shared and _is_new(plain)

    def guard(self, flask: Flask) -> None:
        """Let MLflow's Flask application ask before it changes a thing, and note who made one."""
        from mlflow.server import auth

        self._changed_ids = _map_handlers()
        # To MLflow a run is its experiment's: who made that could delete it, who made it could not.
        for table, deletes, updates in (
            (
                auth.BEFORE_REQUEST_VALIDATORS,
                auth.validate_can_delete_run,
                auth.validate_can_update_run,
            ),
            (
                auth.LOGGED_MODEL_BEFORE_REQUEST_VALIDATORS,
                auth.validate_can_delete_logged_model,
                auth.validate_can_update_logged_model,
            ),
        ):
            table |= {key: updates for key, asks in table.items() if asks is deletes}
        flask.before_request(self._refuse)
        flask.after_request(self._note_owner)

    def _refuse(self) -> tuple[dict[str, str], int] | None:
        user, handler = _find_user(), request.endpoint or ""
        if user is None or user.is_admin:
            return None
        try:
            if handler in self._changed_ids:
                allowed = all(
                    self.may_change(one, user) for one in self._changed_ids[handler]() if one
                )
            else:
                allowed = handler not in _MANAGED or self._may_manage(handler, user)
        except MlflowException:  # MLflow reads the request alike, and says what is wrong with it
            return None
        return None if allowed else ({"error_code": "PERMISSION_DENIED", "message": DENIED}, 403)

    def _may_manage(self, handler: str, user: User) -> bool:
        """Whether a user made the experiment or model that a request would rename or delete."""
        from mlflow.server import auth

        if handler == "_rename_registered_model":
            return bool(auth._validate_can_manage_registered_model_or_prompt())  # type: ignore[no-untyped-call]
        if handler == "_delete_experiment":
            mine = select(self._table.c.thing).where(self._table.c.owner == user.id)
            experiment = int(auth._get_int_request_param("experiment_id"))
            others: Any = select(SqlRun.run_uuid).where(SqlRun.experiment_id == experiment)
            with self._engine.connect() as connection:
                if connection.execute(others.where(SqlRun.run_uuid.not_in(mine)).limit(1)).first():
                    return False
        return bool(auth.validate_can_manage_experiment())  # type: ignore[no-untyped-call]

    def _note_owner(self, response: Response) -> Response:
        keys = _MADE.get(request.endpoint or "")
        user = _find_user() if keys and response.status_code == 200 else None
        if keys and user is not None:
            kind, key = keys
            thing = response.get_json()[kind]["info"][key]
            try:
                self.record(thing, user)
            except SQLAlchemyError:
                return _undo_creation(thing)
        return response


def _undo_creation(thing: str) -> Response:
    """Delete what nobody is known to have made, and say so."""
    store: Any = handlers._get_tracking_store()
    with suppress(MlflowException, SQLAlchemyError):  # then it is left to the admins
        (store.delete_logged_model if thing.startswith("m-") else store.delete_run)(thing)
    message = "it could not be noted who made this, so it was not made; try again"
    answer = jsonify(error_code="INTERNAL_ERROR", message=message)
    answer.status_code = 500
    return answer


def _find_user() -> User | None:
    """Find who asks, from what MLflow remembers of those that it let in."""
    from mlflow.server import auth

    given = request.authorization
    if given is None or given.username is None or given.password is None:
        return None
    return auth._authenticate_cached(given.username, given.password)


def _map_handlers() -> dict[str, Callable[[], list[str]]]:
    """Map a handler of MLflow's to what reads the ids of the runs and models that it would change.

    A handler has one name, however many paths lead to it, and reads its request by the message
    that is read here.
    """

    def read_body(message: Any) -> list[str]:
        read: Any = handlers._get_request_message(message())  # type: ignore[no-untyped-call]
        return [
            getattr(read, "run_id", "") or getattr(read, "run_uuid", ""),
            getattr(read, "source_run_id", ""),
            getattr(read, "model_id", ""),
            *(metric.model_id for metric in getattr(read, "metrics", ())),
        ]

    def read_path() -> list[str]:
        return [(request.view_args or {}).get("model_id", "")]

    messages = (
        asked.UpdateRun,
        asked.DeleteRun,
        asked.RestoreRun,
        asked.LogMetric,
        asked.LogBatch,
        asked.LogParam,
        asked.SetTag,
        asked.DeleteTag,
        asked.LogInputs,
        asked.LogOutputs,
        asked.LogModel,
        asked.CreateLoggedModel,
    )
    models = (
        asked.FinalizeLoggedModel,
        asked.DeleteLoggedModel,
        asked.SetLoggedModelTags,
        asked.DeleteLoggedModelTag,
        asked.LogLoggedModelParamsRequest,
    )
    found: dict[str, Callable[[], list[str]]] = {
        handlers.HANDLERS[message].__name__: partial(read_body, message) for message in messages
    }
    found |= {handlers.HANDLERS[message].__name__: read_path for message in models}
    return found | {"serve_upload_artifact": lambda: [request.args.get("run_uuid", "")]}


def _unfinished_since(thing: str) -> int:
    """When a run or logged model was begun, in ms since 1970; 0 where it has ended or is none."""
    store: Any = handlers._get_tracking_store()
    try:
        if thing.startswith("m-"):
            model = store.get_logged_model(thing)
            return model.creation_timestamp if model.status == LoggedModelStatus.PENDING else 0
        run = store.get_run(thing).info
        return (run.start_time or 0) if run.status == "RUNNING" else 0
    except MlflowException:
        return 0


def _is_new(path: str) -> bool:
    """Whether no file of this path is kept yet."""
    repository: Any = handlers._get_artifact_repo_mlflow_artifacts()  # type: ignore[no-untyped-call]
    listed = repository.list_artifacts(posixpath.dirname(path))
    return all(one.path != path for one in listed)
