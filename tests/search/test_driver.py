"""The driver, driven by hand: what it suggests, counts and ends, and how another one follows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import RunError
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.engine import driver as module
from dtsinn.search.engine.driver import STOP
from dtsinn.search.events.state import DIED, replay
from dtsinn.search.objective import read_objectives
from dtsinn.search.plan import change_plan

HOUR_ms = 3_600_000


def events_of(folder: Path) -> list[dict[str, Any]]:
    return list(EventLog(folder / "hand" / LOG_FILE, readonly=True))


def states_in_study(hand: Any) -> list[TrialState]:
    return [trial.state for trial in hand.driver.tools.study.study.trials]


# ----------------------------------------------------------------- one session


def test_every_end_is_told_as_what_it_is(make_plan, sit, tmp_path: Path) -> None:
    hand = sit(make_plan(trials=7))
    whole = hand.whole(30.0)
    fallen, spoiled, blind, mute, dead, unborn = (hand.start() for _ in range(6))
    assert unborn == ""  # only four at a time
    assert hand.report(fallen, 10, 20.0)
    hand.end(fallen)
    assert not hand.tell(spoiled, reason="no memory")
    hand.end(spoiled)
    assert not hand.report(blind, 90, math.nan, finished=True)
    hand.end(blind, finished=True)
    hand.end(mute)
    dead = hand.start()
    hand.report(dead, 10, 25.0)
    hand.end(dead, error=True)
    hand.driver.close()
    hand.driver.end("finished")
    told = {
        trial.name: (trial.state, trial.reason)
        for trial in replay("hand", events_of(tmp_path)).trials.values()
    }
    assert told == {
        whole: ("finished", ""),
        fallen: ("pruned", "pruned by the scheduler"),
        spoiled: ("pruned", "no memory"),
        blind: ("pruned", "no finite psnr"),
        mute: ("pruned", "no finite psnr"),
        dead: ("failed", "machine fault"),
    }
    study = {t.user_attrs["name"]: t for t in hand.driver.tools.study.study.trials}
    assert {
        name: (t.state.name, t.value, t.user_attrs.get("reason")) for name, t in study.items()
    } == {
        whole: ("COMPLETE", 30.0, None),
        fallen: ("PRUNED", 20.0, "pruned by the scheduler"),
        spoiled: ("PRUNED", None, "no memory"),
        blind: ("PRUNED", None, "no finite psnr"),
        mute: ("PRUNED", None, "no finite psnr"),
        dead: ("FAIL", None, "machine fault"),
    }


def test_what_diverges_after_good_reports_teaches_no_value(make_plan, sit) -> None:
    plan = make_plan()
    hand = sit(plan)
    fell = hand.start()
    assert hand.report(fell, 10, 20.0)
    assert not hand.tell(fell, reason="loss is nan at step 14")
    hand.end(fell)
    again = sit(plan)  # and so it does in a study that is made anew
    for driver in (hand.driver, again.driver):
        (trial,) = driver.tools.study.study.trials
        assert (trial.state.name, trial.value) == ("PRUNED", None)
        assert trial.intermediate_values == {}
        assert driver.search.trials[fell].infeasible


def test_the_first_trial_is_the_base_configuration(make_plan, sit) -> None:
    plan = make_plan()
    hand = sit(plan)
    trial = hand.driver.search.trials[hand.start()]
    assert (trial.source, trial.suggestion) == ("base", plan.space.start())


def test_given_points_come_before_the_base_and_what_they_leave_out_is_chosen(
    make_plan, sit
) -> None:
    text = """
fixed: {steps: 90, validate_every: 10}
parameters:
  model.blocks: {choice: [1, 2]}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
