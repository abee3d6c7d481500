"""What MLflow and Ray do by themselves: nothing leaves the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.telemetry import client as mlflows
from mlflow.telemetry import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
from ray._common.usage.usage_lib import usage_stats_enabled

from dtsinn.core.telemetry import TELEMETRY_OFF, switch_telemetry_off
from dtsinn.registry.server import serving
from dtsinn.registry.tracking import environment


def consumers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "Telemetry" in thread.name]


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that asks for telemetry."""
    for name in TELEMETRY_OFF:
        monkeypatch.setenv(name, "1" if name.startswith("RAY") else "false")


def test_no_telemetry_is_sent_from_here() -> None:
    assert get_telemetry_client() is None
    assert consumers() == []


def test_telemetry_of_an_mlflow_that_was_imported_first_ends(
    wanted: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetched(client: mlflows.TelemetryClient) -> None:  # as from the network
        client.config, client._is_config_fetched = SimpleNamespace(), True

    monkeypatch.setattr(mlflows.TelemetryClient, "_fetch_config", fetched)
    monkeypatch.setenv("HOME", str(tmp_path))
    begun = mlflows.TelemetryClient()
    mlflows._set_telemetry_client(begun)
    begun.activate()
    threads = consumers()
    assert threads
    environment.apply()
    assert get_telemetry_client() is None
    assert is_telemetry_disabled()
    assert not begun.is_active
    for thread in threads:
        thread.join(timeout=30)
    assert consumers() == []


def test_what_is_started_sends_none_whatever_the_environment_says(wanted: None) -> None:
    assert usage_stats_enabled()
    started = serving._environment()
    switch_telemetry_off()
    for server in (started, os.environ):
        assert {name: server[name] for name in TELEMETRY_OFF} == TELEMETRY_OFF
    assert not usage_stats_enabled()


HEAVY = "torch", "zarr", "onnxruntime", "matplotlib", "sklearn", "mlflow.server", "mlflow.pyfunc"


def test_what_lists_and_finds_models_loads_nothing_that_it_does_not_use() -> None:
    rooms = "lineage, references, versions, tracking.trials, server.ui"
    imports = "; ".join(f"import dtsinn.registry.{room}" for room in rooms.split(", "))
    code = f"import sys; {imports}; print(*set({HEAVY!r}) & sys.modules.keys())"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
