"""The MLflow page of a workspace, on this machine only.

The address is 127.0.0.1, other ``Host`` headers are refused (a page in the user's browser could
otherwise reach it through DNS rebinding), MLflow's job API is off and nothing is sent anywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.embedded import embedded_uri, require_workspace
from dtsinn.registry.environment import SAFE, TELEMETRY_OFF
from dtsinn.registry.names import without_secrets
from dtsinn.registry.tracking import UI_PORT, connect

HOST = "127.0.0.1"
START_LIMIT_s = 120
STOP_LIMIT_s = 10
POLL_s = 0.1


@dataclass(frozen=True)
class UiServer:
    """A running page."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    """What MLflow told."""

    def wait(self) -> int:
        """Until it ends; its exit status."""
        return self.process.wait()

    def stop(self) -> None:
        """End it with all its processes; ending it twice is no fault."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT_s)
                if not _group_lives(self.process.pid):
                    return


def ui(
    workspace: Workspace,
    port: int = UI_PORT,
    *,
    announce: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Show the workspace until Ctrl-C or SIGTERM.

    Args:
        workspace: What is shown; it must exist.
        port: 0 takes a free one.
        announce: Told the page's address once it answers.
        open_browser: Open the page in the user's browser.

    Raises:
        InputError: No workspace, a port in use, or the runs are on a server already.
        RunError: MLflow did not start, or ended by itself.
    """
    try:
        with _ended_by_signals():
            server = start_ui(workspace, port)
            try:
                announce(server.url)
                if open_browser:
                    webbrowser.open(server.url)
                status = server.wait()
            finally:
                server.stop()
    except KeyboardInterrupt:  # also while it starts
        return
    raise RunError("the page ended by itself", got=_last_line(server.log) or f"status {status}")


def start_ui(workspace: Workspace, port: int = 0) -> UiServer:
    """Start the page in processes of its own and wait until it answers.

    Raises:
        InputError: No workspace, a port in use, or the runs are on a server already.
        RunError: MLflow did not start.
    """
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI", "")
    if elsewhere.startswith(("http:", "https:")):
        url = without_secrets("uri", elsewhere)
        raise InputError("MLFLOW_TRACKING_URI names a server that has its own page", hint=url)
    if elsewhere:
        raise InputError(
            "MLFLOW_TRACKING_URI is set, and this page shows the workspace's own runs",
            hint="unset MLFLOW_TRACKING_URI",
        )
    require_workspace(workspace)
    connect(workspace)  # an outdated database says so in one line
    port = _free_port(port)
    log = workspace.root / "ui.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and arguments)
            _command(workspace, port),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # so that it ends as a whole group
        )
    server = UiServer(f"http://{HOST}:{port}", process, log)
    try:
        _wait_until_up(server)
    except BaseException:
        server.stop()
        raise
    return server


def _command(workspace: Workspace, port: int) -> list[str]:
    options = {
        "--backend-store-uri": embedded_uri(workspace),
        "--default-artifact-root": workspace.artifacts.absolute().as_uri(),
        "--host": HOST,
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": f"localhost:{port},{HOST}:{port}",
        "--x-frame-options": "DENY",
    }
    pairs = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "mlflow", "server", *pairs, "--no-serve-artifacts"]


def _environment() -> dict[str, str]:
    """The caller's environment without MLflow settings of its own that would widen access."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MLFLOW_SERVER_", "MLFLOW_TRACKING_", "_MLFLOW_"))
    }
    return kept | TELEMETRY_OFF | SAFE | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} cannot be used",
                got=getattr(error, "strerror", error),
                hint="--port 0",
            ) from None
        free: int = probe.getsockname()[1]
        return free


def _wait_until_up(server: UiServer) -> None:
    deadline = time.monotonic() + START_LIMIT_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RunError("the page did not start", got=_last_line(server.log))
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"{server.url}/health", timeout=5) as answer,  # noqa: S310
        ):
            if answer.status == 200:
                return
        time.sleep(POLL_s)
    raise RunError("the page did not start", got=f"no answer in {START_LIMIT_s} s")


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the page as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