points: [{model.blocks: 2}]
"""
    plan = make_plan(text)
    hand = sit(plan, points=[{"model.blocks": 1, "optimizer.learning_rate": 0.004}])
    for _ in range(4):
        hand.start()
    trials = list(hand.driver.search.trials.values())
    assert [trial.source for trial in trials] == ["point", "warm start", "base", "sampler"]
    assert trials[0].suggestion["model.blocks"] == 2
    assert 1e-3 <= trials[0].suggestion["optimizer.learning_rate"] <= 8e-3
    assert trials[1].suggestion == {"model.blocks": 1, "optimizer.learning_rate": 0.004}
    assert trials[2].suggestion == plan.space.start()


def test_the_same_seed_suggests_the_same_one_by_one(make_plan, sit, tmp_path: Path) -> None:
    seen = []
    for name in ("one", "two"):
        hand = sit(make_plan(name=name, trials=8, seed=3), concurrent=1)
        for number in range(8):
            hand.whole(20.0 + number % 3)
        seen.append([trial.suggestion for trial in hand.driver.search.trials.values()])
    assert seen[0] == seen[1]
    assert len({str(suggestion) for suggestion in seen[0]}) == 8


def test_no_more_trials_at_a_time_than_asked_for(make_plan, sit) -> None:
    hand = sit(make_plan(trials=9), concurrent=2)
    first, second = hand.start(), hand.start()
    assert hand.start() == ""
    hand.report(first, 90, 20.0, finished=True)
    hand.end(first, finished=True)
    assert hand.start() not in {"", first, second}


def test_the_number_of_trials_is_as_asked(make_plan, sit) -> None:
    hand = sit(make_plan(trials=3))
    for _ in range(3):
        hand.whole(20.0)
    assert hand.start() == ""
    assert hand.driver.to_come == 0
    assert not hand.driver.is_over()


def test_the_search_s_own_chart_shows_the_incumbent_over_all_steps(
    make_plan, sit, tmp_path: Path
) -> None:
    hand = sit(make_plan())
    first, second = hand.start(), hand.start()
    for trial, step, psnr in [
        (first, 10, 20.0), (second, 10, 19.0), (second, 20, 21.0), (first, 20, 20.5),
    ]:  # fmt: skip
        hand.report(trial, step, psnr)
    own = [e for e in events_of(tmp_path) if e["event"] == "report" and e["key"] == "hand"]
    assert [(e["step"], e["metrics"]) for e in own] == [
        (10, {"best_psnr": 20.0}),
        (30, {"best_psnr": 21.0}),
    ]


def test_all_finite_metrics_are_recorded(make_plan, sit, tmp_path: Path) -> None:
    hand = sit(make_plan())
    trial = hand.start()
    hand.report(trial, 10, 20.0, val_psnr=math.inf, gradient_norm=0.5)
    (report,) = [e for e in events_of(tmp_path) if e["event"] == "report" and "/" in e["key"]]
    assert report["metrics"] == {"best_psnr": 20.0, "gradient_norm": 0.5}


def test_halving_stops_the_worse_of_those_at_a_rung(make_plan, sit) -> None:
    hand = sit(make_plan(scheduler="asha"))
    good, bad, better = hand.start(), hand.start(), hand.start()
    assert all(hand.report(trial, 50, 5.0) for trial in (good, bad, better)), "no rung"
    assert hand.report(good, 60, 20.0)
    assert not hand.report(bad, 60, 10.0)
    assert hand.report(better, 60, 21.0)
    assert hand.report(good, 70, 1.0), "no rung"


def test_hyperband_stops_from_the_first_report_on_in_one_of_its_brackets(make_plan, sit) -> None:
    hand = sit(make_plan(scheduler="hyperband", trials=9))
    trials = [hand.start() for _ in range(2)]  # rungs at 10 and 30: three brackets, in turn
    for number, value in ((0, 20.0), (1, 1.0)):
        assert hand.report(trials[number], 10, value), "the first; and one whose first rung is 30"
    hand.driver.handle_end(hand.ids[trials[1]], None, False)
    trials += [hand.start()]
    hand.driver.handle_end(hand.ids[trials[2]], None, False)
    trials += [hand.start()]
    assert not hand.report(trials[3], 10, 19.0), "in the bracket of the first, and worse"


def test_what_is_minimised_is_halved_the_other_way(make_plan, sit) -> None:
    plan = make_plan(scheduler="asha", objectives=read_objectives("step_seconds:min"))
    hand = sit(plan)
    fast, slow = hand.start(), hand.start()
    assert hand.report(fast, 60, 20.0, step_seconds=0.1)
    assert not hand.report(slow, 60, 30.0, step_seconds=0.2)


def test_refused_suggestions_start_no_trial_and_are_written_down(
    make_plan, sit, tmp_path: Path
) -> None:
    text = """
