"""The floor of a search: fitted once whatever happens, and none of the trials."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.deploy.package import load_package
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.networks.closed_form import fit_linear
from dtsinn.search.engine import floor as module
from dtsinn.search.engine.driver import STOP
from dtsinn.search.engine.floor import fit_floor, floor_package
from dtsinn.search.engine.table import TrialTable
from dtsinn.search.engine.tuner import TRIALS
from dtsinn.search.events.state import DIED, FLOOR, SearchState, replay
from dtsinn.search.objective import best_trial
from dtsinn.search.status import reconcile
from dtsinn.training.loop import train_here

KEY = "hand/floor"


def events_of(folder: Path) -> list[dict[str, Any]]:
    """What the log says of the floor."""
    events = EventLog(folder / LOG_FILE, readonly=True)
    return [e for e in events if KEY in (e.get("key"), e.get("run", {}).get("key"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hand"


def test_it_is_fitted_reported_and_packaged_and_is_no_trial(
    make_plan, sit, recording, small_store: Store, folder: Path
) -> None:
    plan = make_plan()
    hand = sit(plan, tracker=recording)
    fit_floor(hand.driver, small_store)
    search = hand.driver.search
    assert [event["event"] for event in events_of(folder)] == ["begin", "report", "end"]
    told = {"val_psnr", "best_psnr", "val_conservation", "parameters"}
    assert told <= search.floor.metrics.keys()
    run = events_of(folder)[0]["run"]
    kind = run["parameters"]["model.kind"]
    assert (run["kind"], run["parent"], kind) == (FLOOR, "hand", "linear")
    assert run["tags"]["store.digest"] == small_store.header.digest

    package = floor_package(folder, search)
    network, info, _, _ = load_package(package)
    assert torch.equal(network.map.weight, fit_linear([small_store]).map.weight)
    assert (info.lineage.run, info.lineage.search) == (KEY, "hand")
    assert info.metrics["val_psnr"] == search.floor.metrics["best_psnr"]

    assert (search.states(), search.steps, hand.driver.to_come) == ({}, 0, plan.trials)
    assert best_trial(search, plan.objectives) is None
    assert hand.driver.tools.study.study.trials == []
    assert hand.driver.budget.steps == 0
    now, began = search.floor.ended_ms, search.sessions[0].begun_ms
    fitted = search.floor.active_seconds(now)
    assert hand.driver.budget.seconds(now) == pytest.approx((now - began) / 1000 - fitted)
    assert hand.start() == "trial-000"

    again = sit(plan, tracker=recording)  # the driver died
    fit_floor(again.driver, small_store)
    assert len(events_of(folder)) == 3
    shutil.rmtree(package)
    assert floor_package(folder, search) is None, "somebody removed it"
    again.driver.tools.outbox.deliver()
    told = [call[0] for call in recording.calls if call[1] == KEY]
    assert told == ["begin", "report", "end"]
    assert reconcile(folder, lambda: recording).floor == search.floor.metrics["best_psnr"]


@pytest.mark.parametrize("reported", [False, True])
def test_what_is_killed_meanwhile_is_fitted_by_the_next_driver(
    make_plan, sit, recording, small_store: Store, folder: Path, monkeypatch, reported: bool
) -> None:
    class Killed(BaseException):
        """Nothing in the product catches it, as nothing catches a kill."""

    def die(*what: Any, **more: Any) -> None:
        raise Killed

    hand = sit(make_plan(), tracker=recording)
    with monkeypatch.context() as patch:
        patch.setattr(module, "package_run" if reported else "train_here", die)
        with pytest.raises(Killed):
            fit_floor(hand.driver, small_store)
    again = sit(make_plan(), tracker=recording)
    floor = again.driver.search.floor
    assert (floor.state, floor.reason, len(floor.points)) == ("killed", DIED, int(reported))
    fit_floor(again.driver, small_store)
    assert (floor.state, len(floor.points)) == ("finished", 1)
    assert load_package(floor_package(folder, again.driver.search))
    again.driver.tools.outbox.deliver()
    told = [call[0] for call in recording.calls if call[1] == KEY]
    assert told.count("report") == 1
    assert recording.open == {"hand"}


def test_a_search_that_is_over_meanwhile_leaves_it_for_the_next_session(
    make_plan, sit, small_store: Store, folder: Path, monkeypatch
) -> None:
    def stop_and_train(*what: Any) -> Iterator[Any]:
        (folder / STOP).touch()
        yield from train_here(*what)

    hand = sit(make_plan())
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_here", stop_and_train)
        fit_floor(hand.driver, small_store)
    floor = hand.driver.search.floor
    assert (floor.state, floor.reason, floor.points) == ("killed", "stopped", [])
    hand = sit(make_plan())
    hand.driver.interrupt("Ctrl-C")  # as the handler of a signal does
    fit_floor(hand.driver, small_store)
    hand.driver.close()
    assert hand.driver.search.floor.state == "killed"
    assert sit(make_plan()).driver.search.floor.is_open


def test_without_it_a_search_goes_on_and_says_why(
    make_plan, sit, small_store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hand = sit(make_plan())
    (folder / TRIALS).write_text("in the way")
    fit_floor(hand.driver, small_store)
    floor = hand.driver.search.floor
    assert floor.state == "failed"
    assert f"no floor: {floor.reason}" in caplog.text
    assert floor_package(folder, hand.driver.search) is None
    assert hand.whole(30.0) == "trial-000"
    known = len(events_of(folder))
    fit_floor(sit(make_plan()).driver, small_store)
    assert len(events_of(folder)) == known, "it is not tried again"


def test_a_plan_without_one_has_none(make_plan, sit, small_store: Store, folder: Path) -> None:
    hand = sit(make_plan(floor=False))
    fit_floor(hand.driver, small_store)
    assert events_of(folder) == []
    assert not (folder / FLOOR).exists()


def begin(key: str, kind: str) -> dict[str, Any]:
    run = {"key": key, "name": key, "kind": kind, "experiment": "e", "time_ms": 1}
    return {"event": "begin", "time_ms": 1, "run": run}


SITTING = {"event": "sitting", "time_ms": 1, "host": "h", "pid": 7, "plan": {}}
REPORT = {"event": "report", "time_ms": 2, "key": KEY, "step": 1, "metrics": {"best_psnr": 29.125}}
END = {"event": "end", "time_ms": 3, "key": KEY, "status": "finished", "tags": {}}
STORY = [SITTING, begin("hand", "search"), begin(KEY, "floor"), REPORT, END]


def test_what_a_log_says_of_it_is_in_order() -> None:
    assert replay("hand", STORY).floor.state == "finished"
    for events in ([*STORY[:2], REPORT], [*STORY[:2], END], [*STORY, begin(KEY, "floor")]):
        with pytest.raises(InputError, match="out of order"):
            replay("hand", events)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_table_shows_it_first(make_plan, terminal: bool) -> None:
    text = io.StringIO()
    table = TrialTable(Console(file=text, width=80, force_terminal=terminal), make_plan())
    search = SearchState(name="hand")
    with table:
        for event in STORY:
            search.apply(event)
            table.apply(event, search)
    lines = [line for line in text.getvalue().splitlines() if "floor" in line]
    assert "finished" in lines[-1]
    assert "29.12 dB" in lines[-1] or "29.13 dB" in lines[-1]
