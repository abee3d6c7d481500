"""How MLflow behaves inside dtsinn: no telemetry, no pickles, no chatter, short waits."""

from __future__ import annotations

import logging
import os
import sys

from dtsinn.core.telemetry import switch_telemetry_off

SAFE = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
"""A model that is a pickle runs its author's code on load (MLflow's default allows it)."""

QUIET = {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # errors come as exceptions; their log is a traceback
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What MLflow tells of itself is not what the user asked for."""

PLAIN = {
    "MLFLOW_UV_AUTO_DETECT": "false",  # would copy the caller's uv.lock into the model
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # default 7: minutes until an outage is told
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""No guesses from the surroundings, and an answer within a minute."""


def apply() -> None:
    """Set what the user has not set, end telemetry, and quieten loggers that exist already."""
    switch_telemetry_off()
    _end_telemetry()
    for key, value in (SAFE | QUIET | PLAIN).items():
        os.environ.setdefault(key, value)
    level = os.environ["MLFLOW_LOGGING_LEVEL"].upper()
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(level)


def _end_telemetry() -> None:
    """End the telemetry of an MLflow that was imported first, as a user's own script does."""
    if "mlflow.telemetry" not in sys.modules:
        return
    from mlflow.telemetry import get_telemetry_client, set_telemetry_client

    begun = get_telemetry_client()
    set_telemetry_client()  # type: ignore[no-untyped-call]
    if begun is not None:
        begun.flush(terminate=True)
