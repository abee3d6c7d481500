"""One at a time: whoever moves a model's aliases holds the turn.

MLflow has no compare-and-swap. In an embedded workspace the turn is a file lock, which the kernel
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Annotated

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from pydantic import Field, TypeAdapter

from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import told_as
from dtsinn.registry.tracking.tracker import MlflowTracker

TURN = "dtsinn.turn."
"""Begins the tags of those that have or want the turn."""
PATIENCE_s = 3600.0
"""Longest wait for the turn."""
LEASE_s = 60.0
"""A tag that was not written for so long, as the others see it, is of a process that died."""
POLL_s = 0.2


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What a process writes of itself."""

    number: Annotated[int, Field(ge=0, le=10**9)]
    host: str = ""
    pid: int = 0
    beat: str = ""
    """Another one each time, so that the others see that it lives."""


_PLACE = TypeAdapter(_Place)


class TurnLostError(RunError):
    """Others took this process for dead; what it decided is to be decided again."""


@dataclass
class Turn:
    """The turn at hand."""

    tracker: MlflowTracker
    name: str
    """Of the registered model."""
    tag: str = ""
    """Of a server's model; nothing in a workspace, where a lock is held."""
    begun: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Before each change: is it still ours?

        Raises:
            TurnLostError: It took so long that others may go on.
        """
        if not self.tag:
            return
        slow = time.monotonic() - self.begun > LEASE_s / 2
        if slow or self.tag not in _tags(self.tracker, self.name):
            raise TurnLostError(f"the turn to promote {self.name} was lost", hint="again later")


@contextmanager
def turn(tracker: MlflowTracker, name: str, patience_s: float | None = None) -> Iterator[Turn]:
    """Hold the turn of a registered model.

    Args:
        tracker: The registry.
        name: Of a model that exists.
        patience_s: Longest wait.

    Raises:
        RunError: Somebody else has held it all the time.
    """
    patience_s = PATIENCE_s if patience_s is None else patience_s
    if tracker.workspace is not None:
        with _locked(tracker.workspace, patience_s):
            yield Turn(tracker, name)
        return
    tag = f"{TURN}{uuid.uuid4().hex[:12]}"
    try:
        begun = _queue(tracker, name, tag, patience_s)
        yield Turn(tracker, name, tag, begun)
    finally:
        _leave(tracker, name, tag)


@contextmanager
def _locked(workspace: Workspace, patience_s: float) -> Iterator[None]:
    workspace.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.root / ".promotion.lock", timeout=patience_s)
    try:
        lock.acquire()
    except Timeout:
        raise RunError("another promotion holds the workspace", got=lock.lock_file) from None
    try:
        yield
    finally:
        lock.release()


def _queue(tracker: MlflowTracker, name: str, tag: str, patience_s: float) -> float:
    """Wait until all lower numbers are gone; returns the time before the tag's last write."""
    until = time.monotonic() + patience_s
    while True:  # once, unless others took us for dead
        mine, written = _take_number(tracker, name, tag)
        seen: dict[str, tuple[str, float]] = {}
        while True:
            tags = _tags(tracker, name)
            if tag not in tags or time.monotonic() - written > LEASE_s / 2:
                break  # others take us for dead, or soon might: to write now would jump the queue
            before = [key for key in tags if key != tag and _number(tags[key], key) < (mine, tag)]
            if not before:
                return written
            for key in before:
                value, since = seen.setdefault(key, (tags[key], time.monotonic()))
                if value != tags[key]:
                    seen[key] = (tags[key], time.monotonic())
                elif time.monotonic() - since > LEASE_s:
                    _leave(tracker, name, key)
            if time.monotonic() > until:
                holder = _holder(tags[min(before, key=lambda key: _number(tags[key], key))])
                raise RunError(f"another promotion holds {name}", got=holder)
            if time.monotonic() - written > LEASE_s / 4:  # still here
                written = time.monotonic()
                _write(tracker, name, tag, mine)
            time.sleep(POLL_s)


def _take_number(tracker: MlflowTracker, name: str, tag: str) -> tuple[int, float]:
    """A number above all others, and the time before it was written.

    While it is chosen the tag says 0, and everybody waits. The time is from before, because a
    write may take long: the others may have taken us for dead when it arrives at last, and that
    must not look fresh to us.
    """
    while True:
        begun = time.monotonic()
        _write(tracker, name, tag, 0)
        others = [_number(value, key)[0] for key, value in _tags(tracker, name).items()]
        mine = 1 + max(others, default=0)
        written = time.monotonic()
        if written - begun < LEASE_s / 4:
            _write(tracker, name, tag, mine)
            return mine, written


def _tags(tracker: MlflowTracker, name: str) -> dict[str, str]:
    with told_as(f"reading whose turn it is to promote {name}"):
        found: Mapping[str, str] = tracker.client.get_registered_model(name).tags
    return {key: value for key, value in found.items() if key.startswith(TURN)}


def _write(tracker: MlflowTracker, name: str, tag: str, number: int) -> None:
    beat = uuid.uuid4().hex[:8]
    value = _Place(number=number, host=socket.gethostname(), pid=os.getpid(), beat=beat)
    with told_as(f"waiting for the turn to promote {name}"):
        tracker.client.set_registered_model_tag(name, tag, json.dumps(asdict(value)))


def _leave(tracker: MlflowTracker, name: str, tag: str) -> None:
    with told_as(f"giving back the turn to promote {name}"):
        try:
            tracker.client.delete_registered_model_tag(name, tag)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise


def _number(value: str, key: str) -> tuple[int, str]:
    """Place in the queue; whoever cannot be read comes first, and is waited for."""
    place = tagged.read_as(_PLACE, value)
    return place.number if place else 0, key


def _holder(value: str) -> str:
    place = tagged.read_as(_PLACE, value)
    return f"process {place.pid} on {place.host}" if place else value[:80]
