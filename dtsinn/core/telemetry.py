"""Usage telemetry of the libraries below: off, in this process and in all that it starts."""

from __future__ import annotations

import os

TELEMETRY_OFF = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Nothing about the user's work leaves the machine by itself, whatever the environment says."""


def switch_telemetry_off() -> None:
    """Settle it before MLflow or Ray is imported or started: they ask the environment then."""
    os.environ.update(TELEMETRY_OFF)
