"""How Ray plugs in, with Ray at work: who is next, and who starts together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from dtsinn.core.clock import now_ms
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.engine.tuner import run_trials


def whole(config: dict[str, Any]) -> None:
    """A trial that is over at once and says which process it ran in."""
    metrics = {"best_psnr": 30.0, "pid": os.getpid()}
    tune.report({"step": 90, "metrics": metrics, "finished": True, "time_ms": now_ms()})


@pytest.fixture
def drive(make_plan, sit, tmp_path: Path) -> Callable[..., EventLog]:
    """Lets Ray run trials that are over at once; their search's event log."""

    def run(resources: Any, **more: Any) -> EventLog:
        hand = sit(make_plan(**more), concurrent=2)
        run_trials(hand.driver, whole, resources)
        hand.driver.close()
        return EventLog(tmp_path / "hand" / LOG_FILE, readonly=True)

    return run


def test_no_trial_is_overtaken_by_later_ones(ray_here, drive) -> None:
    events = list(drive({"cpu": 1}, trials=8))
    suggested = [event["trial"] for event in events if event["event"] == "suggest"]
    runs = [event["run"] for event in events if event["event"] == "begin"]
    begun = [run["name"] for run in runs if run["kind"] == "trial"]
    assert sorted(begun) == suggested == [f"trial-{number:03d}" for number in range(8)]
    # Of the two that wait together, the one whose worker comes up sooner starts first.
    assert all(abs(begun.index(name) - place) <= 1 for place, name in enumerate(suggested)), begun
    ended = [event["key"] for event in events if event["event"] == "end"]
    assert len(ended) == len(set(ended)) == 8


@pytest.mark.parametrize("packed", [False, True])
def test_as_many_workers_start_together_as_trials_run(ray_here, drive, packed: bool) -> None:
    """One after the other, trials shorter than a worker's start would all run in the first one.

    Where trials share GPUs, the next is suggested when the one before it has its place.
    """
    resources = (lambda config: tune.PlacementGroupFactory([{"CPU": 1}])) if packed else {"cpu": 1}
    events = list(drive(resources, trials=4))
    assert os.environ["TUNE_MAX_PENDING_TRIALS_PG"] == ("1" if packed else "2")
    kinds = [
        "suggest" if event["event"] == "suggest" else "begin"
        for event in events
        if event["event"] == "suggest" or event.get("run", {}).get("kind") == "trial"
    ]
    assert kinds.index("begin") == (1 if packed else 2), kinds
