"""What Optuna is told: the contract that the base class breaks."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dtsinn.core.errors import RunError
from dtsinn.search.suggest import OBJECTIVE, StudySearch, close_study

NAN = float("nan")


@pytest.fixture
def storage(tmp_path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))


@pytest.fixture
def searcher(storage: JournalStorage) -> StudySearch:
    return StudySearch(
        refuse=lambda suggestion: "",
        space={"optimizer.learning_rate": FloatDistribution(1e-4, 1e-2, log=True)},
        metric=OBJECTIVE,
        mode="max",
        sampler=TPESampler(seed=0, n_startup_trials=2),
        study_name="study",
        storage=storage,
    )


def trials(storage: JournalStorage) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=storage).trials


def report(value: float, step: int, **more: object) -> dict[str, object]:
    return {OBJECTIVE: value, "step": step, "finished": False, "reason": ""} | more


@pytest.mark.parametrize(
    ("result", "error", "state", "value", "reason"),
    [
        (report(30.0, 90, finished=True), False, TrialState.COMPLETE, 30.0, None),
        (report(25.0, 30), False, TrialState.PRUNED, 25.0, "stopped by the scheduler"),
        (report(NAN, 0, reason="no memory"), False, TrialState.PRUNED, None, "no memory"),
        (report(NAN, 30), False, TrialState.PRUNED, None, "best_psnr is nan"),
        (report(float("inf"), 30), False, TrialState.PRUNED, None, "best_psnr is inf"),
        (None, False, TrialState.PRUNED, None, "best_psnr is None"),
        (report(25.0, 30), True, TrialState.FAIL, None, "machine fault"),
    ],
)
def test_every_end_is_told_as_what_it_is(
    searcher: StudySearch, storage: JournalStorage, result, error, state, value, reason
) -> None:
    searcher.suggest("ray_00000")
    searcher.on_trial_complete("ray_00000", result, error=error)
    (trial,) = trials(storage)
    assert trial.state == state
    assert trial.value == value
    assert trial.user_attrs["ray_trial_id"] == "ray_00000"
    assert trial.user_attrs.get("reason") == reason


def test_intermediate_values_stand_at_optimiser_steps_and_nan_does_not(
    searcher: StudySearch, storage: JournalStorage
) -> None:
    searcher.suggest("a")
    searcher.on_trial_result("a", report(20.0, 30))
    searcher.on_trial_result("a", report(NAN, 60))
    searcher.on_trial_result("a", report(22.0, 90))
    searcher.on_trial_complete("a", report(22.0, 90))
    (trial,) = trials(storage)
    assert trial.intermediate_values == {30: 20.0, 90: 22.0}
    assert trial.state == TrialState.PRUNED


def test_a_second_end_changes_nothing(searcher: StudySearch, storage: JournalStorage) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", report(30.0, 90, finished=True))
    searcher.on_trial_complete("a", report(10.0, 30), error=True)
    assert [trial.value for trial in trials(storage)] == [30.0]


def test_closing_leaves_nothing_running(searcher: StudySearch, storage: JournalStorage) -> None:
    for name in ("a", "b", "c"):
        searcher.suggest(name)
    searcher.on_trial_complete("a", report(30.0, 90, finished=True))
    study = optuna.load_study(study_name="study", storage=storage)
    assert close_study(study, "driver ended") == 2
    states = [trial.state for trial in trials(storage)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert trials(storage)[1].user_attrs["reason"] == "driver ended"
    assert close_study(study, "again") == 0


def test_pruned_trials_teach_the_sampler(searcher: StudySearch, storage: JournalStorage) -> None:
    """Suggestions move towards what scored high, though nothing ran to its end."""
    for number in range(30):
        suggestion = searcher.suggest(str(number))
        assert suggestion is not None
        rate = suggestion["optimizer.learning_rate"]
        searcher.on_trial_complete(str(number), report(-abs(rate - 5e-3), 30))
    late = [trial.params["optimizer.learning_rate"] for trial in trials(storage)[15:]]
    # A fifth of the range: three of fifteen by chance, seven once in seventy.
    assert sum(3e-3 < rate < 7e-3 for rate in late) >= 7


def over(storage: JournalStorage, most: int) -> StudySearch:
    """A searcher over widths from 1 on, of which those above ``most`` are refused."""
    return StudySearch(
        refuse=lambda suggestion: "too large" if suggestion["width"] > most else "",
        space={"width": IntDistribution(1, 30)},
        metric=OBJECTIVE,
        mode="max",
        sampler=RandomSampler(seed=0),
        study_name="study",
        storage=storage,
    )


def test_what_is_refused_starts_no_trial_and_teaches_the_sampler(storage: JournalStorage) -> None:
    searcher = over(storage, 3)
    given = [searcher.suggest(f"ray_{number:05d}") for number in range(4)]
    assert all(suggestion["width"] <= 3 for suggestion in given)
    known = trials(storage)
    refused = [trial for trial in known if trial.state is TrialState.PRUNED]
    assert refused
    assert all(trial.params["width"] > 3 for trial in refused)
    assert {trial.user_attrs["reason"] for trial in refused} == {"too large"}
    running = [trial for trial in known if trial.state is TrialState.RUNNING]
    assert [t.user_attrs["ray_trial_id"] for t in running] == [f"ray_{n:05d}" for n in range(4)]


def test_a_space_outside_its_limits_is_one_clear_line(storage: JournalStorage) -> None:
    searcher = over(storage, 0)
    with pytest.raises(RunError, match="in a row were refused; got too large"):
        searcher.suggest("ray_00000")
    assert all(trial.state is TrialState.PRUNED for trial in trials(storage))
