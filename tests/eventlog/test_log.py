"""The event log: nothing lost, nothing torn, nothing out of order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.eventlog.log import EventLog


def event(number: int) -> dict[str, object]:
    return {"event": "report", "key": "a", "step": number, "metrics": {"x": 0.5}, "time_ms": number}


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / "ledger.jsonl")
    assert list(event_log) == []
    for number in range(3):
        event_log.append(event(number))
    assert list(EventLog(tmp_path / "ledger.jsonl")) == [event(number) for number in range(3)]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    EventLog(path).append(event(0))
    with path.open("a") as file:
        file.write('{"event": "rep')
    event_log = EventLog(path)
    event_log.append(event(1))
    assert list(event_log) == [event(0), event(1)]


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("no json\n")
    with pytest.raises(InputError, match=r"ledger.jsonl, line 1, is damaged; got no JSON"):
        list(EventLog(path))


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        EventLog(tmp_path / "ledger.jsonl").append({"metrics": {"x": float("nan")}})


def test_a_killed_writer_leaves_every_event_that_it_was_told_of(tmp_path: Path) -> None:
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from dtsinn.eventlog.log import EventLog\n"
        "event_log = EventLog(Path(sys.argv[1]))\n"
        "for number in itertools.count():\n"
        "    event_log.append({'number': number}); print(number, flush=True)\n"
    )
    path = tmp_path / "ledger.jsonl"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(50)]
        os.kill(child.pid, signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().split()]
    numbers = [entry["number"] for entry in EventLog(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= len(told)


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / "ledger.jsonl")
    for number in range(5):
        event_log.append(event(number))
    first, offset = event_log.read(0, 2)
    rest, end = event_log.read(offset)
    assert first + rest == [event(number) for number in range(5)]
    assert end == event_log.path.stat().st_size
    assert event_log.read(end) == ([], end)


def test_a_reader_passes_over_a_torn_line_and_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    EventLog(path).append(event(0))
    torn = path.read_bytes() + b'{"event": "rep'
    path.write_bytes(torn)
    assert list(EventLog(path, readonly=True)) == [event(0)]
    assert path.read_bytes() == torn


def test_a_file_of_one_torn_line_is_an_empty_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"event": "rep')
    assert list(EventLog(path)) == []
    assert path.read_bytes() == b""


FULL = """
import resource, sys
from pathlib import Path
from dtsinn.eventlog.log import EventLog
event_log = EventLog(Path(sys.argv[1]))
event_log.append({"number": 0})
room = event_log.path.stat().st_size + int(sys.argv[2])
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
try:
    event_log.append({"number": 1, "long": "x" * 100})
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
event_log.append({"number": 2})
"""


@pytest.mark.parametrize("room", [0, 7, 60])
def test_of_an_event_that_a_full_disk_refuses_nothing_is_left(tmp_path: Path, room: int) -> None:
    path = tmp_path / "ledger.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(room)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "File too large\n"
    assert [entry["number"] for entry in EventLog(path)] == [0, 2]
