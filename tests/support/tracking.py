"""A tracking server that is killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from dtsinn.core.telemetry import TELEMETRY_OFF
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import embedded_uri, make_database
from dtsinn.registry.tracking.environment import SAFE

START_LIMIT_s = 180.0
HOST = "127.0.0.1"


class TrackingServer:
    """``mlflow server`` over SQLite, on a port of its own that it keeps.

    Args:
        folder: Where database, artifacts and log are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        make_database(self.workspace)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        self.uri = f"http://{HOST}:{self.port}"
        self.process = self._start()

    def kill(self) -> None:
        """End it with all its processes, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """Start it again; it answers later."""
        self.process = self._start()

    def wait(self) -> None:
        """Until it answers.

        Raises:
            TimeoutError: It does not.
        """
        deadline = time.monotonic() + START_LIMIT_s
        while time.monotonic() < deadline:
            with (
                suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                urllib.request.urlopen(f"{self.uri}/health", timeout=5),
            ):
                return
            time.sleep(0.2)
        raise TimeoutError(f"no tracking server in {START_LIMIT_s:.0f} s")

    def _start(self) -> subprocess.Popen[bytes]:
        root = self.workspace.root
        options = {
            "--backend-store-uri": embedded_uri(self.workspace),
            "--artifacts-destination": str(self.workspace.artifacts.absolute()),
            "--host": HOST,
            "--port": str(self.port),
            "--workers": "1",
        }
        words = [word for pair in options.items() for word in pair]
        environment = dict(os.environ) | TELEMETRY_OFF | SAFE
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (root / "server.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
