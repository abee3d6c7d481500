"""How MLflow behaves inside dtsinn: no telemetry, no pickles, no chatter, short waits."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any
from urllib.parse import urlsplit

from dtsinn.core.causes import without_passwords
from dtsinn.core.errors import InputError
from dtsinn.core.telemetry import TELEMETRY_OFF, switch_telemetry_off

SAFE = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
"""A model that is a pickle runs its author's code on load (MLflow's default allows it)."""

QUIET = {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors come as exceptions; their log is a traceback
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What MLflow says of itself is not what the user asked for."""

PLAIN = {
    "MLFLOW_UV_AUTO_DETECT": "false",  # would copy the caller's uv.lock into the model
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # default 7: minutes until an outage is reported
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""No guesses from the surroundings, and an answer within a minute."""

SCHEMES = ("sqlite", "postgresql", "mysql", "http", "https")
"""Schemes of tracking URIs; MLflow refuses files."""


def apply() -> None:
    """Set what the user has not set, end telemetry, and quieten loggers that exist already."""
    switch_telemetry_off()
    _end_telemetry()
    for key, value in (SAFE | QUIET | PLAIN).items():
        os.environ.setdefault(key, value)
    level = logging.getLevelNamesMapping().get(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(level or logging.CRITICAL)


def check() -> None:
    """Refuse variables of MLflow that can never work, without asking anybody.

    Raises:
        InputError: ``MLFLOW_TRACKING_URI`` is no URI that can be used, ``MLFLOW_REGISTRY_URI``
            names another place, or the value of another one is none that MLflow reads.
    """
    uri, registry = (os.environ.get(f"MLFLOW_{what}_URI", "") for what in ("TRACKING", "REGISTRY"))
    if uri:
        check_uri("MLFLOW_TRACKING_URI", uri)
    if registry not in ("", uri):
        raise InputError(
            "MLFLOW_REGISTRY_URI",
            got=without_passwords(registry),
            wanted="none: models are registered where MLFLOW_TRACKING_URI says",
            hint="unset MLFLOW_REGISTRY_URI",
        )
    _check_values()


def check_uri(what: str, uri: str) -> None:
    """Refuse a URI of a kind that MLflow does not take.

    Args:
        what: Where it was given.
        uri: As it was given.

    Raises:
        InputError: It is none.
    """
    scheme, found, rest = uri.partition("://")
    kind, reason = scheme.partition("+")[0], ""
    if kind == "sqlite" and ":memory:" in rest:
        raise InputError(what, got=uri, wanted="a file, as memory is gone with each command")
    named = bool(rest.strip("/")) and (kind != "sqlite" or rest.startswith("/"))
    if kind in ("http", "https"):
        try:
            place = urlsplit(uri)
            named = bool(place.hostname) and place.port != 0 and " " not in uri
        except ValueError as error:  # a port that is no number, or half an address of IPv6
            named, reason = False, f": {error}"
    plain = uri.isprintable() and uri == uri.strip()
    if not (found and kind in (*SCHEMES, "postgres") and named and plain):
        bare = re.fullmatch(r"[\w-]+(\.[\w-]+)*:\d+/?", uri)
        hints = {"sqlite": "sqlite:////FOLDER/mlflow.db", "http": "http://HOST:PORT"}
        raise InputError(
            what,
            got=without_passwords(uri if plain else repr(uri)) + reason,
            wanted=f"a URI that begins with {', '.join(SCHEMES)}",
            hint=f"http://{uri}" if bare else hints.get(re.split("s?:", uri)[0].lower(), ""),
        )


def _check_values() -> None:
    """Refuse numbers and switches that MLflow would trip over in the middle of the work."""
    usual = TELEMETRY_OFF | SAFE | QUIET | PLAIN
    names = [name for name in sorted(os.environ) if name.startswith("MLFLOW_")]
    given = {name: os.environ[name] for name in names if os.environ[name] != usual.get(name)}
    if not given.keys() - {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"}:
        return  # MLflow takes a second to ask
    level = os.environ["MLFLOW_LOGGING_LEVEL"]
    levels = logging.getLevelNamesMapping()
    if level.upper() not in levels:
        raise InputError("MLFLOW_LOGGING_LEVEL", got=repr(level), wanted=" or ".join(levels))
    try:
        from mlflow import environment_variables as known  # which reads some itself
    except ValueError as error:
        raise InputError("a variable of MLflow", got=error) from None
    for name, value in given.items():
        variable: Any = getattr(known, name, None)
        try:
            if variable is not None:
                variable.get()
        except ValueError:
            raise InputError(name, got=repr(value), wanted=_KINDS[variable.type]) from None


_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def _end_telemetry() -> None:
    """End the telemetry of an MLflow that was imported first, as a user's own script does."""
    if "mlflow.telemetry" not in sys.modules:
        return
    from mlflow.telemetry import get_telemetry_client, set_telemetry_client

    begun = get_telemetry_client()
    set_telemetry_client()  # type: ignore[no-untyped-call]
    if begun is not None:
        begun.flush(terminate=True)