fixed: {steps: 90, validate_every: 10, model.kind: invertible}
parameters: {model.width: {int: [4, 64]}}
constraints: [parameters <= 12000]
"""
    hand = sit(make_plan(text, trials=6, sampler="random"), concurrent=6)
    names = [hand.start() for _ in range(6)]
    assert names == [f"trial-{number:03d}" for number in range(6)]
    refused = hand.driver.search.refused
    assert refused
    assert all("parameters; wanted parameters <= 12000" in one["reason"] for one in refused)
    widths = [trial.suggestion["model.width"] for trial in hand.driver.search.trials.values()]
    assert max(widths) < min(one["suggestion"]["model.width"] for one in refused)
    states = states_in_study(hand)
    assert states.count(TrialState.PRUNED) == len(refused)
    assert states.count(TrialState.RUNNING) == 6


def test_a_space_that_nothing_fits_ends_the_session_with_the_reason(make_plan, sit) -> None:
    text = "{parameters: {model.width: {int: [4, 64]}}, constraints: [parameters <= 10]}"
    hand = sit(make_plan(text))
    assert hand.start() == ""
    assert isinstance(hand.driver.error, RunError)
    assert "in a row were refused" in str(hand.driver.error)
    assert hand.driver.is_over()
    assert hand.driver.outcome.interrupted


@pytest.mark.parametrize("ended", [True, False])
def test_a_trial_whose_worker_never_came_up_is_begun_before_it_is_ended(
    make_plan, sit, recording, ended: bool
) -> None:
    """No tracker knows the run otherwise, and nothing after its end would ever be delivered.

    Ray itself does not say of those that it never started that they ended.
    """
    hand = sit(make_plan(), tracker=recording)
    given = hand.driver.suggest("ray")
    if ended:
        hand.driver.handle_end("ray", None, error=True)
    hand.driver.close()
    hand.driver.end("finished")
    hand.driver.tools.outbox.deliver()
    told = [call for call in recording.calls if call[1] == f"hand/{given['trial']}"]
    assert [call[0] for call in told] == ["begin", "end"]
    assert TrialState.RUNNING not in states_in_study(hand)


def test_a_restarted_trial_says_its_last_report_again_and_it_counts_once(
    make_plan, sit, tmp_path: Path
) -> None:
    hand = sit(make_plan())
    trial = hand.start()
    hand.report(trial, 10, 20.0)
    hand.report(trial, 20, 21.0)
    hand.driver.restart_trial(hand.ids[trial])
    hand.driver.start_trial(hand.ids[trial])
    assert hand.report(trial, 20, 21.0)
    assert hand.report(trial, 30, 22.0)
    known = replay("hand", events_of(tmp_path)).trials[trial]
    assert [point.step for point in known.points] == [10, 20, 30]
    assert (known.restarts, known.repeats) == (1, 1)
    assert known.lost_seconds >= 0
    assert hand.driver.budget.steps == 30
    begins = [e for e in events_of(tmp_path) if e["event"] == "begin"]
    assert [e["run"]["key"] for e in begins] == ["hand", f"hand/{trial}"]


def test_work_that_is_lost_to_two_deaths_in_a_row_counts_once(
    make_plan, sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = sit(make_plan())
    trial = hand.start()
    hand.report(trial, 10, 20.0)
    known = hand.driver.search.trials[trial]
    reported = known.points[-1].time_ms
    for seconds in (10, 25):
        monkeypatch.setattr(module, "now_ms", lambda now=reported + 1000 * seconds: now)
        hand.driver.restart_trial(hand.ids[trial])
    assert (known.restarts, known.lost_seconds) == (2, 25.0)


# ----------------------------------------------------------------- budgets


def test_the_step_budget_counts_all_trials(make_plan, sit) -> None:
    hand = sit(make_plan(step_budget=60))
    first, second = hand.start(), hand.start()
    hand.report(first, 30, 20.0)
    hand.report(second, 20, 20.0)
    assert not hand.driver.is_over()
    hand.report(second, 30, 20.0)
    assert hand.driver.is_over()
    assert hand.driver.outcome.over == "the budget of 60 steps is spent"
    assert hand.start() == ""


@pytest.mark.parametrize(
    ("objective", "values", "target"),
    [("psnr:max", (29.0, 30.0), 30.0), ("step_seconds:min", (0.2, 0.05), 0.1)],
)
def test_a_target_that_is_reached_ends_it(
    make_plan, sit, objective: str, values: tuple[float, float], target: float
) -> None:
    hand = sit(make_plan(objectives=read_objectives(objective), target=target))
    trial = hand.start()
    for step, value in enumerate(values, 1):
        assert not hand.driver.is_over()
        metric = objective.partition(":")[0]
        hand.report(trial, 10 * step, value, **({} if metric == "psnr" else {metric: value}))
    assert hand.driver.is_over()
    assert "the target is reached" in hand.driver.outcome.over


def test_patience_counts_the_trials_that_brought_nothing_better(make_plan, sit) -> None:
    hand = sit(make_plan(trials=9, patience=2))
    for psnr in (19.0, 20.0, 21.0, 20.5):
        hand.whole(psnr)
        assert not hand.driver.is_over()
    hand.whole(20.9)
    assert hand.driver.is_over()
    assert hand.driver.outcome.over == "2 trials ended without a better one"


def log_of_a_long_session(folder: Path, plan: Any, minutes: int, idle_ms: int) -> None:
    """One trial under way for so long, in a session that ended, or died, so long ago."""
    begun = now_ms() - idle_ms - minutes * 60_000
    event_log = EventLog(folder / "hand" / LOG_FILE)
    run = {"name": "hand", "kind": "search", "experiment": "e", "time_ms": begun}
    event_log.append(
        {"event": "sitting", "time_ms": begun, "host": "h", "pid": 1, "plan": plan.as_data()}
    )
    event_log.append({"event": "begin", "time_ms": begun, "run": run | {"key": "hand"}})
    event_log.append(
        {
            "event": "suggest", "time_ms": begun, "trial": "trial-000", "number": 0, "seed": 0,
            "suggestion": plan.space.start(), "source": "base", "seconds": 0.1,
        }
    )  # fmt: skip
    trial = run | {"key": "hand/trial-000", "name": "trial-000", "kind": "trial", "parent": "hand"}
    gpus = plan.gpus_per_trial
    event_log.append({"event": "begin", "time_ms": begun, "run": trial, "gpus": gpus})
    event_log.append(
        {
            "event": "report", "time_ms": begun + minutes * 60_000, "key": "hand/trial-000",
            "step": 10, "metrics": {"best_psnr": 20.0},
        }
    )  # fmt: skip


@pytest.mark.parametrize(("budget_s", "over"), [(29 * 60, True), (31 * 60, False)])
def test_the_time_of_all_sittings_counts_and_the_time_between_them_does_not(
    make_plan, sit, tmp_path: Path, budget_s: float, over: bool
) -> None:
    plan = make_plan(time_budget_s=budget_s)
    log_of_a_long_session(tmp_path, plan, 30, idle_ms=9 * HOUR_ms)
    hand = sit(plan)
    assert hand.driver.is_over() == over
    assert hand.driver.outcome.over == ("the time budget is spent" if over else "")
    assert hand.driver.search.seconds == pytest.approx(30 * 60, abs=60)


@pytest.mark.parametrize(("budget", "over"), [(0.9, True), (1.1, False)])
def test_gpu_hours_count_what_trials_were_under_way_for(
    make_plan, sit, tmp_path: Path, budget: float, over: bool
) -> None:
    plan = make_plan(gpus_per_trial=2, gpu_hours=budget)
    log_of_a_long_session(tmp_path, plan, 30, idle_ms=9 * HOUR_ms)
    hand = sit(change_plan(plan, {"gpus_per_trial": 1}))  # it had two then
    assert hand.start() == ("" if over else "trial-000")
    assert hand.driver.is_over() == over
    if over:
        assert hand.driver.outcome.over == "the budget of 0.9 GPU hours is spent"


def test_a_search_that_is_over_prunes_what_is_under_way(make_plan, sit, tmp_path: Path) -> None:
    hand = sit(make_plan())
    trial = hand.start()
    hand.report(trial, 10, 20.0)
    (tmp_path / "hand" / STOP).touch()
    assert hand.driver.is_over()
    assert not hand.driver.outcome.interrupted
    hand.driver.close()
    (known,) = replay("hand", events_of(tmp_path)).trials.values()
    assert (known.state, known.reason) == ("pruned", "stopped")
    assert states_in_study(hand) == [TrialState.PRUNED]


def test_what_waits_or_has_not_gone_on_yet_ends_with_the_search(
    make_plan, sit, recording, tmp_path: Path
) -> None:
    plan = make_plan(trials=9)
    _, first, second = under_way(sit(plan, tracker=recording))  # and the driver dies
    hand = sit(plan, tracker=recording)
    assert hand.start() == first
    waits = hand.driver.suggest("ray")
    assert waits["trial"] == second
    (tmp_path / "hand" / STOP).touch()
    assert hand.driver.is_over()
    hand.driver.close()
    hand.driver.end("finished")
    search = replay("hand", events_of(tmp_path))
    assert search.states() == {"finished": 1, "pruned": 2}
    assert {search.trials[name].reason for name in (first, second)} == {"stopped"}
    assert set(states_in_study(hand)) == {TrialState.COMPLETE, TrialState.PRUNED}
    hand.driver.tools.outbox.deliver()
    assert recording.open == set()


def test_what_waits_stays_for_the_next_driver_of_an_interrupted_search(make_plan, sit) -> None:
    hand = sit(make_plan())
    waits = hand.driver.suggest("ray")["trial"]
    hand.driver.interrupt("Ctrl-C")
    hand.driver.close()
    assert hand.driver.search.trials[waits].state == "waiting"
    assert sit(make_plan()).start() == waits


def test_the_next_sitting_forgets_that_the_last_one_was_stopped(
    make_plan, sit, tmp_path: Path
) -> None:
    sit(make_plan()).driver.close()
    (tmp_path / "hand" / STOP).touch()
    assert not sit(make_plan()).driver.is_over()


# ----------------------------------------------------------------- the next driver


def under_way(hand: Any) -> tuple[str, str, str]:
    """One trial that ended and two that run, one of them without a report."""
    done = hand.whole(30.0)
    first, second = hand.start(), hand.start()
    hand.report(first, 10, 20.0)
    return done, first, second


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_another_driver_goes_on_with_the_same_configurations(
    make_plan, sit, tmp_path: Path, how: str
) -> None:
    plan = make_plan(trials=5)
    hand = sit(plan)
    done, first, second = under_way(hand)
    before = {name: trial.suggestion for name, trial in hand.driver.search.trials.items()}
    if how == "interrupted":
        hand.driver.interrupt("Ctrl-C")
        assert hand.driver.is_over()
        assert not hand.report(second, 10, 19.0), "what it did from here would be done again"
        hand.end(second)
        hand.driver.close()
        hand.driver.end("killed", "Ctrl-C")
        assert TrialState.RUNNING not in states_in_study(hand)
    last = hand.driver.search.sessions[-1].last_ms

    again = sit(plan)
    search = again.driver.search
    assert [search.trials[name].state for name in (done, first, second)] == [
        "finished", "killed", "killed",
    ]  # fmt: skip
    reason = "Ctrl-C" if how == "interrupted" else DIED
    assert search.trials[first].reason == reason
    assert search.trials[first].ended_ms <= last
    assert again.driver.to_come == 4
    assert [again.start(), again.start()] == [first, second]
    assert again.report(first, 10, 20.0)
    assert again.report(first, 20, 21.0)
    fresh = [again.start(), again.start()]
    assert again.start() == ""
    assert set(fresh).isdisjoint(before)
    after = {name: trial.suggestion for name, trial in again.driver.search.trials.items()}
    assert {name: after[name] for name in before} == before
    assert len({str(suggestion) for suggestion in after.values()}) == 5
    assert len(after) == 5
    known = again.driver.search.trials[first]
    assert ([point.step for point in known.points], known.repeats) == ([10, 20], 1)
    for name in (first, second, *fresh):
        again.report(name, 90, 25.0, finished=True)
        again.end(name, finished=True)
    again.driver.close()
    again.driver.end("finished")
    search = replay("hand", events_of(tmp_path))
    assert search.states() == {"finished": 5}
    assert (search.state, len(search.sessions)) == ("finished", 2)
    assert states_in_study(again) == [TrialState.COMPLETE] * 5


def test_points_that_were_not_tried_yet_are_tried_by_the_next_driver(make_plan, sit) -> None:
    points = [
        {"model.blocks": 1 + i % 2, "optimizer.learning_rate": 0.002 + i / 1000} for i in range(3)
    ]
    plan = make_plan(trials=5)
    hand = sit(plan, points=points, concurrent=1)
    hand.whole(20.0)
    again = sit(plan, concurrent=5)
    for _ in range(4):
        again.start()
    trials = list(again.driver.search.trials.values())
    assert [trial.suggestion for trial in trials[:4]] == [*points, plan.space.start()]
    assert [t.source for t in trials] == ["warm start"] * 3 + ["base", "sampler"]


def test_a_stop_by_halving_is_remembered_by_the_next_driver(make_plan, sit) -> None:
    plan = make_plan(scheduler="asha")
    hand = sit(plan)
    good, bad = hand.start(), hand.start()
    hand.report(good, 60, 20.0)
    assert not hand.report(bad, 60, 10.0)  # and the driver dies
    again = sit(plan)
    assert [again.start(), again.start()] == [good, bad]
    assert again.report(good, 60, 20.0)
    assert not again.report(bad, 60, 10.0)


def test_more_trials_may_be_asked_for_when_it_goes_on(make_plan, sit) -> None:
    hand = sit(make_plan(trials=1))
    hand.whole(20.0)
    hand.driver.close()
    again = sit(make_plan(trials=3))
    assert again.driver.to_come == 2
    assert again.start() == "trial-001"


def test_a_grid_is_gone_over_once_however_many_drivers_it_takes(make_plan, sit) -> None:
    text = """
