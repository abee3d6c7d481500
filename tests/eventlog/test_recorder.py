"""The recorder: runs in their own event log, delivered by whoever comes next."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import Point, RunStart
from dtsinn.eventlog import recorder as recorder_module
from dtsinn.eventlog.lock import LOCK, driving
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.eventlog.recorder import Recorder, Recovery, record, recover

START = RunStart(key="r", name="r", kind="training", experiment="e", time_ms=5)


def point(step: int, **metrics: float) -> Point:
    return Point(step=step, metrics=metrics, time_ms=step)


def test_what_is_recorded_is_in_the_log_and_delivered(tmp_path: Path, recording) -> None:
    (tmp_path / "r" / "pictures").mkdir(parents=True)
    with record(tmp_path / "r", lambda: recording) as recorder:
        recorder.begin(START)
        recorder.report("r", [point(10, x=1.0, odd=math.inf), point(20, x=2.0)])
        recorder.artifact("r", tmp_path / "r" / "pictures", "pictures")
        recorder.end("r", "finished", 30)
    assert recorder.undelivered == 0
    assert [what for what, _, _ in recording.calls if what != "report"] == [
        "begin", "tag", "artifact", "end",
    ]  # fmt: skip
    assert ("tag", "r", ["dtsinn.nonfinite.odd"]) in recording.calls
    reports = [e for e in EventLog(tmp_path / "r" / LOG_FILE) if e["event"] == "report"]
    assert [(e["step"], e["metrics"]) for e in reports] == [(10, {"x": 1.0}), (20, {"x": 2.0})]


def test_an_outage_keeps_everything_for_later(
    tmp_path: Path, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "PATIENCE_s", 0.1)
    recording.down = True
    with record(tmp_path, lambda: recording) as recorder:
        recorder.begin(START)
        recorder.report("r", [point(10, x=1.0)])
        recorder.end("r", "finished", 30)
    assert recorder.undelivered == 3
    kept = Recovery(state="finished", done=["not delivered: no answer"], undelivered=3)
    assert recover(tmp_path, lambda: recording) == kept
    recording.down = False
    delivered = Recovery(state="finished", done=["3 events delivered"])
    assert recover(tmp_path, lambda: recording) == delivered
    assert recording.calls == [
        ("begin", "r", "r"), ("report", "r", [10]), ("end", "r", "finished"),
    ]  # fmt: skip
    (tmp_path / LOCK).unlink()
    assert recover(tmp_path, lambda: recording) == Recovery(state="finished")
    assert not (tmp_path / LOCK).exists(), "what is only read is not locked"


def test_what_died_is_ended_at_the_last_that_is_known_of_it(tmp_path: Path, recording) -> None:
    recorder = Recorder(Outbox(EventLog(tmp_path / LOG_FILE), lambda: recording))
    recorder.begin(START)
    recorder.report("r", [point(70, x=1.0)])
    found = recover(tmp_path, lambda: recording)
    assert found == Recovery(state="killed", done=["r: its process died", "3 events delivered"])
    (end,) = [e for e in EventLog(tmp_path / LOG_FILE) if e["event"] == "end"]
    assert (end["status"], end["time_ms"]) == ("killed", 70)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"event": "begin", "run": {"key": "r"}}', "line 1: event 'begin': run.name is missing"),
        ('{"event": "suggest"}', "line 1: no event of a run; got event 'suggest'"),
    ],
)
def test_a_damaged_log_is_named(tmp_path: Path, recording, line: str, message: str) -> None:
    (tmp_path / LOG_FILE).write_text(f"{line}\n")
    with pytest.raises(InputError, match=message):
        recover(tmp_path, lambda: recording)
    assert recording.calls == []


def test_a_run_under_way_is_left_to_its_process(tmp_path: Path, recording) -> None:
    with driving(tmp_path):
        Recorder(Outbox(EventLog(tmp_path / LOG_FILE), lambda: recording)).begin(START)
        found = recover(tmp_path, lambda: recording, "training")
    assert found == Recovery(state="running", undelivered=1)
    assert recording.calls == []
