"""What an event log tells: trials, sessions and the search, event by event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dtsinn.core.errors import InputError
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.events.state import DIED, SearchState, ends_of_died, read_state, replay


def session(time_ms: int, **plan: Any) -> dict[str, Any]:
    return {"event": "sitting", "time_ms": time_ms, "host": "h", "pid": 7, "plan": plan}


def begin(key: str, time_ms: int) -> dict[str, Any]:
    run = {"key": key, "name": key, "kind": "trial", "experiment": "e", "time_ms": time_ms}
    return {"event": "begin", "time_ms": time_ms, "run": run}


def suggest(number: int, time_ms: int = 0) -> dict[str, Any]:
    return {
        "event": "suggest", "time_ms": time_ms, "trial": f"t{number}", "number": number,
        "suggestion": {"x": number}, "seed": 0, "source": "sampler", "seconds": 0.5,
    }  # fmt: skip


def report(key: str, step: int, time_ms: int) -> dict[str, Any]:
    metrics = {"best_psnr": float(step)}
    return {"event": "report", "time_ms": time_ms, "key": key, "step": step, "metrics": metrics}


def end(key: str, status: str, time_ms: int, **tags: str) -> dict[str, Any]:
    return {"event": "end", "time_ms": time_ms, "key": key, "status": status, "tags": tags}


OPENING = [session(1_000, trials=3), begin("s", 1_000), suggest(0, 2_000), begin("s/t0", 3_000)]


def test_a_trial_from_suggestion_to_end() -> None:
    events = [*OPENING, report("s/t0", 10, 4_000), report("s/t0", 20, 5_000)]
    search = replay("s", events)
    (trial,) = search.trials.values()
    assert (trial.state, trial.step, trial.metrics) == ("running", 20, {"best_psnr": 20.0})
    assert (trial.number, trial.suggestion, trial.suggested_ms) == (0, {"x": 0}, 2_000)
    assert trial.is_open
    assert trial.active_seconds(6_000) == 3.0
    search.apply(end("s/t0", "pruned", 7_000, reason="pruned by the scheduler"))
    assert (trial.state, trial.reason) == ("pruned", "pruned by the scheduler")
    assert not trial.is_open
    assert trial.active_seconds(99_000) == 4.0
    assert search.steps == 20
    assert search.states() == {"pruned": 1}


def test_what_was_thought_of_and_not_begun_waits() -> None:
    search = replay("s", [*OPENING, suggest(1)])
    assert search.states() == {"running": 1, "waiting": 1}
    assert search.trials["t1"].active_seconds(99_000) == 0


def test_a_killed_trial_that_goes_on_counts_only_the_time_it_was_under_way() -> None:
    events = [*OPENING, report("s/t0", 10, 4_000), end("s/t0", "killed", 5_000, reason="Ctrl-C")]
    search = replay("s", events)
    trial = search.trials["t0"]
    assert trial.is_open
    for event in (session(60_000, trials=3), begin("s/t0", 61_000), report("s/t0", 20, 63_000)):
        search.apply(event)
    assert (trial.state, trial.reason, trial.step) == ("running", "", 20)
    assert trial.active_seconds(64_000) == 2.0 + 3.0
    assert [point.step for point in trial.points] == [10, 20]


def test_restarts_and_repeats_are_counted() -> None:
    again = {"event": "restart", "time_ms": 6_000, "trial": "t0", "step": 10, "lost_seconds": 1.5}
    repeat = {"event": "repeat", "time_ms": 7_000, "trial": "t0", "step": 10}
    search = replay("s", [*OPENING, report("s/t0", 10, 4_000), again, repeat, again])
    trial = search.trials["t0"]
    assert (trial.restarts, trial.repeats, trial.lost_seconds) == (2, 1, 3.0)
    assert len(trial.points) == 1


def test_what_is_known_before_and_what_was_refused_is_kept() -> None:
    warm = {"event": "warm", "suggestion": {"x": 1}, "step": 5, "values": [1.0], "finished": True}
    point = {"event": "point", "source": "base", "suggestion": {"x": 2}}
    refused = {"event": "refuse", "suggestion": {"x": 9}, "reason": "too large"}
    search = replay("s", [warm, point, *OPENING, refused])
    assert (search.warm, search.points, search.refused) == ([warm], [point], [refused])


def test_sessions_last_from_their_begin_to_their_last_event() -> None:
    first = [*OPENING, report("s/t0", 10, 5_000)]
    second = [session(100_000, trials=4), begin("s", 100_000), report("s/t0", 20, 103_000)]
    search = replay("s", [*first, *second])
    assert [one.seconds for one in search.sessions] == [4.0, 3.0]
    assert search.seconds == 7.0
    assert search.plan == {"trials": 4}, "of the latest"
    assert search.run["time_ms"] == 1_000, "as it first began"


def test_the_search_s_own_run_ends_and_goes_on() -> None:
    search = replay("s", [*OPENING, end("s", "killed", 8_000, reason="Ctrl-C")])
    assert (search.state, search.reason) == ("killed", "Ctrl-C")
    search.apply(begin("s", 9_000))
    assert (search.state, search.reason) == ("running", "")
    search.apply(report("s", 30, 9_500))
    assert search.steps == 0, "its own chart is no trial's"
    search.apply(end("s", "finished", 10_000))
    assert search.state == "finished"


def test_what_a_dead_driver_left_ended_with_its_last_event() -> None:
    search = replay("s", [*OPENING, report("s/t0", 10, 5_000), suggest(1, 6_000)])
    ends = ends_of_died(search)
    assert ends == [end(key, "killed", 6_000, reason=DIED) for key in ("s/t0", "s")]
    for event in ends:
        search.apply(event)
    assert search.states() == {"killed": 1, "waiting": 1}
    assert search.seconds == 5.0
    assert ends_of_died(search) == []
    assert ends_of_died(SearchState(name="s")) == []


def test_a_search_is_read_while_it_is_written(tmp_path: Path) -> None:
    event_log = EventLog(tmp_path / "s" / LOG_FILE)
    for event in OPENING:
        event_log.append(event)
    with event_log.path.open("a") as file:
        file.write('{"event": "rep')
    assert read_state(tmp_path / "s").states() == {"running": 1}
    with pytest.raises(InputError, match="no search other"):
        read_state(tmp_path / "other")
