"""Ray for the time of a search: started on this machine, or joined where it runs."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import ray

from dtsinn.core.errors import InputError
from dtsinn.core.telemetry import switch_telemetry_off

KNOCK_s = 10
"""Longest wait for a cluster's address to answer, s (uncited)."""
STOP_s = 90
"""Longest wait for a stopped trial to end its workers and leave its process to the next, s
(uncited; Ray's own 2 s are less than workers take to end)."""


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
            got=str(error),
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
    if ray.is_initialized():
        yield
        return
    _quiet()
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"Ray at {address} refuses" if address else "Ray does not start here",
            got=" ".join(str(error).split())[:200],
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


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
