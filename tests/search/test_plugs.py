"""How Ray plugs in: what it is told, and what it must not look through."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray import tune
from ray.tune.experiment import Trial

from dtsinn.search import plugs
from dtsinn.search.driver import Driver
from dtsinn.search.plugs import Over, Verdicts
from dtsinn.search.tuning import run_trials


class Waiting:
    def __init__(self, trial_id: str, status: str) -> None:
        self.trial_id, self.status = trial_id, status


class Controller:
    def __init__(self, *trials: Waiting) -> None:
        self.trials = set(trials)

    def get_live_trials(self) -> set[Waiting]:
        return self.trials

    def get_trials(self) -> Any:
        raise AssertionError("a search of thousands of trials would slow down")


def test_the_oldest_that_waits_is_next() -> None:
    verdicts = Verdicts(cast(Driver, None))
    running = Waiting("a_00000", Trial.RUNNING)
    later, sooner = Waiting("a_00002", Trial.PENDING), Waiting("a_00001", Trial.PENDING)
    assert verdicts.choose_trial_to_run(Controller(running, later, sooner)) is sooner
    assert verdicts.choose_trial_to_run(Controller(running)) is None


@pytest.mark.parametrize(
    ("resources", "starting"),
    [({"cpu": 1.0}, "3"), (lambda config: tune.PlacementGroupFactory([{"CPU": 1}]), "1")],
)
def test_as_many_workers_start_together_as_trials_run(
    resources: Any, starting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, trials shorter than a worker's start would all run in the first one."""
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "unset")
    seen = []

    class Tuner:
        def __init__(self, *given: Any, **named: Any) -> None:
            pass

        def fit(self) -> None:
            seen.append(os.environ["TUNE_MAX_PENDING_TRIALS_PG"])

    monkeypatch.setattr(tune, "Tuner", Tuner)
    driver = SimpleNamespace(sitting=SimpleNamespace(folder=tmp_path, concurrent=3), to_come=5)
    run_trials(cast(Driver, driver), lambda config: None, resources)
    assert seen == [starting]


def test_a_search_whose_ray_died_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for other nodes for ever; on one machine there will be none."""
    reasons: list[str] = []
    driver = SimpleNamespace(interrupt=reasons.append, is_over=lambda: bool(reasons))
    monkeypatch.setattr(plugs, "LOOK_s", -1.0)
    over = Over(cast(Driver, driver))
    monkeypatch.setattr(plugs, "has_nodes", lambda: True)
    assert not over.stop_all()
    monkeypatch.setattr(plugs, "has_nodes", lambda: False)
    assert over.stop_all()
    assert reasons == ["no node of Ray is left"]