fixed: {steps: 90, validate_every: 10}
parameters: {model.blocks: {choice: [1, 2, 3]}, model.width: {int: [8, 24], step: 8}}
"""
    plan = make_plan(text, sampler="grid", trials=9)
    for _ in range(3):
        hand = sit(plan, concurrent=2)
        for _ in range(2):
            hand.whole(20.0)
        hand.start()  # and the driver dies
    hand = sit(plan, concurrent=9)
    while hand.start():
        pass
    seen = [tuple(sorted(t.suggestion.items())) for t in hand.driver.search.trials.values()]
    assert len(seen) == len(set(seen)) == 9


def test_a_given_point_that_is_refused_gives_its_place_to_the_sampler(make_plan, sit) -> None:
    text = "{parameters: {model.width: {int: [4, 64]}}, constraints: [parameters <= 12000]}"
    plan = make_plan(text)
    hand = sit(plan, points=[{"model.width": 64}, {"model.width": 5}])
    hand.whole(20.0)
    trials, refused = hand.driver.search.trials, hand.driver.search.refused
    assert (refused[0]["suggestion"], refused[0]["source"]) == ({"model.width": 64}, "warm start")
    assert {one["source"] for one in refused[1:]} <= {"sampler"}
    assert trials["trial-000"].source == "sampler"
    again = sit(plan)  # and the next session goes on with the next point
    again.whole(20.0)
    (_, second) = again.driver.search.trials.values()
    assert (second.suggestion, second.source) == ({"model.width": 5}, "warm start")


def test_a_grid_with_refused_points_ends_with_its_last_one(make_plan, sit) -> None:
    text = """
