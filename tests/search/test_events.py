"""Event logs that are none, or of another search, or out of order: one line that names the line."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import deliver
from dtsinn.search.events.events import check_event
from dtsinn.search.events.state import read_state
from dtsinn.search.explain.page import check_out, explain_search
from dtsinn.search.plan import read_plan
from dtsinn.search.status import reconcile
from dtsinn.workflows.prune import Policy, plan_pruning
from dtsinn.workflows.warm_start import read_warm_start
from tests.support.null_tracker import NullTracker

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "searches" / "done"
LINES = (GOLDEN / LOG_FILE).read_text().splitlines(keepends=True)
EVENTS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
KINDS = {event["event"]: event for event in reversed(EVENTS)} | {
    "warm": {"event": "warm", "suggestion": {}, "step": 8, "values": [1.0], "finished": True},
    "refuse": {"event": "refuse", "suggestion": {"model.blocks": 6}, "reason": "too large"},
    "restart": {"event": "restart", "trial": "trial-000", "step": 8, "lost_seconds": 1.5},
    "repeat": {"event": "repeat", "trial": "trial-000", "step": 8},
    "tag": {"event": "tag", "key": "done/trial-000", "tags": {"pruned.checkpoint": "yes"}},
}
REPORT, SITTING, SUGGEST, END = (KINDS[kind] for kind in ("report", "sitting", "suggest", "end"))


def first(kind: str, key: str = "") -> int:
    """Place of the first event of a kind, of this key."""
    return next(
        place
        for place, event in enumerate(EVENTS)
        if event["event"] == kind and key in (event.get("key"), event.get("trial"), "")
    )


FOREIGN = [
    "null",
    "{}",
    "[]",
    "3",
    '"end"',
    "",
    "{",
    "[" * 3000,
    '{"event": null}',
    '{"event": []}',
    '{"event": "end"}',
    '{"event": "sitting"}',
    '{"event": "lunch", "time_ms": 1}',
    '{"event": "report", "key": "x/trial-099", "step": 1, "metrics": {}, "time_ms": 1}',
    '{"event": "tag", "key": "other/trial-000", "tags": {}}',
    *(
        json.dumps(event)
        for event in (
            REPORT | {"step": "8"},
            REPORT | {"step": -1},
            REPORT | {"step": True},
            REPORT | {"metrics": []},
            REPORT | {"metrics": {"best_psnr": "high"}},
            REPORT | {"time_ms": 10**17},
            REPORT | {"time_ms": 1.5},
            REPORT | {"key": 7},
            REPORT | {"key": "done/trial-099"},
            REPORT | {"key": "trial-000"},
            REPORT | {"key": "done/../trial-000"},
            END | {"key": "done/trial-000", "status": "asleep"},
            END | {"key": "done/trial-000", "tags": None},
            SUGGEST | {"suggestion": [1]},
            SUGGEST | {"suggestion": {"model.blocks": {}}},
            SUGGEST | {"trial": "../../elsewhere", "number": 1},
            SUGGEST | {"seconds": None},
            SITTING | {"pid": "1"},
            SITTING | {"plan": None},
            SITTING | {"plan": SITTING["plan"] | {"name": "other"}},
            REPORT | {"format_version": 3},
            REPORT | {"format_version": "1"},
            REPORT | {"format": "dtsinn-store", "format_version": 0},
        )
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A search whose log a test may damage."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "workspace" / "searches" / "done"))


@pytest.mark.parametrize("number", range(len(FOREIGN)))
def test_a_line_that_is_no_event_of_this_search_is_named(folder: Path, number: int) -> None:
    at = first("suggest") + 1
    (folder / LOG_FILE).write_text("".join([*LINES[:at], FOREIGN[number] + "\n", *LINES[at:]]))
    with pytest.raises(InputError) as caught:
        read_state(folder)
    line = str(caught.value)
    assert f"{folder / LOG_FILE}, line {at + 1}" in line
    assert "\n" not in line
    assert len(line) < len(str(folder)) + 400


def moved(source: int, target: int) -> list[str]:
    lines = [*LINES]
    lines.insert(target, lines.pop(source))
    return lines


DISORDERED = {
    "a run begins before its trial is suggested": moved(
        first("suggest", "trial-000") + 1, first("suggest", "trial-000")
    ),
    "reports of a trial change places": moved(
        first("report", "done/trial-000") + 2, first("report", "done/trial-000")
    ),
    "a report comes after the end": moved(
        first("report", "done/trial-000"), first("end", "done/trial-000") + 1
    ),
    "a trial is suggested twice": [*LINES, LINES[first("suggest")]],
    "a suggestion is lost": [
        line for place, line in enumerate(LINES) if place != first("suggest", "trial-001")
    ],
    "the session comes later": moved(first("sitting"), first("sitting") + 1),
    "a trial begins after its end": [*LINES, LINES[first("suggest", "trial-000") + 1]],
}


@pytest.mark.parametrize("what", sorted(DISORDERED))
def test_lines_out_of_order_are_named(folder: Path, what: str) -> None:
    (folder / LOG_FILE).write_text("".join(DISORDERED[what]))
    with pytest.raises(
        InputError, match=r"ledger\.jsonl, line \d+: (out of order|an event of a tr)"
    ):
        read_state(folder)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_field_of_each_kind_is_asked_for(kind: str) -> None:
    """Nothing that reads an event may find a field missing: whatever goes, it still can be told."""
    event = KINDS[kind]
    check_event(event)
    optional = {"gpus"} | ({"step"} if kind in {"restart", "repeat"} else set())
    optional |= set() if kind in {"report", "end"} else {"time_ms"}
    for key in event.keys() - optional:
        with pytest.raises(InputError):
            check_event({k: v for k, v in event.items() if k != key})


@pytest.mark.parametrize("key", ["key", "name", "kind", "experiment", "time_ms"])
def test_each_field_that_a_run_needs_is_asked_for(key: str) -> None:
    begin = KINDS["begin"]
    with pytest.raises(InputError, match=rf"event 'begin': run\.{key} is missing"):
        check_event(begin | {"run": {k: v for k, v in begin["run"].items() if k != key}})


def test_whatever_is_an_event_is_told(folder: Path, recording) -> None:
    """With the least that its kind says, and with more, as a later version might say it."""
    run = {"key": "done", "name": "", "kind": "search", "experiment": "", "time_ms": 0}
    least = {
        "begin": {"run": run},
        "report": {"key": "done", "step": 0, "metrics": {}, "time_ms": 0},
        "artifact": {"key": "done", "path": "report.html", "folder": ""},
        "end": {"key": "done", "status": "killed", "tags": {}, "time_ms": 0},
        "tag": {"key": "done", "tags": {}},
    }
    for more in ({}, {"mood": "good"}):
        for kind, said in least.items():
            event = {"event": kind} | said | more
            if kind == "begin":
                event["run"] = run | more
            check_event(event)
            assert deliver(recording, [event], folder) == 1
    assert [call[0] for call in recording.calls] == [*least, *least]


@pytest.mark.parametrize("number", [math.nan, math.inf, 10**400])
def test_no_number_is_larger_than_its_readers_can_hold(number: float) -> None:
    for kind, change in (
        ("warm", {"values": [number]}),
        ("warm", {"suggestion": {"a": number}}),
        ("point", {"suggestion": {"a": number}}),
        ("suggest", {"suggestion": {"a": number}}),
        ("suggest", {"seed": number}),
        ("sitting", {"pid": number}),
        ("report", {"metrics": {"psnr": number}}),
        ("begin", {"run": KINDS["begin"]["run"] | {"parameters": {"a": number}}}),
    ):
        with pytest.raises(InputError, match=f"event '{kind}'"):
            check_event(KINDS[kind] | change)


@pytest.mark.parametrize(
    "change",
    [
        {"trials": "many"},
        {"objectives": None},
        {"space": {"name": "a", "file": {}}},
        {"space": {"name": "a", "file": {"base": 3}}},
        {"format_version": 3},
        {"sampler": "mine"},
    ],
)
def test_a_plan_that_is_none_is_named_with_its_file(folder: Path, change: dict[str, Any]) -> None:
    plan = SITTING["plan"] | change
    text = "".join(json.dumps(e | ({"plan": plan} if "plan" in e else {})) + "\n" for e in EVENTS)
    (folder / LOG_FILE).write_text(text)
    with pytest.raises(InputError, match=r"ledger\.jsonl: the plan of the search"):
        read_plan(folder, read_state(folder))


def test_whoever_reads_it_refuses_it_in_one_line(folder: Path) -> None:
    sound = read_plan(folder, read_state(folder))
    store: Any = SimpleNamespace(header=SimpleNamespace(digest="of any store"))
    (folder / LOG_FILE).write_text("{}\n")
    for read in (
        lambda: read_state(folder),
        lambda: reconcile(folder, NullTracker),
        lambda: explain_search(folder),
        lambda: read_warm_start(["done"], sound, store, Workspace(folder.parents[1])),
    ):
        with pytest.raises(InputError, match=r"ledger\.jsonl, line 1: no event of a search; got"):
            read()
    assert "line 1: no event of a search" in plan_pruning(folder, Policy(), {}).left_alone


@pytest.mark.parametrize("name", [LOG_FILE, "driver.lock"])
def test_a_folder_in_place_of_a_file_is_one_clear_line(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(InputError, match=name):
        reconcile(folder, NullTracker)


@pytest.mark.parametrize("name", ["driver.json", "delivered.json", "study.journal", "driver.lock"])
def test_a_pipe_in_place_of_a_file_holds_up_nothing(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert reconcile(folder, NullTracker).state == "finished"


def test_a_pipe_in_place_of_the_log_is_refused_at_once(folder: Path) -> None:
    log = EventLog(folder / LOG_FILE, readonly=True)
    log.path.unlink()
    os.mkfifo(log.path)
    for read in (log.read, lambda: log.begins_line(1)):
        with pytest.raises(OSError, match="a pipe, no regular file"):
            read()


def test_a_pipe_in_an_earlier_report_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    check_out(tmp_path)


@pytest.mark.parametrize(
    "memory",
    [
        "null", "[]", "{", "", '{"offset": 1e999, "place": "nowhere"}', '{"offset": -1}',
        '{"offset": 5, "place": "nowhere"}', '{"offset": 99999999, "place": "nowhere"}',
        "[" * 3000,
    ],
)  # fmt: skip
def test_an_outbox_that_is_damaged_is_told_anew(folder: Path, memory: str) -> None:
    (folder / "delivered.json").write_text(memory)
    (folder / "driver.json").write_text(memory)
    (folder / "study.journal").write_text(memory)
    told = reconcile(folder, NullTracker)
    assert told.repaired[0] == "Optuna's study made anew"
    assert told.repaired[1].endswith("events delivered")
    assert (told.state, told.undelivered) == ("finished", 0)


def test_each_line_says_its_version(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / LOG_FILE)
    event_log.append(END)
    assert json.loads(event_log.path.read_text())["format_version"] == 2
    assert list(event_log) == [END], "whoever reads it need not know"


def test_a_reason_may_hold_what_is_no_text(folder: Path) -> None:
    end = END | {"key": "done", "tags": {"reason": "no file \udcff"}}
    EventLog(folder / LOG_FILE).append(end)
    assert read_state(folder).reason == "no file \udcff"


def test_an_event_may_say_more_than_is_asked() -> None:
    check_event(END | {"mood": "good"})
