"""The benchmarks of searching: what their checks find, and what they count."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.searching.invariants import Seen, curves_of, violations
from benchmarks.searching.scale import Mark, TimedDriver, block
from benchmarks.searching.trainables import Times
from dtsinn.search.events.state import replay

RATES = {"t0": {"rate": 0.1}, "t1": {"rate": 0.2}}
STATES = {"t0": "COMPLETE", "t1": "PRUNED"}


def event(kind: str, **what: Any) -> dict[str, Any]:
    return {"event": kind, "time_ms": 1} | what


def report(key: str, step: int, value: float) -> dict[str, Any]:
    return event("report", key=key, step=step, metrics={"val_psnr": value})


def begin(key: str, kind: str) -> dict[str, Any]:
    run = {"key": key, "name": key, "kind": kind, "experiment": "e", "time_ms": 1}
    return event("begin", run=run)


def end(key: str, status: str) -> dict[str, Any]:
    return event("end", key=key, status=status, tags={})


def event_log() -> list[dict[str, Any]]:
    told = [event("sitting", host="h", pid=1, plan={}), begin("s", "search")]
    for number, (name, suggestion) in enumerate(RATES.items()):
        told.append(
            event(
                "suggest",
                trial=name,
                number=number,
                suggestion=suggestion,
                seed=0,
                source="sampler",
                seconds=0.1,
            )
        )
        told.append(begin(f"s/{name}", "trial"))
    told += [report("s/t0", 10, 20.0), report("s/t1", 10, 15.0), report("s/t0", 20, 21.0)]
    return [*told, end("s/t1", "pruned"), end("s/t0", "finished"), end("s", "finished")]


def seen(events: list[dict[str, Any]]) -> list[Seen]:
    curves = curves_of(events)
    return [Seen(key=key, status="FINISHED", curves=curves.get(key, {})) for key in KEYS]


KEYS = ("s", "s/t0", "s/t1")


def broken(
    events: list[dict[str, Any]] | None = None,
    runs: list[Seen] | None = None,
    states: dict[str, str] | None = None,
    planned: int = 2,
    before: dict[str, dict[str, float]] | None = None,
) -> list[str]:
    events = event_log() if events is None else events
    return violations(
        replay("s", events),
        events,
        seen(event_log()) if runs is None else runs,
        STATES if states is None else states,
        planned=planned,
        before=RATES if before is None else before,
    )


def test_nothing_is_broken_where_all_agree() -> None:
    assert broken() == []


def test_a_point_that_is_missing_doubled_or_another_is_found() -> None:
    for wrong in ([(10, 20.0)], [(10, 20.0), (10, 20.0), (20, 21.0)], [(10, 20.0), (20, 21.5)]):
        runs = seen(event_log())
        runs[1] = Seen(key="s/t0", status="FINISHED", curves={"val_psnr": wrong})
        assert [text.split(":")[0] for text in broken(runs=runs)] == ["s/t0"]


def test_a_step_that_stands_twice_in_the_event_log_is_found() -> None:
    events = event_log()
    events.insert(-3, report("s/t0", 20, 21.0))
    assert "s/t0: the event log has a step of val_psnr twice" in broken(events)


def test_runs_that_are_doubled_missing_or_running_are_found() -> None:
    runs = seen(event_log())
    assert broken(runs=[*runs, runs[2]]) == ["s/t1 has 2 runs in MLflow"]
    assert broken(runs=runs[:2]) == ["s/t1 has 0 runs in MLflow"]
    running = Seen(key="s/t1", status="RUNNING", curves=runs[2].curves)
    assert broken(runs=[*runs[:2], running]) == ["s/t1 is RUNNING in MLflow, pruned here"]


def test_optuna_that_says_something_else_is_found() -> None:
    assert len(broken(states={"t0": "COMPLETE", "t1": "RUNNING"})) == 1
    assert len(broken(states={"t0": "COMPLETE"})) == 1


def test_what_is_still_open_is_found() -> None:
    assert any("search is running" in text for text in broken(event_log()[:-1]))
    assert any("killed" in text for text in broken([*event_log()[:-1], end("s", "killed")]))


def test_other_numbers_and_configurations_of_trials_are_found() -> None:
    assert broken(planned=3) == ["2 trials, 3 were asked for"]
    changed = RATES | {"t1": {"rate": 0.3}}
    assert broken(before=changed) == ["t1 is not what it was before a kill"]


def test_what_is_neither_reporting_nor_keeping_is_training() -> None:
    assert Times(reports=[0.5, 0.5], saves=[0.25], total=3.0).training == 1.75


def test_a_block_leaves_suggestions_out() -> None:
    class Silent:
        def suggest(self, ray_id: str) -> dict[str, Any]:
            return {}

        def handle_end(self, *given: Any) -> None:
            pass

    driver: Any = Silent()
    timed = TimedDriver(driver)
    for _ in range(2):
        timed.suggest("a")
        timed.handle_end("a", {}, False)
    assert len(timed.marks) == 3
    timed.marks = [Mark(wall=n, cpu=n / 10) for n in range(3)]
    timed.asked = [Mark(wall=0.4, cpu=0.05), Mark(wall=0.2, cpu=0.05)]
    found = block(timed, 0, 2)
    assert (found.wall, found.cpu, found.suggest) == pytest.approx((700, 50, 300))