fixed: {steps: 90, validate_every: 10, model.kind: invertible}
parameters: {model.width: {int: [4, 64], step: 4}}
constraints: [parameters <= 12000]
"""
    hand = sit(make_plan(text, sampler="grid", trials=16), concurrent=16)
    names = []
    while name := hand.start():
        names.append(name)
    widths = [trial.suggestion["model.width"] for trial in hand.driver.search.trials.values()]
    assert 0 < len(widths) == len(set(widths)) < 16
    assert len(widths) + len(hand.driver.search.refused) == 16
    assert hand.driver.error is None
    assert hand.driver.to_come == 0


# ----------------------------------------------------------------- trouble


def test_a_full_disk_that_a_worker_meets_interrupts_the_search(
    make_plan, sit, tmp_path: Path
) -> None:
    hand = sit(make_plan())
    trial = hand.start()
    assert not hand.tell(trial, halt="no space left")
    assert hand.driver.is_over()
    hand.driver.close()
    (known,) = replay("hand", events_of(tmp_path)).trials.values()
    assert (known.state, known.reason) == ("killed", "no space left")


def test_the_study_and_the_ledger_agree_after_each_event(
    make_plan: Callable[..., Any], sit, tmp_path: Path
) -> None:
    """Whenever the driver dies, the study that is made anew says the same of every trial."""
    plan = make_plan(trials=6)
    hand = sit(plan)
    _, first, second = under_way(hand)
    hand.end(first)
    hand.tell(second, reason="no memory")
    hand.end(second)
    live = hand.driver.tools.study.study.trials
    again = sit(plan).driver.tools.study.study.trials
    for one, other in zip(live, again, strict=True):
        assert (one.state, one.values, one.params) == (other.state, other.values, other.params)
        assert one.intermediate_values == other.intermediate_values
        for attribute in ("name", "reason"):
            assert one.user_attrs.get(attribute) == other.user_attrs.get(attribute)
        assert one.distributions == other.distributions


def test_a_signal_that_comes_while_it_looks_is_not_lost(
    make_plan, sit, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = sit(make_plan()).driver

    def looked(now: int) -> str:
        driver.interrupt("Ctrl-C")  # as its handler does, between two of our instructions
        return ""

    monkeypatch.setattr(driver.budget, "why_over", looked)
    assert driver.is_over()
    assert (driver.outcome.over, driver.outcome.interrupted) == ("Ctrl-C", True)
