"""The event log: every event of a search or a run, written to one file before anything else.

It is event sourcing: the log is the truth, and what is known of a search or a run is what its
events add up to. Each line is one JSON object with ``event``, ``time_ms`` and the
``format_version`` of the line (:mod:`dtsinn.core.formats`; the first version names none).
:mod:`~.events` has the types. Every log has these kinds, which the outbox delivers to the tracker
(:mod:`~.outbox`); a search has more (:mod:`dtsinn.search.events.events`):

============  =================================================================================
``begin``     a run began, or goes on: ``run``, a :class:`~dtsinn.core.tracker.RunStart`; of a
              trial also ``gpus``, that it holds
``report``    a run reported: ``key``, ``step``, ``metrics``
``artifact``  files of a run: ``key``, ``path`` from the log's folder, ``folder``
``end``       a run ended: ``key``, ``status``, ``tags`` (``reason``, ...)
``tag``       more tags of a run, after its end: ``key``, ``tags``
============  =================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from dtsinn.core.bounds import open_file, parse_json
from dtsinn.core.errors import InputError, naming
from dtsinn.core.formats import EVENT_LOG

LOG_FILE = "ledger.jsonl"
"""Name of the file in the folder of a search or a run; that of the first version."""


class EventLog:
    """An append-only file of JSON lines, with one writer.

    An event outlives this process when :meth:`append` returns, and the machine once it is synced:
    reports within a moment (:meth:`sync`, which the outbox calls), all others at once. A torn last
    line, as a kill leaves it, is cut off when the event log is opened for writing again.

    Args:
        path: Of the file.
        readonly: Only to read; a torn last line is passed over.

    Raises:
        InputError: A folder or a pipe is in its place.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = path
        self._unsynced = False
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no event log", wanted="a plain file")
        if not readonly:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)

    @property
    def size(self) -> int:
        """Bytes that it holds now; a torn last line counts."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, event: dict[str, Any]) -> None:
        """Write one event whole, and sync it unless it is a report: those come by the hundred.

        Raises:
            OSError: The disk is full, or fails; nothing of the event is left.
        """
        said = event | {"format_version": EVENT_LOG.version}
        line = (json.dumps(said, sort_keys=True, allow_nan=False) + "\n").encode()
        # Without a buffer, which would write what it still holds when the file is closed.
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while line:
                    line = line[file.write(line) :]
                self._unsynced = event.get("event") == "report"
                if not self._unsynced:
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, before)
                raise

    def sync(self) -> None:
        """Put on the disk what was appended.

        Raises:
            OSError: The disk is full, or fails.
        """
        if self._unsynced:
            self._unsynced = False
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def read(self, offset: int = 0, limit: int | None = None) -> tuple[list[dict[str, Any]], int]:
        """Events from a byte ``offset`` on, at most ``limit``, and where the next one begins.

        Each is as this version of dtsinn writes it, whichever version wrote its line.

        Raises:
            InputError: A line is no JSON object, or of a newer version.
        """
        events: list[dict[str, Any]] = []
        if not self.path.exists():
            return events, offset
        with open_file(self.path) as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n") or len(events) == limit:
                    break
                try:
                    events.append(_event(line))
                except (ValueError, TypeError) as error:
                    what = f"{self.path}, line {self._number(offset)}, is damaged"
                    raise InputError(what, got=f"no JSON object: {error}") from None
                except InputError:
                    with naming(f"{self.path}, line {self._number(offset)}"):
                        raise
                offset += len(line)
        return events, offset

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All events, in order; see :meth:`read`."""
        return iter(self.read()[0])

    def _number(self, offset: int) -> int:
        """Number of the line that begins at a byte ``offset``, from 1 on."""
        with open_file(self.path) as file:
            return file.read(offset).count(b"\n") + 1

    def begins_line(self, offset: int) -> bool:
        """Whether a line ends before this byte, so that reading can go on there."""
        if offset <= 0 or not self.path.exists():
            return offset == 0
        with open_file(self.path) as file:
            file.seek(offset - 1)
            return file.read(1) == b"\n"


def _event(line: bytes) -> dict[str, Any]:
    """What a line holds, as this version of dtsinn writes it, without the version.

    Raises:
        InputError: It is of a newer version.
        ValueError: It is no JSON.
        TypeError: It is no JSON object.
    """
    try:
        event = from_json(line)
    except ValueError:  # slower, but it knows what UTF-8 cannot write
        event = parse_json(line)
    if not isinstance(event, dict):
        raise TypeError(json.dumps(event)[:80])
    version = event.pop("format_version", EVENT_LOG.oldest)
    if version == EVENT_LOG.version:
        return event
    read = EVENT_LOG.read(event | {"format_version": version}, "its event log")
    return {key: value for key, value in read.items() if key not in EVENT_LOG.mark}


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
