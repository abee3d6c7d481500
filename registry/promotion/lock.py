"""One at a time: whoever moves a model's aliases holds its promotion lock.

MLflow has no compare-and-swap. In an embedded workspace the lock is a file's, which the kernel
takes back from whoever dies. On a server it is Lamport's bakery (Commun. ACM 17(8), 1974,
453-455) over tags of the registered model: everybody writes one tag of their own, takes a number
above all that they can read, reads again, and lets lower numbers go first. It needs nothing but
tags that are read as they were written last.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import Field, TypeAdapter

from dtsinn.core.errors import RunError
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.embedded import hold_workspace_lock
from dtsinn.registry.tracking.names import ABSENT, mlflow_errors_as, suppress_mlflow
from dtsinn.registry.tracking.tracker import MlflowTracker

LOCK = "dtsinn.turn."
"""Begins the tags of those that hold or want the lock."""
PATIENCE_s = 3600.0
"""Longest wait for the lock."""
LEASE_s = 60.0
"""A tag that was not written for so long, as the others see it, is of a process that died."""
POLL_s = 0.2


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    """What a process writes of itself into its tag."""

    number: Annotated[int, Field(ge=0, le=10**9)]
    host: str = ""
    pid: int = 0
    beat: str = ""
    """Another one each time, so that the others see that it lives."""


_TICKET = TypeAdapter(_Ticket)


class PromotionLockLostError(RunError):
    """Others took this process for dead; what it decided is to be decided again."""


@dataclass
class PromotionLock:
    """The promotion lock of a registered model, while it is held."""

    tracker: MlflowTracker
    name: str
    """Name of the registered model."""
    tag: str = ""
    """Tag of a server's model; empty in a workspace, where a file is locked."""
    begun: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Make sure, before each change, that the lock is still held.

        Raises:
            PromotionLockLostError: It took so long that others may go on.
        """
        if not self.tag:
            return
        slow = time.monotonic() - self.begun > LEASE_s / 2
        if slow or self.tag not in _read_tags(self.tracker, self.name):
            what = f"the lock to promote {self.name} was lost"
            raise PromotionLockLostError(what, hint="again later")


@contextmanager
def promotion_lock(
    tracker: MlflowTracker, name: str, patience_s: float | None = None
) -> Iterator[PromotionLock]:
    """Hold the promotion lock of a registered model.

    Args:
        tracker: The registry.
        name: Name of a model that exists.
        patience_s: Longest wait.

    Raises:
        RunError: Somebody else has held it all the time.
    """
    patience_s = PATIENCE_s if patience_s is None else patience_s
    if tracker.workspace is not None:
        busy = RunError("another promotion holds the workspace", got=tracker.workspace.root)
        with hold_workspace_lock(tracker.workspace, "promotion", patience_s, busy=busy):
            yield PromotionLock(tracker, name)
        return
    tag = f"{LOCK}{uuid.uuid4().hex[:12]}"
    try:
        begun = _wait_in_queue(tracker, name, tag, patience_s)
        yield PromotionLock(tracker, name, tag, begun)
    finally:
        _remove_tag(tracker, name, tag)


def _wait_in_queue(tracker: MlflowTracker, name: str, tag: str, patience_s: float) -> float:
    """Wait until all lower numbers are gone; returns the time before the tag's last write."""
    until = time.monotonic() + patience_s
    while True:  # once, unless others took us for dead
        mine, written = _take_number(tracker, name, tag)
        seen: dict[tuple[str, str], float] = {}
        while True:
            tags = _read_tags(tracker, name)
            if tag not in tags or time.monotonic() - written > LEASE_s / 2:
                break  # others take us for dead, or soon might: to write now would jump the queue
            places = {key: (_read_number(value), key) for key, value in tags.items()}
            before = [key for key in tags if key != tag and places[key] < (mine, tag)]
            if not before:
                return written
            for key in before:
                first = seen.setdefault((key, tags[key]), time.monotonic())
                if time.monotonic() - first > LEASE_s:
                    _remove_tag(tracker, name, key)
            if time.monotonic() > until:
                holder = _describe_holder(tags[min(before, key=places.__getitem__)])
                raise RunError(f"another promotion holds {name}", got=holder)
            if time.monotonic() - written > LEASE_s / 4:  # still here
                written = time.monotonic()
                _write_ticket(tracker, name, tag, mine)
            time.sleep(POLL_s)


def _take_number(tracker: MlflowTracker, name: str, tag: str) -> tuple[int, float]:
    """Take a number above all others; returns it and the time before it was written.

    While it is chosen the tag says 0, and everybody waits. The time is from before, because a
    write may take long: the others may have taken us for dead when it arrives at last, and that
    must not look fresh to us.
    """
    while True:
        begun = time.monotonic()
        _write_ticket(tracker, name, tag, 0)
        mine = 1 + max(map(_read_number, _read_tags(tracker, name).values()), default=0)
        written = time.monotonic()
        if written - begun < LEASE_s / 4:
            _write_ticket(tracker, name, tag, mine)
            return mine, written


def _read_tags(tracker: MlflowTracker, name: str) -> dict[str, str]:
    with mlflow_errors_as(f"reading who holds the lock to promote {name}"):
        found: dict[str, str] = tracker.client.get_registered_model(name).tags
    return {key: value for key, value in found.items() if key.startswith(LOCK)}


def _write_ticket(tracker: MlflowTracker, name: str, tag: str, number: int) -> None:
    beat = uuid.uuid4().hex[:8]
    value = _Ticket(number=number, host=socket.gethostname(), pid=os.getpid(), beat=beat)
    with mlflow_errors_as(f"waiting for the lock to promote {name}"):
        tracker.client.set_registered_model_tag(name, tag, json.dumps(asdict(value)))


def _remove_tag(tracker: MlflowTracker, name: str, tag: str) -> None:
    doing = f"giving back the lock to promote {name}"
    with mlflow_errors_as(doing), suppress_mlflow(ABSENT):
        tracker.client.delete_registered_model_tag(name, tag)


def _read_number(value: str) -> int:
    """Number in the queue; a ticket that cannot be read comes first, and is waited for."""
    ticket = tagged.parse_as(_TICKET, value)
    return ticket.number if ticket else 0


def _describe_holder(value: str) -> str:
    ticket = tagged.parse_as(_TICKET, value)
    return f"process {ticket.pid} on {ticket.host}" if ticket else value[:80]
