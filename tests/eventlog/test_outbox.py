"""The outbox: every event reaches the tracker, once it answers, in order, whoever delivers it."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import OWN_PLACE, Tracker
from dtsinn.eventlog import outbox as module
from dtsinn.eventlog.log import EventLog
from dtsinn.eventlog.outbox import MEMORY, Outbox, count_undelivered, deliver


def begin(key: str, time_ms: int = 0, parent: str | None = None) -> dict[str, Any]:
    run = {
        "key": key, "name": key, "kind": "trial", "experiment": "e", "time_ms": time_ms,
        "parent": parent, "parameters": {}, "tags": {}, "description": "",
    }  # fmt: skip
    return {"event": "begin", "time_ms": time_ms, "run": run}


def report(key: str, step: int) -> dict[str, Any]:
    return {"event": "report", "key": key, "step": step, "metrics": {"x": 0.5}, "time_ms": step}


def end(key: str, status: str = "finished") -> dict[str, Any]:
    return {"event": "end", "key": key, "status": status, "time_ms": 9, "tags": {}}


@pytest.fixture
def event_log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "ledger.jsonl")


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between looks, not instead of them


def test_the_reports_of_a_run_are_told_at_once_and_before_what_follows(recording) -> None:
    events = [begin("a"), begin("a/b", parent="a"), report("a/b", 1), report("a", 1)]
    events += [report("a/b", 2), end("a/b"), report("a", 3)]
    events.insert(3, {"event": "suggest", "trial": "c"})
    assert deliver(recording, events) == 7
    assert recording.calls == [
        ("begin", "a", "a"),
        ("begin", "a/b", "a/b"),
        ("report", "a/b", [1, 2]),
        ("end", "a/b", "finished"),
        ("report", "a", [1, 3]),
    ]


def test_what_concerns_no_tracker_is_not_told_and_not_waited_for(event_log, recording) -> None:
    outbox = Outbox(event_log, lambda: recording)
    for kind in ("sitting", "warm", "point", "suggest", "refuse", "restart", "repeat"):
        outbox.record({"event": kind, "time_ms": 0})
    assert outbox.waiting() == 0
    assert outbox.deliver() == 0
    assert recording.calls == []


def test_an_outage_delays_and_loses_nothing(event_log, recording) -> None:
    recording.down = True
    outbox = Outbox(event_log, lambda: recording)
    for event in (begin("a"), report("a", 1), report("a", 2), end("a")):
        outbox.record(event)
    with pytest.raises(ConnectionError):
        outbox.deliver()
    assert outbox.waiting() == 4
    recording.down = False
    assert outbox.deliver() == 4
    assert outbox.waiting() == 0
    assert [call[0] for call in recording.calls] == ["begin", "report", "end"]


def test_the_thread_tells_as_events_come_and_tries_again_after_an_outage(
    event_log, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_s", 0.01)
    recording.down = True
    attempts = []

    def connect() -> Tracker:
        attempts.append(0)
        if len(attempts) < 3:
            raise RunError("no answer")
        return recording

    outbox = Outbox(event_log, connect)
    outbox.start()
    outbox.record(begin("a"))
    wait_for(lambda: outbox.error == "no answer" and len(attempts) >= 3)
    outbox.record(report("a", 1))
    recording.down = False
    wait_for(lambda: outbox.waiting() == 0)
    wait_for(lambda: not outbox.error)
    outbox.record(end("a"))
    assert outbox.close(20) == 0
    assert len(attempts) == 3, "who has answered is not asked again"
    assert [call[0] for call in recording.calls] == ["begin", "report", "end"]


def test_closing_waits_no_longer_than_it_may_and_ends_the_thread(
    event_log, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_s", 0.01)
    recording.down = True
    outbox = Outbox(event_log, lambda: recording)
    outbox.start()
    outbox.record(begin("a"))
    assert outbox.close(0.2) == 1
    wait_for(lambda: all(thread.name != "dtsinn-outbox" for thread in threading.enumerate()))
    recording.down = False
    assert Outbox(event_log, lambda: recording).deliver() == 1


def test_the_next_one_goes_on_where_the_last_one_ended(event_log, recording) -> None:
    first = Outbox(event_log, lambda: recording)
    first.record(begin("a"))
    first.deliver()
    second = Outbox(EventLog(event_log.path), lambda: recording)
    second.record(report("a", 1))
    assert second.waiting() == 1
    assert second.deliver() == 1
    assert recording.calls == [("begin", "a", "a"), ("report", "a", [1])]


def test_another_tracker_is_told_all_from_the_beginning(event_log, recording) -> None:
    """The URI was changed between two sessions: the second one knows none of the runs."""
    first = Outbox(event_log, lambda: recording)
    first.record(begin("a"))
    first.deliver()
    other = type(recording)("elsewhere")
    second = Outbox(event_log, lambda: other)
    second.record(end("a"))
    assert second.deliver() == 2
    assert [call[0] for call in other.calls] == ["begin", "end"]
    assert Outbox(event_log, lambda: other).deliver() == 0


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"offset": "x", "place": ""}', '{"other": 3}'])
def test_without_a_memory_all_is_told_again(event_log, recording, memory: str) -> None:
    outbox = Outbox(event_log, lambda: recording)
    outbox.record(begin("a"))
    outbox.deliver()
    event_log.path.with_name(MEMORY).write_text(memory)
    assert Outbox(event_log, lambda: recording).deliver() == 1
    assert [call[0] for call in recording.calls] == ["begin", "begin"]


def test_only_whole_rounds_are_remembered(
    event_log, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUND", 3)
    outbox = Outbox(event_log, lambda: recording)
    for event in [begin("a"), *(report("a", step) for step in range(1, 6)), report("b", 1)]:
        outbox.record(event)
    with pytest.raises(RunError, match="no run was begun"):  # the last of three rounds
        outbox.deliver()
    told = json.loads(event_log.path.with_name(MEMORY).read_text())["offset"]
    assert [event["step"] for event in event_log.read(told)[0]] == [1]
    assert [call[2] for call in recording.calls] == ["a", [1, 2], [3, 4, 5]]


def test_an_artifact_that_is_gone_holds_up_nothing(event_log, recording, tmp_path: Path) -> None:
    class Strict(type(recording)):  # type: ignore[misc]
        def artifact(self, key: str, path: Path, folder: str = "") -> None:
            if not path.exists():
                raise InputError("an artifact is missing", got=path)
            super().artifact(key, path, folder)

    tracker = Strict()
    (tmp_path / "there").write_text("x")
    outbox = Outbox(event_log, lambda: tracker)
    outbox.record(begin("a"))
    for name in ("gone", "there"):
        attached = {"event": "artifact", "time_ms": 1, "key": "a", "path": str(tmp_path / name)}
        outbox.record(attached | {"folder": "pictures"})
    outbox.record(end("a"))
    assert outbox.deliver() == 4
    assert tracker.calls[1:] == [("artifact", "a", "there"), ("end", "a", "finished")]


@pytest.mark.parametrize(
    "path",
    ["report", "{ws}/searches/first/report", "ws/searches/first/report",
     "/searches/first/before/ws/searches/first/report"],
)  # fmt: skip
def test_files_are_found_where_the_search_is_now(recording, tmp_path: Path, path: str) -> None:
    """Also those that an older dtsinn named from elsewhere."""
    old, seen = tmp_path / "ws", []

    class Seeing(type(recording)):  # type: ignore[misc]
        def artifact(self, key: str, path: Path, folder: str = "") -> None:
            seen.append(path)

    folder = tmp_path / "moved/searches/first"
    outbox = Outbox(EventLog(folder / "ledger.jsonl"), Seeing)
    attached = {"event": "artifact", "time_ms": 1, "key": "a", "folder": "report"}
    outbox.record(attached | {"path": path.format(ws=old)})
    outbox.deliver()
    assert seen == [folder / "report"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../second/ledger.jsonl", "report/../../../x", "l"]
)
def test_a_file_outside_the_search_is_not_delivered(
    event_log, recording, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever handed the workspace on may have written the log."""
    event_log.path.with_name("l").symlink_to("/etc/passwd")
    outbox = Outbox(event_log, lambda: recording)
    attached = {"event": "artifact", "time_ms": 1, "key": "a", "folder": "report", "path": path}
    for event in (begin("a"), attached, end("a")):
        outbox.record(event)
    assert outbox.deliver() == 3
    assert [call[0] for call in recording.calls] == ["begin", "end"]
    assert f"not attached: {path} is no file of {event_log.path.parent.name}" in caplog.text


