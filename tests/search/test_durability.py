"""What is synced when, and the study's file, which is written without Optuna's lock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dtsinn.eventlog.log import EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.search.events.state import SearchState
from dtsinn.search.objective import PSNR
from dtsinn.search.sampling.samplers import make_sampler
from dtsinn.search.sampling.study import SearchStudy
from dtsinn.search.space.reader import load_space
from tests.support.null_tracker import NullTracker


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    return calls


def report(step: int) -> dict[str, Any]:
    return {"event": "report", "key": "a/b", "step": step, "metrics": {}, "time_ms": step}


def test_reports_outlive_the_process_and_are_synced_with_what_follows(
    tmp_path: Path, synced: list[int]
) -> None:
    event_log = EventLog(tmp_path / "ledger.jsonl")
    event_log.append({"event": "refuse", "time_ms": 0})
    assert len(synced) == 1
    for step in (1, 2):
        event_log.append(report(step))
    assert len(synced) == 1
    assert [
        e["step"] for e in EventLog(event_log.path, readonly=True) if e["event"] == "report"
    ] == [
        1,
        2,
    ]
    event_log.append({"event": "refuse", "time_ms": 3})
    assert len(synced) == 2
    event_log.sync()  # there is nothing left to sync
    assert len(synced) == 2


def test_no_tracker_knows_what_is_not_synced(tmp_path: Path, synced: list[int]) -> None:
    told: list[int] = []

    class Tracker(NullTracker):
        def report(self, key: str, points: Any) -> None:
            told.append(len(synced))

    outbox = Outbox(EventLog(tmp_path / "ledger.jsonl"), Tracker)
    outbox.record(report(1))
    assert synced == []
    outbox.deliver()
    assert told == [1]


def test_an_outage_does_not_keep_reports_from_the_disk(tmp_path: Path, synced: list[int]) -> None:
    def nobody() -> NullTracker:
        raise ConnectionError("down")

    outbox = Outbox(EventLog(tmp_path / "ledger.jsonl"), nobody)
    outbox.record(report(1))
    with pytest.raises(ConnectionError):
        outbox.deliver()
    assert len(synced) == 1


def test_optuna_opens_the_study_while_it_is_searched(tmp_path: Path) -> None:
    space = load_space("quick")
    path = tmp_path / "study.journal"
    sampler = make_sampler("tpe", space.parameters, trials=4, seed=0)
    study = SearchStudy(SearchState(name="s"), space, PSNR, sampler, path)
    asked = [study.ask(f"t{n}", lambda _: "", lambda *_: None) for n in range(3)]
    study.tell("t0", "finished", 10, [30.0])
    study.tell("t1", "pruned", 5, [20.0], "slow")
    study.tell("t1", "finished", 9, [50.0])  # told again: nothing changes
    storage = JournalStorage(JournalFileBackend(str(path)))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    assert [t.params for t in trials] == asked
    assert [t.state for t in trials] == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.RUNNING,
    ]
    assert trials[1].intermediate_values == {5: 20.0}
    assert trials[1].user_attrs["reason"] == "slow"
    assert not list(tmp_path.glob("*.lock"))
