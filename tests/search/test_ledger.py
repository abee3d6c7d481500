"""The ledger and its delivery: nothing lost, nothing out of order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import NullTracker, RunStart
from dtsinn.search.events import Recorder
from dtsinn.search.ledger import Ledger


def event(number: int) -> dict[str, object]:
    return {"event": "report", "key": "a", "step": number, "metrics": {"x": 0.5}, "time_ms": number}


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert list(ledger) == []
    for number in range(3):
        ledger.append(event(number))
    assert list(Ledger(tmp_path / "ledger.jsonl")) == [event(number) for number in range(3)]


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).append(event(0))
    with path.open("a") as file:
        file.write('{"event": "rep')
    ledger = Ledger(path)
    ledger.append(event(1))
    assert list(ledger) == [event(0), event(1)]


def test_a_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("no json\n")
    with pytest.raises(InputError, match="line 1 is damaged"):
        list(Ledger(path))


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Ledger(tmp_path / "ledger.jsonl").append({"metrics": {"x": float("nan")}})


def test_a_killed_writer_leaves_every_event_that_it_was_told_of(tmp_path: Path) -> None:
    code = (
        "import sys, itertools; from pathlib import Path\n"
        "from dtsinn.search.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for number in itertools.count():\n"
        "    ledger.append({'number': number}); print(number, flush=True)\n"
    )
    path = tmp_path / "ledger.jsonl"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(50)]
        os.kill(child.pid, signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().split()]
    numbers = [entry["number"] for entry in Ledger(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= len(told)


class Outage(NullTracker):
    """A tracker that can be down."""

    def __init__(self) -> None:
        self.down = False
        self.told: list[tuple[str, object]] = []

    def begin(self, run: RunStart) -> None:
        self._tell("begin", run.key)

    def report(self, key, step, metrics, time_ms) -> None:
        self._tell("report", step)

    def end(self, key, status, time_ms, tags=None) -> None:
        self._tell("end", status)

    def _tell(self, what: str, value: object) -> None:
        if self.down:
            raise ConnectionError("no answer")
        self.told.append((what, value))


def test_an_outage_delays_and_loses_nothing(tmp_path: Path) -> None:
    tracker = Outage()
    recorder = Recorder(Ledger(tmp_path / "ledger.jsonl"), tracker)
    start = {
        "key": "a", "name": "a", "kind": "search", "experiment": "e", "time_ms": 0,
        "parent": None, "parameters": {}, "tags": {}, "description": "",
    }  # fmt: skip
    recorder.record({"event": "begin", "run": start})
    tracker.down = True
    for number in range(3):
        recorder.record(event(number))
    assert recorder.deliver() == 3
    assert tracker.told == [("begin", "a")]
    tracker.down = False
    recorder.record({"event": "end", "key": "a", "status": "finished", "time_ms": 9, "tags": {}})
    assert tracker.told[1:] == [("report", 0), ("report", 1), ("report", 2), ("end", "finished")]
    assert recorder.deliver() == 0
    assert len(list(recorder.ledger)) == 5
