"""What is mended after a driver died: event log, study and tracker agree, nothing is left open."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import Tracker
from dtsinn.eventlog.lock import driving
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import MEMORY
from dtsinn.search import status
from dtsinn.search.events.state import DIED, read_state
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.study import STUDY
from dtsinn.search.status import SearchStatus, end_again, reconcile
from tests.support.forked import Forks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hand"


def states(folder: Path) -> list[tuple[str, str]]:
    storage = JournalStorage(JournalFileBackend(str(folder / STUDY)))
    trials = optuna.load_study(study_name="hand", storage=storage).trials
    return [(trial.user_attrs.get("name", ""), trial.state.name) for trial in trials]


@pytest.fixture
def dead(make_plan, sit, recording, folder: Path) -> SearchPlan:
    """A search whose driver died: one trial had ended, one ran, one was thought of; half told."""
    plan: SearchPlan = make_plan(trials=5, store="my scans.zarr")
    hand = sit(plan, tracker=recording)
    hand.whole(30.0)
    hand.driver.tools.outbox.deliver()
    running = hand.start()
    hand.report(running, 10, 20.0)
    assert hand.driver.suggest("thought") is not None
    with (folder / LOG_FILE).open("a") as file:
        file.write('{"event": "report", "ke')
    return plan


def test_what_a_dead_driver_left_is_ended_everywhere(dead, recording, folder: Path) -> None:
    told = reconcile(folder, lambda: recording)
    assert told.repaired == [
        f"hand/trial-001: {DIED}",
        f"hand: {DIED}",
        "Optuna's study made anew",
        "4 events delivered",
    ]
    assert (told.state, told.reason, told.driver) == ("killed", DIED, "")
    assert told.trials == {"finished": 1, "killed": 1, "waiting": 1}
    assert (told.ended, told.planned, told.undelivered) == (1, 5, 0)
    assert (told.best_trial, told.best, told.objective) == ("trial-000", 30.0, "psnr:max")
    assert told.steps == 100
    assert shlex.split(told.resume)[2] == "my scans.zarr"
    assert recording.open == set()
    assert states(folder) == [
        ("trial-000", "COMPLETE"),
        ("trial-001", "FAIL"),
        ("trial-002", "FAIL"),
    ]


def test_what_is_mended_is_mended_once(dead, recording, folder: Path) -> None:
    first = reconcile(folder, lambda: recording)
    event_log, calls = (folder / LOG_FILE).read_bytes(), list(recording.calls)
    second = reconcile(folder, lambda: recording)
    assert second.repaired == []
    assert second.seconds == first.seconds, "a look takes no time of the search's"
    assert (folder / LOG_FILE).read_bytes() == event_log
    assert recording.calls == calls


def test_a_mended_search_goes_on(dead, sit, recording, folder: Path) -> None:
    reconcile(folder, lambda: recording)
    again = sit(dead, tracker=recording)
    assert [again.start(), again.start()] == ["trial-001", "trial-002"]
    assert again.driver.to_come == 2
    again.driver.interrupt("Ctrl-C")
    again.driver.close()
    again.driver.end("killed", "Ctrl-C")
    again.driver.tools.outbox.deliver()
    assert recording.open == set()
    assert reconcile(folder, lambda: recording).repaired == []


def test_a_search_that_is_driven_is_looked_at_and_left_alone(dead, recording, folder: Path) -> None:
    before = (folder / LOG_FILE).read_bytes()
    with driving(folder):
        told = reconcile(folder, lambda: recording)
    assert told.driver == f"process {os.getpid()} on {os.uname().nodename}"
    assert (told.state, told.repaired, told.resume) == ("running", [], "")
    assert told.undelivered == 2
    assert (folder / LOG_FILE).read_bytes() == before


def test_a_tracker_that_does_not_answer_is_told_later(dead, recording, folder: Path) -> None:
    def nobody() -> Tracker:
        raise RunError("no answer")

    told = reconcile(folder, nobody)
    assert told.repaired[-1] == "not delivered: no answer"
    assert told.undelivered == 4
    assert reconcile(folder, lambda: recording).repaired == ["4 events delivered"]


def test_events_told_again_after_their_memory_is_lost_change_nothing(
    dead, recording, folder: Path
) -> None:
    reconcile(folder, lambda: recording)
    (folder / MEMORY).unlink()
    reconcile(folder, lambda: recording)
    assert recording.open == set()


def test_a_run_that_is_open_though_it_ended_is_ended_again(dead, recording, folder: Path) -> None:
    reconcile(folder, lambda: recording)
    recording.open.add("hand/trial-000")
    told = reconcile(folder, lambda: recording)
    assert told.repaired == ["hand/trial-000 ended again"]
    assert recording.open == set()


def test_runs_are_not_compared_where_nobody_answers(dead, folder: Path) -> None:
    def nobody() -> Tracker:
        raise RunError("no answer")

    event_log = EventLog(folder / LOG_FILE, readonly=True)
    assert end_again(event_log, "hand", nobody) == ["runs not compared: no answer"]


@pytest.mark.parametrize("damage", ["gone", "torn", "foreign", "nameless"])
def test_a_study_that_says_something_else_is_made_anew(
    dead, recording, folder: Path, damage: str
) -> None:
    reconcile(folder, lambda: recording)
    before = states(folder)
    path = folder / STUDY
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "foreign":
        path.write_text("no journal\n")
    else:  # thought of by Optuna, and the driver died before it was named
        storage = JournalStorage(JournalFileBackend(str(path)))
        optuna.load_study(study_name="hand", storage=storage).ask()
    assert reconcile(folder, lambda: recording).repaired == ["Optuna's study made anew"]
    assert states(folder) == before


def test_a_damaged_ledger_hides_no_other_search(dead, folder: Path, tmp_path: Path) -> None:
    at = tmp_path / "workspace"
    shutil.copytree(folder, at / "searches" / folder.name)
    lines = [
        "no JSON", "null", "{}", "[]", '{"event": "end"}', '{"event": "sitting"}',
        '{"event": "report", "key": "x/trial-099", "step": 1, "metrics": {}, "time_ms": 1}',
    ]  # fmt: skip
    for number, line in enumerate(lines):
        (at / "searches" / f"damaged-{number}").mkdir()
        (at / "searches" / f"damaged-{number}" / LOG_FILE).write_text(f"{line}\n")
    result = CliRunner().invoke(app, ["status", "--json", "--workspace", str(at)])
    told = {one["name"]: one for one in json.loads(result.stdout)}
    assert result.exit_code == 2
    for number in range(len(lines)):
        assert told[f"damaged-{number}"]["state"] == "damaged"
        assert f"damaged-{number}/{LOG_FILE}, line 1" in told[f"damaged-{number}"]["reason"]
    assert told["hand"]["state"] == "killed"


def test_whatever_one_search_fails_with_hides_no_other(
    dead, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = tmp_path / "workspace"
    for name in (folder.name, "odd", "plan"):
        shutil.copytree(folder, at / "searches" / name)
    log = at / "searches" / "plan" / LOG_FILE
    renamed = log.read_text().replace('"hand', '"plan')
    log.write_text(renamed.replace('"workers_per_trial": 1', '"workers_per_trial": 0'))

    def stumble(folder: Path, connect: Callable[[], Tracker]) -> SearchStatus:
        assert folder.name != "odd"
        return reconcile(folder, connect)

    monkeypatch.setattr(status, "reconcile", stumble)
    result = CliRunner().invoke(app, ["status", "--json", "--workspace", str(at)])
    told = {one["name"]: one for one in json.loads(result.stdout)}
    assert result.exit_code == 2
    assert [told[name]["state"] for name in ("hand", "odd", "plan")] == [
        *("killed", "damaged", "damaged")
    ]
    assert told["odd"]["reason"].startswith("a bug of dtsinn; got AssertionError")
    assert "the plan of the search: workers_per_trial of a search; got 0" in told["plan"]["reason"]


def test_a_damaged_ledger_is_one_clear_line(dead, recording, folder: Path) -> None:
    lines = (folder / LOG_FILE).read_bytes().splitlines(keepends=True)
    (folder / LOG_FILE).write_bytes(b"".join([lines[0], b"no json\n", *lines[1:]]))
    with pytest.raises(InputError, match=r"is damaged"):
        reconcile(folder, lambda: recording)


DRIVE = """
import sys
from pathlib import Path
from rich.console import Console
from tests.support.null_tracker import NullTracker
from dtsinn.data.store import open_store
from dtsinn.core.clock import now_ms
from dtsinn.eventlog.log import EventLog
from dtsinn.eventlog.lock import driving
from dtsinn.search.engine.session import open_session
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space
from dtsinn.eventlog.outbox import Outbox