@pytest.mark.parametrize("moved", ["nothing", "renamed", "copied", "another database"])
def test_a_database_that_moved_along_is_told_nothing_again(
    recording, tmp_path: Path, moved: str
) -> None:
    """An older dtsinn remembered it by its path."""
    old, new = tmp_path / "ws", tmp_path / ("ws" if moved == "nothing" else "new")
    for root in (old, new):
        (root / "searches/first").mkdir(parents=True, exist_ok=True)
        (root / "mlflow.db").touch()
    if moved == "renamed":
        shutil.rmtree(old)
    if moved == "another database":
        (old / "searches/first").rmdir()
    event_log = EventLog(new / "searches/first/ledger.jsonl")
    event_log.append(begin("a"))
    memory = {"place": f"sqlite:///{old}/mlflow.db", "offset": event_log.path.stat().st_size}
    event_log.path.with_name(MEMORY).write_text(json.dumps(memory))
    tracker = type(recording)(place=OWN_PLACE)
    outbox = Outbox(event_log, lambda: tracker)
    outbox.record(begin("b"))
    outbox.deliver()
    again = moved == "another database"
    assert [call[1] for call in tracker.calls] == (["a", "b"] if again else ["b"])


def test_events_told_twice_reach_the_same_runs(event_log, recording) -> None:
    events = [begin("a"), report("a", 1), end("a")]
    deliver(recording, events)
    deliver(recording, events)
    assert {call[1] for call in recording.calls} == {"a"}
    assert recording.open == set()


def test_who_has_given_up_writes_no_memory_beside_the_next_one(
    event_log, recording, tmp_path: Path
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def connect() -> Tracker:
        asked.set()
        assert answers.wait(20)
        return recording

    outbox = Outbox(event_log, connect)
    outbox.record(begin("a"))
    outbox.start()
    assert asked.wait(20)
    assert outbox.close(0.01) == 1
    answers.set()
    outbox._thread.join(20)
    assert not outbox._thread.is_alive()
    assert not (tmp_path / MEMORY).exists()
    assert count_undelivered(tmp_path, recording.place) == 1
    assert Outbox(event_log, lambda: recording).deliver() == 1
    assert count_undelivered(tmp_path, recording.place) == 0
    assert count_undelivered(tmp_path, "elsewhere") == 1
