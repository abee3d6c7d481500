"""The same registry on an MLflow server that keeps the artifacts: ``MLFLOW_TRACKING_URI``."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from dtsinn.core.workspace import Workspace
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion import promote
from dtsinn.registry.references import resolve
from dtsinn.registry.tracking import connect
from dtsinn.registry.versions import list_models

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, pristine):
    root = tmp_path / "server"
    root.mkdir()
    (root / "mlflow.db").write_bytes(pristine.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{root}/mlflow.db"]
    places += ["--artifacts-destination", str(root / "kept"), "--serve-artifacts"]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (root / "log").open("wb") as log:
        job = subprocess.Popen(
            [*command, *places], stdout=log, stderr=log, env=quiet, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 100
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    os.killpg(job.pid, signal.SIGTERM)
    job.wait(30)


@pytest.fixture
def tracker(server, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return connect(workspace)


def test_registers_promotes_and_fetches(tracker, registered, packages, store, tmp_path):
    version = registered(packages.weak)
    assert registered(packages.weak) == version
    here = Workspace(tmp_path / "another machine")
    report = promote(tracker, here, version, store, GateConfig(suite=None))
    assert report.verdict == "passed"
    for ref in ("best", f"run:{version.run_key}", f"{version.name}/1"):
        found = resolve(ref, here)
        assert found.path == here.packages / version.digest
    assert [path.name for path in here.packages.iterdir()] == [version.digest]
    assert list_models(tracker)[0].tags["gate.verdict"] == "promoted"
    assert not here.database.exists()
