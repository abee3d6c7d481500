"""Ray for the time of a search: started on this machine, or joined where it runs."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import InputError
from dtsinn.core.telemetry import switch_telemetry_off

log = logging.getLogger(__name__)

KNOCK_s = 10
"""Longest wait for a cluster's address to answer, s."""
STOP_s = 90
"""Longest wait for a stopped trial to end its workers and leave its process to the next, s;
Ray's own 2 s are less than workers take to end."""

SOCKET_PATH_bytes = 107
"""Longest path of a socket on Linux (unix(7), ``sun_path`` of 108 with its end)."""
INSIDE_bytes = 80
"""The part of it that is taken by the names of a session's own two folders (``/ray-<random>/r``,
15) and Ray's in it (``/session_<date>_<time>_<pid>/sockets/plasma_store``, pid of 7 digits, 65)."""
SHORT_FOLDERS = "/tmp", "/var/tmp", "/dev/shm"  # noqa: S108 (what is made in them is private)
"""For temporary files, where the usual one has too long a path."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of a run."""

    number: int
    """At least 1; the run's ``accumulate`` is a multiple of it."""
    cpus: float = 1.0
    """Cores of each; may be a fraction."""
    gpu: bool = False
    """Each has a GPU of its own."""
    cluster: str | None = None
    """A running Ray cluster; None is this machine."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InputError("--workers", got=self.number, wanted="at least 1")
        if not self.cpus > 0:
            raise InputError("--cpus-per-worker", got=self.cpus, wanted="above 0")


def check_cluster(address: str | None) -> None:
    """Knock at a cluster's address: Ray itself would wait for it for a quarter of an hour.

    Raises:
        InputError: The address is malformed, or nobody answers there.
    """
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError("--cluster", got=repr(address), wanted="HOST:PORT, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_s).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster at {address}",
            got=brief(error),
            hint="--cluster HOST:PORT as `ray start --head` printed it",
        ) from None


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to Ray and leave it again at the end.

    Where this process is connected already, as inside a trial, that connection is used and stays.

    Args:
        address: Of a running cluster (``HOST:PORT``, or ``auto``); None starts Ray here.

    Raises:
        InputError: Ray does not start, or does not take us in.
    """
    import ray  # here, as below: a third of a second for who starts none

    if ray.is_initialized():
        yield
        return
    _quiet()
    with _cluster() if address else _alone_here() as settings:
        try:
            try:
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level="ERROR",
                    **settings,
                )
            except Exception as error:  # some of Ray's share no base but Exception
                raise InputError(
                    f"Ray at {address} refuses" if address else "Ray does not start here",
                    got=brief(error),
                    hint=cure_of(error) or "it again, or with --debug",
                ) from error
            yield
        finally:
            ray.shutdown()


@contextmanager
def _cluster() -> Iterator[dict[str, Any]]:
    """Settings for joining a cluster: none; its token is closed to others."""
    with suppress(OSError, RuntimeError):  # of another user, or of a user without a home
        close_token()
    yield {}


@contextmanager
def _alone_here() -> Iterator[dict[str, Any]]:
    """Settings of a Ray for this machine alone, of which nothing is left at the end.

    It listens on 127.0.0.1 only, asks for a token, and keeps its sockets and logs in a folder of
    its own: below ``RAY_TMPDIR`` or the usual one for temporary files, unless that is too long
    for a socket's path.
    """
    from ray._private import ray_constants

    make_token()
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=short_folder()))  # of mode 700
    anywhere = ray_constants.ENABLE_RAY_CLUSTER
    # Ray takes an address of 127.0.0.1 for a slip and puts the machine's own in its place, unless
    # it is told that there are no clusters: it is for systems that it knows no clusters of.
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        # One inside it, as Ray opens the folder that it is given to everybody.
        yield {"include_dashboard": False, "_temp_dir": f"{folder}/r"}
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = anywhere
        end_processes_of(folder)  # left by a start that failed
        shutil.rmtree(folder, ignore_errors=True)


