"""Tasks that know nothing of each other, on a running Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import ray

from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import DtsinnError, RunError
from dtsinn.core.progress import Progress
from dtsinn.search.engine.cluster import check_cluster, ray_session

RETRIES = 2
"""Times that a task is begun again whose worker died."""


def share_on(address: str) -> Callable[..., Iterator[tuple[int, Any]]]:
    """What does tasks on a cluster, as :data:`dtsinn.evaluation.workers.Share` says.

    All nodes see the workspace and the stores under the same paths.

    Args:
        address: Of the cluster, ``HOST:PORT`` or ``auto``.

    Raises:
        InputError: Nobody answers there.
    """
    check_cluster(address)
    return partial(_run_on_cluster, address)


def _run_on_cluster(
    address: str,
    work: Callable[..., Any],
    shared: Any,
    tasks: Sequence[Any],
    progress: Progress,
) -> Iterator[tuple[int, Any]]:
    """Do tasks wherever a core is free.

    Raises:
        DtsinnError: That of a task.
        RunError: Workers died more often than they are started again.
    """
    if not tasks:
        return
    with ray_session(address):
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(work)
        reference = ray.put(shared)
        waiting = {remote.remote(reference, task): number for number, task in enumerate(tasks)}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            number = waiting.pop(done[0])
            try:
                yield number, ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, DtsinnError):
                    raise error.cause from None
                raise
            except ray.exceptions.RayError as error:
                raise RunError(
                    f"a worker on the cluster {address} died",
                    got=brief(error),
                    hint=cure_of(error) or "the same command: finished cells are kept",
                ) from error
