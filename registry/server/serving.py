"""MLflow's server as a child: started, waited for, and ended whole.

Shared by the page of a workspace (:mod:`.ui`) and the server of a team
(:mod:`.server`). What is secret goes to the child through its environment: anybody
on the machine can read a command line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dtsinn.core.causes import without_passwords
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.telemetry import TELEMETRY_OFF
from dtsinn.registry.tracking.environment import SAFE

START_LIMIT_s = 120
STOP_LIMIT_s = 10
POLL_s = 0.1

APP = "dtsinn.registry.server.app"
"""Module of what MLflow's process alone loads: the applications, and uvicorn's protocol."""
OPEN, GUARDED = "dtsinn", "dtsinn-auth"
"""Names of the application, for everybody and for who has a password."""

_KEPT = ("MLFLOW_S3_", "MLFLOW_BOTO_", "MLFLOW_SQLALCHEMYSTORE_")
"""Beginnings of those settings of MLflow that the caller's environment may make for a server."""

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

direct_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks servers of this machine, whatever proxy the environment names."""


@dataclass(frozen=True)
class ServerProcess:
    """A running server."""

    what: str
    """Its name in messages: the page, the server."""
    url: str
    """Where this machine reaches it."""
    process: subprocess.Popen[bytes]
    log: Path | None
    """What MLflow wrote; None where that went to standard error."""

    def run(self) -> None:
        """Wait for its end.

        Raises:
            RunError: It ended; whoever ends it does so by a signal, which comes first.
        """
        status = self.process.wait()
        raise RunError(f"{self.what} ended by itself", got=self.last_line() or f"status {status}")

    def stop(self) -> None:
        """End it with all its processes; ending it twice is no fault."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT_s)
                if not _group_lives(self.process.pid):
                    break
        if self.process.stdin:
            self.process.stdin.close()

    def last_line(self) -> str:
        """The end of the log, without what is secret in it."""
        if self.log is None:
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return without_passwords(lines[-1])[:300] if lines else ""


@contextlib.contextmanager
def publish_apps() -> Iterator[dict[str, str]]:
    """Settings with which a child finds the applications by their names, while it starts.

    The installation's own entry points would do, but are as old as the installation.
    """
    with tempfile.TemporaryDirectory(prefix="dtsinn-app-") as folder:
        info = Path(folder) / "dtsinn_app-0.dist-info"
        info.mkdir()
        text = f"[mlflow.app]\n{OPEN} = {APP}:make_open_app\n{GUARDED} = {APP}:make_guarded_app\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        paths = (os.environ.get("PYTHONPATH", ""), folder)
        yield {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def start(
    what: str,
    host: str,
    port: int,
    options: Sequence[str],
    secrets: Mapping[str, str],
    log: Path | None = None,
    proxy: str = "",
) -> ServerProcess:
    """Start ``mlflow server`` in processes of its own and wait until it answers.

    Args:
        what: Its name in messages.
        host: Address that it listens on.
        port: A port that is free.
        options: Further words of the command line.
        secrets: Further settings, for its environment.
        log: Where MLflow's words go; None: to standard error.
        proxy: Address or network whose ``X-Forwarded-For`` is believed; empty: nobody's.

    Raises:
        RunError: MLflow did not start; nothing of it is left.
    """
    places = ["--host", host, "--port", str(port), "--workers", "1", "--x-frame-options", "DENY"]
    believed = f"--forwarded-allow-ips {proxy}" if proxy else "--no-proxy-headers"
    places += ["--uvicorn-opts", f"--http {APP}:PatientProtocol {believed}"]
    served = None
    try:
        with publish_apps() as found, contextlib.ExitStack() as stack:
            out = stack.enter_context(log.open("wb")) if log else 2  # standard error's descriptor
            with _delay_signals():  # or one would lose the child that it made
                process = subprocess.Popen(  # noqa: S603 (our own interpreter and arguments)
                    [sys.executable, "-m", "mlflow", "server", *places, *options],
                    stdin=subprocess.PIPE,  # closed when this process is gone, also by SIGKILL
                    stdout=out,
                    stderr=out,
                    env={**_environment(), **found, **secrets},
                    start_new_session=True,  # so that it ends as a whole group
                )
                served = ServerProcess(what, url_of(reachable_host(host), port), process, log)
            _wait_until_up(served)
    except BaseException:
        if served:
            served.stop()
        raise
    return served


@contextlib.contextmanager
def _delay_signals() -> Iterator[None]:
    """Signals that come inside the block are handled after it; in the main thread, as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signs = [sign for sign in _ENDS if callable(signal.getsignal(sign))]
    try:
        with _handle_signals(signs, lambda number, frame: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def end_on_signal() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block, as a good end; further ones wait."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for sign in signs:  # what tidies up is not interrupted
            signal.signal(sign, signal.SIG_IGN)
        raise KeyboardInterrupt

    signs = [sign for sign in _ENDS if signal.getsignal(sign) is not signal.SIG_IGN]
    with contextlib.suppress(KeyboardInterrupt), _handle_signals(signs, interrupt):
        yield


@contextlib.contextmanager
def _handle_signals(
    signs: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Let ``handler`` take signals inside the block, and the former handlers after it."""
    before = {sign: signal.signal(sign, handler) for sign in signs}
    try:
        yield
    finally:
        for sign, former in before.items():
            signal.signal(sign, former)


def find_port(host: str, port: int) -> int:
    """Find a port: the one asked for, or a free one for 0.

    Raises:
        InputError: The address is not this machine's, or the port is in use.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address[0], port, *address[2:]))
            free: int = probe.getsockname()[1]
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} cannot be used on {host}",
            got=getattr(error, "strerror", error),
            hint="--port 0",
        ) from None
    return free


def reachable_host(host: str) -> str:
    """Address under which this machine reaches what listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared only)


def url_of(host: str, port: int) -> str:
    """Address of a server."""
    return f"http://{authority(host, port)}"


def authority(host: str, port: int) -> str:
    """Host and port as a URL and a ``Host`` header carry them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wait_until_up(served: ServerProcess) -> None:
    deadline = time.monotonic() + START_LIMIT_s
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            got = served.last_line() or f"status {served.process.returncode}"
            raise RunError(f"{served.what} did not start", got=got)
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            direct_opener.open(f"{served.url}/health", timeout=5) as answer,
        ):
            if answer.status == 200:
                return
        time.sleep(POLL_s)
    raise RunError(f"{served.what} did not start", got=f"no answer in {START_LIMIT_s} s")


def _environment() -> dict[str, str]:
    """The caller's environment, without settings and secrets that are not for this server."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key.startswith(_KEPT) or not key.startswith(("MLFLOW_", "_MLFLOW_", "DTSINN_"))
    }
    ours = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",  # asks others, with keys that members may leave there
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }
    return kept | TELEMETRY_OFF | SAFE | ours


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