store, space, folder = sys.argv[1:]
plan = SearchPlan(name="hand", store=store, space=load_space(space), trials=3)
with driving(Path(folder)):
    driver = open_session(
        plan, Path(folder), open_store(store),
        Outbox(EventLog(Path(folder) / "ledger.jsonl"), NullTracker),
        Console(quiet=True), events=(), points=(), warm=(), concurrent=2, share=None,
    )
    driver.suggest("ray")
    driver.start_trial("ray")
    result = {"finished": False, "metrics": {"best_psnr": 20.0}}
    driver.handle_report("ray", result | {"step": 10, "time_ms": now_ms()})
    print("driving", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_drove_is_mended(
    make_plan, recording, small_path: Path, tmp_path: Path, folder: Path, forks: Forks
) -> None:
    make_plan()  # writes the space
    with forks.python(DRIVE, small_path, tmp_path / "mine.yaml", folder) as process:
        assert process.stdout.readline() == b"driving\n"
        alive: Any = reconcile(folder, lambda: recording)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert alive.driver.startswith(f"process {process.pid} on ")
    told = reconcile(folder, lambda: recording)
    assert told.repaired[:2] == [f"hand/trial-000: {DIED}", f"hand: {DIED}"]
    assert (told.undelivered, recording.open) == (0, set())
    assert states(folder) == [("trial-000", "FAIL")]
    assert read_state(folder).trials["trial-000"].step == 10