def short_folder() -> str:
    """A folder for Ray's own, short enough for the sockets in it.

    Raises:
        InputError: ``RAY_TMPDIR`` is not, or no folder for temporary files can be written.
    """
    longest = SOCKET_PATH_bytes - INSIDE_bytes
    chosen = os.environ.get("RAY_TMPDIR")
    for folder in [chosen] if chosen else [tempfile.gettempdir(), *SHORT_FOLDERS]:
        if len(os.fsencode(folder)) <= longest and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InputError(
        "RAY_TMPDIR" if chosen else "TMPDIR",
        got=chosen or tempfile.gettempdir(),
        wanted=f"a folder that can be written, of at most {longest} characters",
        hint="RAY_TMPDIR=/tmp",
    )


def end_processes_of(folder: Path) -> None:
    """End what was started for a session, also what would not listen to an order."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()):
                for one in (*process.children(recursive=True), process):
                    one.kill()


def make_token() -> None:
    """Make the token that guards a Ray of this user, unless there is one.

    Ray itself would make it for everybody to read, and takes it as it is: so it is made before
    anything listens. One that others could read may be that of a cluster which runs: it is closed
    and stays, and this process has a token of its own, as where no folder can be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    try:
        path = _token_file()
        path.parent.mkdir(mode=0o700, exist_ok=True)
        known_to_others = close_token()
        if not path.exists():
            made, name = tempfile.mkstemp(dir=path.parent)  # of mode 600
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_hex(32))
            with suppress(FileExistsError):  # another process was first: its token counts
                os.link(name, path)
            Path(name).unlink()
    except (OSError, RuntimeError):  # pathlib's word for a user without a home
        known_to_others = True
    if known_to_others:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def close_token() -> bool:
    """Close the token, and Ray's folder, to others than the user; whether they could read it."""
    path = _token_file()
    if path.parent.name == ".ray" and path.parent.exists():
        path.parent.chmod(0o700)
    if not path.exists() or not path.stat().st_mode & 0o077:
        return False
    path.chmod(0o600)
    log.warning(
        "others could read Ray's token %s: it is closed now; remove it, and make a new one, "
        "unless they may know it",
        path,
    )
    return True


def _token_file() -> Path:
    """Where Ray looks for the token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def trials_that_fit(cpus: float, gpus: float, workers: int = 1) -> int:
    """Trials that the connected cluster holds at a time, at least one.

    Args:
        cpus: Cores that each worker asks for, on one node.
        gpus: GPUs that each worker asks for, on the same node.
        workers: Of each trial, on whichever nodes.

    Raises:
        InputError: None would ever fit.
    """
    nodes, each = living_nodes(), {"CPU": cpus, "GPU": gpus}
    fitting = places_in(nodes, each) // workers
    if not fitting:
        raise InputError(
            f"a trial asks for {in_words(each)}"
            + f" for each of {workers} workers" * (workers > 1),
            got=f"nodes of {', '.join(map(in_words, nodes))}",
            hint="a smaller --cpus-per-trial" + " or --gpus-per-trial" * (gpus > 0),
        )
    return fitting


def living_nodes() -> list[Mapping[str, float]]:
    """What each node of the connected cluster has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def places_in(nodes: Iterable[Mapping[str, float]], each: Mapping[str, float]) -> int:
    """How many processes find room that ask for so much each, every one on one node."""
    asked = {what: number for what, number in each.items() if number > 0}
    rooms = [min(has.get(what, 0) / asked[what] for what in asked) for has in nodes]
    return sum(int(room + 1e-9) for room in rooms)


def in_words(has: Mapping[str, float]) -> str:
    """Cores and GPUs, as ``4 CPUs and 1 GPU``."""
    gpus = has.get("GPU", 0)
    words = f"{has.get('CPU', 0):g} CPU{'s' * (has.get('CPU', 0) != 1)}"
    return words + (f" and {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else "")


def has_nodes() -> bool:
    """Whether any node of the connected cluster is alive: without one Ray waits for ever."""
    return bool(living_nodes())


def _quiet() -> None:
    """Settings that Ray reads from the environment; what the user has set stays."""
    switch_telemetry_off()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # The driver handles Ctrl-C, and needs no snapshots to go on from.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", str(24 * 3600))
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(STOP_s))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
