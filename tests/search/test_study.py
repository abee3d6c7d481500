"""What Optuna is told: the truth about ends, and the same whether it was told live or made anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from dtsinn.core.errors import RunError
from dtsinn.core.tracker import Point
from dtsinn.search.events.state import SearchState, TrialRecord
from dtsinn.search.objective import PSNR, best_trial, front_of, read_objectives
from dtsinn.search.sampling.samplers import SAMPLERS, make_sampler
from dtsinn.search.sampling.study import STUDY, SearchStudy, optuna_state
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import SearchSpace

NAN, INF = math.nan, math.inf
BOTH = read_objectives("psnr:max,step_seconds:min")


@pytest.fixture
def space_of(tmp_path: Path) -> Callable[[str], SearchSpace]:
    def write(parameters: str) -> SearchSpace:
        path = tmp_path / "mine.yaml"
        path.write_text(f"{{parameters: {{{parameters}}}}}")
        return load_space(str(path))

    return write


@pytest.fixture
def rates(space_of) -> SearchSpace:
    return space_of("optimizer.learning_rate: {log: [1e-4, 1e-2]}")


def ask(study: SearchStudy, name: str, point: Mapping[str, Any] | None = None) -> dict[str, Any]:
    suggestion = study.ask(name, lambda suggestion: "", lambda suggestion, reason: None, point)
    assert suggestion is not None
    return suggestion


def stored(path: Path) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name="study", storage=storage).trials


@pytest.mark.parametrize(
    ("told", "state", "value", "reason"),
    [
        (("finished", 90, [30.0]), TrialState.COMPLETE, 30.0, None),
        (("pruned", 30, [25.0], "stopped"), TrialState.PRUNED, 25.0, "stopped"),
        (("pruned", 0, [NAN], "no memory"), TrialState.PRUNED, None, "no memory"),
        (("pruned", 30, [NAN], "no finite psnr"), TrialState.PRUNED, None, "no finite psnr"),
        (("finished", 90, [INF], "no finite psnr"), TrialState.PRUNED, None, "no finite psnr"),
        (("failed", 30, [25.0], "machine fault"), TrialState.FAIL, None, "machine fault"),
    ],
)
def test_every_end_is_told_as_what_it_is(rates, tmp_path, told, state, value, reason) -> None:
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(), tmp_path / STUDY)
    ask(study, "a")
    study.tell("a", *told)
    (trial,) = stored(tmp_path / STUDY)
    assert (trial.state, trial.value) == (state, value)
    assert trial.user_attrs["name"] == "a"
    assert trial.user_attrs.get("reason") == reason


def test_a_second_end_changes_nothing(rates, tmp_path) -> None:
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(), tmp_path / STUDY)
    ask(study, "a")
    study.tell("a", "finished", 90, [30.0])
    study.tell("a", "failed", 30, [10.0], "machine fault")
    (trial,) = stored(tmp_path / STUDY)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 30.0)
    assert "reason" not in trial.user_attrs


def test_closing_leaves_nothing_running(rates, tmp_path) -> None:
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(), tmp_path / STUDY)
    for name in ("a", "b", "c"):
        ask(study, name)
    study.tell("a", "finished", 90, [30.0])
    study.close("driver ended")
    study.close("again")
    states = [trial.state for trial in stored(tmp_path / STUDY)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert stored(tmp_path / STUDY)[1].user_attrs["reason"] == "driver ended"


def test_pruned_trials_teach_the_sampler(rates) -> None:
    """Suggestions move towards what scored high, though nothing ran to its end."""
    sampler = TPESampler(seed=0, n_startup_trials=2)
    study = SearchStudy(SearchState(name="study"), rates, PSNR, sampler)
    suggested = []
    for number in range(30):
        rate = ask(study, str(number))["optimizer.learning_rate"]
        suggested.append(rate)
        study.tell(str(number), "pruned", 30, [-abs(rate - 5e-3)], "stopped")
    # A fifth of the range: three of fifteen by chance, seven once in seventy.
    assert sum(3e-3 < rate < 7e-3 for rate in suggested[15:]) >= 7


def test_what_is_refused_starts_no_trial_and_teaches_the_sampler(space_of, tmp_path) -> None:
    space = space_of("model.width: {int: [4, 33]}")
    study = SearchStudy(
        SearchState(name="study"), space, PSNR, RandomSampler(seed=0), tmp_path / STUDY
    )
    heard = []
    given = [
        study.ask(
            f"trial-{number}",
            lambda suggestion: "too large" if suggestion["model.width"] > 7 else "",
            lambda suggestion, reason: heard.append((suggestion["model.width"], reason)),
        )
        for number in range(4)
    ]
    assert all(suggestion["model.width"] <= 7 for suggestion in given)
    known = stored(tmp_path / STUDY)
    refused = [trial for trial in known if trial.state is TrialState.PRUNED]
    assert [(trial.params["model.width"], trial.user_attrs["reason"]) for trial in refused] == heard
    assert min(width for width, _ in heard) > 7
    running = [trial.user_attrs["name"] for trial in known if trial.state is TrialState.RUNNING]
    assert running == [f"trial-{number}" for number in range(4)]


def test_a_space_outside_its_limits_is_one_clear_line(rates) -> None:
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler())
    with pytest.raises(RunError, match="in a row were refused; got too large"):
        study.ask("a", lambda suggestion: "too large", lambda suggestion, reason: None)
    assert all(trial.state is TrialState.PRUNED for trial in study.study.trials)


def test_a_point_that_is_refused_gives_way_to_the_sampler(rates) -> None:
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(seed=0))
    point = {"optimizer.learning_rate": 0.01}
    refuse = lambda suggestion: "no" if suggestion == point else ""  # noqa: E731
    suggestion = study.ask("a", refuse, lambda suggestion, reason: None, point)
    assert suggestion != point
    assert [t.state.name for t in study.study.trials] == ["PRUNED", "RUNNING"]


ENDS: list[tuple[str, int, list[float], str]] = [
    ("finished", 90, [30.0], ""),
    ("pruned", 30, [25.0], "stopped by the scheduler"),
    ("pruned", 0, [NAN], "no memory"),
    ("pruned", 30, [NAN], "no finite psnr"),
    ("failed", 30, [20.0], "machine fault"),
    ("failed", 0, [NAN], "machine fault"),
    ("running", 30, [21.0], ""),
    ("killed", 30, [22.0], "Ctrl-C"),
    ("waiting", 0, [NAN], ""),
]


def lived(study: SearchStudy) -> SearchState:
    """A history of trials with all kinds of ends, of which the study is told as they come."""
    search = SearchState(name="study")
    for number, (status, step, (psnr,), reason) in enumerate(ENDS):
        name = f"trial-{number:03d}"
        trial = TrialRecord(
            name=name, number=number, suggestion=ask(study, name), seed=0, source="sampler",
            suggested_ms=0, state=status, reason=reason,
        )  # fmt: skip
        if step:
            metrics = {} if math.isnan(psnr) else {"best_psnr": psnr, "step_seconds": 0.5}
            trial.points.append(Point(step=step, metrics=metrics, time_ms=0))
        search.trials[name] = trial
        if status in {"finished", "pruned", "failed"}:
            study.tell(name, status, step, study.values(trial), reason)
    return search


def told(study: SearchStudy) -> list[tuple[Any, ...]]:
    return [
        (t.user_attrs["name"], t.state, t.values, t.params, t.distributions, t.intermediate_values)
        for t in study.study.trials
    ]


@pytest.mark.parametrize("several", [False, True])
def test_a_study_made_anew_equals_the_one_that_was_told(rates, tmp_path, several: bool) -> None:
    objectives = BOTH if several else PSNR
    live = SearchStudy(SearchState(name="study"), rates, objectives, RandomSampler(seed=1))
    search = lived(live)
    anew = SearchStudy(search, rates, objectives, path=tmp_path / STUDY)
    assert told(anew) == told(live)
    for name in ("trial-006", "trial-007", "trial-008"):  # they go on
        anew.tell(name, "finished", 90, [31.0, 0.5][: len(objectives)])
        live.tell(name, "finished", 90, [31.0, 0.5][: len(objectives)])
    assert told(anew) == told(live)


def test_a_study_made_anew_suggests_something_else_and_knows_more(rates) -> None:
    search = lived(SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(seed=1)))
    study = SearchStudy(search, rates, PSNR, RandomSampler(seed=2))
    seen = {str(trial.suggestion) for trial in search.trials.values()}
    assert str(ask(study, "next")) not in seen
    assert study.study.trials[-1].number == len(ENDS)


def test_an_old_file_is_replaced_whatever_it_holds(rates, tmp_path) -> None:
    (tmp_path / STUDY).write_text("no journal\n")
    (tmp_path / f"{STUDY}.lock").write_text("stale")
    study = SearchStudy(SearchState(name="study"), rates, PSNR, RandomSampler(), tmp_path / STUDY)
    ask(study, "a")
    assert len(stored(tmp_path / STUDY)) == 1


def test_results_of_earlier_searches_are_known_to_the_sampler(rates) -> None:
    search = SearchState(name="study")
    for number in range(20):
        rate = 10 ** (-4 + 2 * number / 19)
        search.warm.append(
            {
                "suggestion": {"optimizer.learning_rate": rate}, "step": 90,
                "values": [-abs(rate - 5e-3)], "finished": number % 2 == 0,
            }
        )  # fmt: skip
    study = SearchStudy(search, rates, PSNR, TPESampler(seed=0, n_startup_trials=2))
    states = {trial.state for trial in study.study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    drawn = [ask(study, str(number))["optimizer.learning_rate"] for number in range(10)]
    assert sum(2e-3 < rate <= 1e-2 for rate in drawn) >= 6  # a third of the range


def test_several_objectives_have_no_intermediate_values(rates) -> None:
    study = SearchStudy(SearchState(name="study"), rates, BOTH, NSGAIISampler(seed=0))
    for name, values in (("a", [30.0, 0.5]), ("b", [25.0, 0.1]), ("c", [20.0, 0.6])):
        ask(study, name)
        study.tell(name, "finished", 90, values)
    ask(study, "d")
    study.tell("d", "pruned", 30, [25.0, NAN], "no finite step_seconds")
    assert [trial.user_attrs["name"] for trial in study.study.best_trials] == ["a", "b"]
    assert all(not trial.intermediate_values for trial in study.study.trials)
    assert study.study.trials[-1].state is TrialState.PRUNED


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_goes_on_with_a_study_made_anew(space_of, name: str) -> None:
    space = space_of("model.blocks: {choice: [1, 2]}, model.width: {int: [8, 24], step: 8}")

    def sampler(seed: int) -> BaseSampler:
        return make_sampler(name, space.parameters, trials=6, seed=0 if name == "grid" else seed)

    search, seen = SearchState(name="study"), []
    for number in range(6):
        study = SearchStudy(search, space, PSNR, sampler(number))
        suggestion = ask(study, f"t{number}")
        study.tell(f"t{number}", "finished", 90, [float(number)])
        assert study.study.trials[-1].state is TrialState.COMPLETE
        seen.append(tuple(suggestion.values()))
        assert space.contains(suggestion)
        search.trials[f"t{number}"] = TrialRecord(
            name=f"t{number}", number=number, suggestion=suggestion, seed=0, source="sampler",
            suggested_ms=0, state="finished",
            points=[Point(step=90, metrics={"best_psnr": float(number)}, time_ms=0)],
        )  # fmt: skip
    if name == "grid":
        assert len(set(seen)) == 6
        assert SearchStudy(search, space, PSNR, sampler(7)).exhausted


def test_a_grid_ends_without_raising(space_of) -> None:
    space = space_of("model.blocks: {choice: [1, 2]}, model.width: {int: [8, 24], step: 8}")
    sampler = make_sampler("grid", space.parameters, trials=6, seed=0)
    study = SearchStudy(SearchState(name="study"), space, PSNR, sampler)
    seen = []
    for number in range(6):
        assert not study.exhausted
        seen.append(ask(study, str(number)))
    for number in range(6):
        study.tell(str(number), "finished", 90, [1.0])
    assert len({str(one) for one in seen}) == 6
    assert study.exhausted
    nothing = study.ask("more", lambda suggestion: "", lambda suggestion, reason: None)
    assert nothing is None
    assert {trial.state for trial in study.study.trials} == {TrialState.COMPLETE}


def test_a_grid_tries_its_own_points_whatever_a_warm_start_knows(space_of) -> None:
    space = space_of("model.blocks: {choice: [1, 2]}, model.width: {int: [8, 24], step: 8}")
    search = SearchState(name="study")
    known = {"suggestion": {"model.blocks": 1, "model.width": 8}, "step": 90, "values": [1.0]}
    search.warm = [known | {"finished": True}]
    sampler = make_sampler("grid", space.parameters, trials=6, seed=0)
    study = SearchStudy(search, space, PSNR, sampler)
    assert len({str(ask(study, str(number))) for number in range(6)}) == 6


@pytest.mark.parametrize(
    ("status", "values", "state"),
    [
        ("finished", [1.0], "COMPLETE"),
        ("finished", [1.0, NAN], "PRUNED"),
        ("pruned", [1.0], "PRUNED"),
        ("failed", [NAN], "FAIL"),
        ("killed", [1.0], "RUNNING"),
        ("running", [NAN], "RUNNING"),
        ("waiting", [NAN], "RUNNING"),
    ],
)
def test_states_in_optuna(status: str, values: list[float], state: str) -> None:
    assert optuna_state(status, values).name == state


LIMIT = "kinetic_bias <= 5"


@pytest.fixture
def limited(tmp_path: Path) -> SearchSpace:
    path = tmp_path / "limited.yaml"
    parameters = "parameters: {optimizer.learning_rate: {log: [1e-4, 1e-2]}}"
    path.write_text(f"{parameters}\noutcome_constraints: [{LIMIT}]")
    return load_space(str(path))


def biased(rate: float) -> dict[str, float]:
    """A report: the higher the rate, the better the PSNR and the worse the bias, 0 to 20 %."""
    decades = math.log10(rate / 1e-4)
    return {"best_psnr": 30 + 2 * decades, "val_kinetic_bias": 10 * decades}


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_a_violator_is_complete_and_samplers_turn_away_from_it(
    limited, rates, tmp_path, name
) -> None:
    late = []
    for space in (limited, rates):
        sampler = make_sampler(name, space.parameters, trials=32, seed=1)
        study = SearchStudy(SearchState(name="study"), space, PSNR, sampler, tmp_path / STUDY)
        over = []
        for number in range(32):
            metrics = biased(ask(study, str(number))["optimizer.learning_rate"])
            over.append(metrics["val_kinetic_bias"] > 5)
            study.tell(str(number), "finished", 90, [metrics["best_psnr"]], metrics=metrics)
        told = stored(tmp_path / STUDY)
        assert {trial.state for trial in told} == {TrialState.COMPLETE}
        if space is limited:
            assert [trial.constraints[LIMIT] > 0 for trial in told] == over
        late.append(sum(over[-10:]))
    assert late[0] < late[1]


def test_a_study_made_anew_says_the_same_of_outcomes(limited, tmp_path: Path) -> None:
    search, point = SearchState(name="study"), {"optimizer.learning_rate": 1e-3}
    ends = {
        "a": ("finished", biased(1e-2)),
        "b": ("finished", biased(1e-4)),
        "c": ("pruned", {"best_psnr": 20.0}),
    }
    for number, (name, (state, metrics)) in enumerate(ends.items()):
        search.trials[name] = TrialRecord(
            name=name, number=number, suggestion=point, seed=0, source="sampler",
            suggested_ms=0, state=state, points=[Point(step=9, metrics=metrics, time_ms=0)],
        )  # fmt: skip
    search.warm.append({"suggestion": point, "finished": True, "step": 9, "values": [31.0]})
    SearchStudy(search, limited, PSNR, path=tmp_path / STUDY)
    told = {
        trial.user_attrs["name"]: trial.constraints[LIMIT] for trial in stored(tmp_path / STUDY)
    }
    assert told == pytest.approx({"warm": 0.0, "a": 15.0, "b": -5.0, "c": 5.0})
    assert best_trial(search, PSNR).name == "a"
    assert best_trial(search, PSNR, limited.outcomes).name == "b"
    assert front_of(search, BOTH[:1], limited.outcomes) == ["b"]
