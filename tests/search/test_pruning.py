"""What pruning takes from a search and what it never does: hand-driven searches, real kills."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import Tracker
from dtsinn.eventlog.lock import driving
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.events.state import read_state
from dtsinn.search.objective import read_objectives
from dtsinn.search.status import reconcile
from dtsinn.workflows.prune import PRUNED, Policy, SearchPruning, plan_pruning, prune_search
from tests.support.forked import Forks
from tests.support.null_tracker import NullTracker

FILES = 20
"""Of a checkpoint here, 100 bytes each."""


def checkpoint(folder: Path, trial: str) -> None:
    inner = folder / "trials" / trial / "checkpoint-00000090"
    inner.mkdir(parents=True)
    for number in range(FILES):
        (inner / f"{number}.safetensors").write_bytes(bytes(100))


def ended(hand, folder: Path, status: str = "finished") -> None:
    hand.driver.close()
    hand.driver.end(status)
    for trial in hand.driver.search.trials:
        checkpoint(folder, trial)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "hand"


@pytest.fixture
def eight(make_plan, sit, recording, folder: Path) -> Callable[..., None]:
    """A search of eight trials that ended; trial-007 is the best."""

    def make(**more: object) -> None:
        hand = sit(make_plan(trials=8, **more), tracker=recording)
        for number in range(8):
            hand.whole(20.0 + number)
        ended(hand, folder)
        hand.driver.tools.outbox.deliver()

    return make


def left(folder: Path) -> list[str]:
    """Trials that have their checkpoint, each of them whole; nothing else may lie there."""
    found = sorted((folder / "trials").iterdir())
    assert all(len(list(one.rglob("*.safetensors"))) == FILES for one in found)
    return [one.name for one in found]


def names(numbers: list[int]) -> list[str]:
    return [f"trial-{number:03d}" for number in numbers]


def test_the_best_stay_and_the_rest_goes(eight, recording, folder: Path) -> None:
    eight()
    before, event_log = left(folder), (folder / LOG_FILE).read_bytes()
    found = plan_pruning(folder, Policy(), {})
    assert [one.trial for one in found.kept] == names([7, 6, 5, 4, 3])
    assert [one.trial for one in found.gone] == names([2, 1, 0])
    assert found.kept[0].why == "number 1 by psnr:max"
    assert found.kept[0].value == 27.0
    assert found.bytes == 3 * FILES * 100
    assert (left(folder), (folder / LOG_FILE).read_bytes()) == (before, event_log)
    was = read_state(folder)
    assert prune_search(folder, Policy(), {}, lambda: recording) == found
    assert left(folder) == names([3, 4, 5, 6, 7])
    tags = [("tag", f"hand/{name}", [PRUNED]) for name in names([2, 1, 0])]
    assert [call for call in recording.calls if call[0] == "tag"] == tags
    assert read_state(folder) == was, "a pruning is no part of the search, and takes no time"
    told = reconcile(folder, lambda: recording)
    assert (told.state, told.repaired, told.best_trial) == ("finished", [], "trial-007")
    again = prune_search(folder, Policy(), {}, lambda: recording)
    assert (again.gone, again.bytes) == ([], 0)


def test_the_whole_pareto_front_stays(make_plan, sit, folder: Path) -> None:
    objectives = read_objectives("psnr:max,step_seconds:min")
    hand = sit(make_plan(trials=9, objectives=objectives))
    for number in range(9):  # the worst in the first objective is the fastest
        trial = hand.start()
        took = {"step_seconds": 0.1 if number == 0 else 1.0 + (number in (1, 2))}
        hand.report(trial, 90, 20.0 + number, finished=True, **took)
        hand.end(trial, finished=True)
    ended(hand, folder)
    found = prune_search(folder, Policy(), {}, NullTracker)
    assert left(folder) == names([0, 4, 5, 6, 7, 8])
    why = {one.trial: one.why for one in found.kept}
    assert why["trial-000"] == "Pareto front"
    assert why["trial-008"] == "number 1 by psnr:max; Pareto front"


def test_what_versions_point_to_stays_and_more_on_request(eight, folder: Path) -> None:
    eight()
    in_use = {"hand/trial-001": ["dtsinn-fmz-fdg-p1/3"], "other/trial-000": ["dtsinn-x/1"]}
    found = prune_search(folder, Policy(keep=6), in_use, NullTracker)
    assert left(folder) == names([1, 2, 3, 4, 5, 6, 7])
    assert found.kept[-1].why == "registered as dtsinn-fmz-fdg-p1/3"


def test_a_search_that_ended_lately_waits(eight, folder: Path) -> None:
    eight()
    found = prune_search(folder, Policy(older_than_days=1), {}, NullTracker)
    assert found.left_alone == "it ended 0.0 days ago"
    assert len(left(folder)) == 8
    found = prune_search(folder, Policy(older_than_days=1e-9), {}, NullTracker)
    assert len(found.gone) == 3


def test_links_and_what_they_lead_to_stay(eight, folder: Path, tmp_path: Path) -> None:
    eight()
    trials, elsewhere = folder / "trials", tmp_path / "other disk"
    (trials / "trial-000").rename(elsewhere)
    (trials / "trial-000").symlink_to(elsewhere)
    found = prune_search(folder, Policy(), {}, NullTracker)
    assert [one.trial for one in found.gone] == names([2, 1])
    assert len(list(elsewhere.rglob("*.safetensors"))) == FILES
    assert left(folder) == names([0, 3, 4, 5, 6, 7])


@pytest.mark.parametrize(
    "policy", [{"keep": 4}, {"older_than_days": -1.0}, {"older_than_days": float("inf")}]
)
def test_a_policy_that_keeps_too_little_is_refused(policy: dict[str, float]) -> None:
    with pytest.raises(InputError, match="wanted"):
        Policy(**policy)


def check_left_alone(folder: Path, why: str) -> None:
    before = (folder / LOG_FILE).read_bytes(), sorted((folder / "trials").rglob("*"))
    for found in (
        plan_pruning(folder, Policy(), {}),
        prune_search(folder, Policy(), {}, NullTracker),
    ):
        assert found == SearchPruning(
            search="hand", objective=found.objective, left_alone=found.left_alone
        )
        assert why in found.left_alone
    assert ((folder / LOG_FILE).read_bytes(), sorted((folder / "trials").rglob("*"))) == before


def test_nothing_goes_of_a_search_that_runs_or_can_be_resumed(
    make_plan, sit, eight, folder: Path
) -> None:
    plan = make_plan(trials=9)
    hand = sit(plan)
    for number in range(7):
        hand.whole(20.0 + number)
    hand.report(hand.start(), 10, 19.0)
    for trial in hand.driver.search.trials:
        checkpoint(folder, trial)
    with driving(folder):
        check_left_alone(folder, "it runs: process")
    check_left_alone(folder, "its driver died")
    hand.driver.interrupt("Ctrl-C")
    hand.driver.close()
    hand.driver.end("killed", "Ctrl-C")
    check_left_alone(folder, "it can be resumed")


def test_a_search_that_never_began_or_cannot_be_read_is_left_alone(eight, folder: Path) -> None:
    folder.mkdir()
    (folder / LOG_FILE).touch()
    check_left_alone(folder, "never began")
    (folder / LOG_FILE).unlink()
    eight()
    (folder / LOG_FILE).write_bytes(b"nothing\n" + (folder / LOG_FILE).read_bytes())
    found = prune_search(folder, Policy(), {}, NullTracker)
    assert "is damaged" in found.left_alone
    events = (folder / LOG_FILE).read_bytes().removeprefix(b"nothing\n")
    (folder / LOG_FILE).write_bytes(events.replace(b'"objectives"', b'"aims"'))
    found = prune_search(folder, Policy(), {}, NullTracker)
    assert "cannot be read; got 'objectives'" in found.left_alone
    assert len(left(folder)) == 8


def test_a_tracker_that_does_not_answer_hears_of_it_later(eight, recording, folder: Path) -> None:
    def nobody() -> Tracker:
        raise RunError("no answer")

    eight()
    found = prune_search(folder, Policy(), {}, nobody)
    assert (len(found.gone), found.undelivered) == (3, 3)
    assert reconcile(folder, lambda: recording).repaired == ["3 events delivered"]
    assert [call[0] for call in recording.calls[-3:]] == ["tag"] * 3


def test_a_resumed_search_goes_on_without_what_was_pruned(
    eight, make_plan, sit, folder: Path
) -> None:
    eight(time_budget_s=3600.0)
    prune_search(folder, Policy(), {}, NullTracker)
    begun = now_ms()
    hand = sit(make_plan(trials=9, time_budget_s=3600.0))
    assert hand.driver.budget.seconds(begun) < 3000
    assert hand.whole(30.0) == "trial-008"
    assert hand.driver.to_come == 0


PRUNER = """
import os, signal, sys
from pathlib import Path
from tests.support.null_tracker import NullTracker
from dtsinn.workflows.prune import Policy, prune_search

folder, *numbers = sys.argv[1:]

def left():
    return len(list(Path(folder, "trials").glob("trial-*")))

for number in numbers:
    until = left() - int(number)
    child = os.fork()
    if not child:
        prune_search(Path(folder), Policy(), {}, NullTracker)
        os._exit(0)
    while left() > until and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(left(), flush=True)
"""
"""Kills each pruning when it has come to so many trials."""


def test_kills_leave_what_the_next_pruning_finishes(
    make_plan, sit, folder: Path, forks: Forks
) -> None:
    count = 60
    hand = sit(make_plan(trials=count, sampler="random"))
    for number in range(count):
        hand.whole(20.0 + number)
    ended(hand, folder)
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    numbers = [str(chance.randint(1, 6)) for _ in range(8)]
    with forks.python(PRUNER, folder, *numbers) as job:
        out, err = job.communicate()
    assert job.returncode == 0, err
    assert 5 < int(out.split()[0]) < count, "SIGKILL came too late"
    trials = folder / "trials"
    whole = [one for one in trials.iterdir() if not one.name.startswith(".")]
    assert all(len(list(one.rglob("*.safetensors"))) == FILES for one in whole), seed
    found = prune_search(folder, Policy(), {}, NullTracker)
    assert left(folder) == names(list(range(count - 5, count)))
    assert len(found.kept) == 5
    told = [event["key"] for event in EventLog(folder / LOG_FILE, readonly=True)
            if event["event"] == "tag"]  # fmt: skip
    assert sorted(set(told)) == [f"hand/{name}" for name in names(list(range(count - 5)))]
    assert len(told) <= len(set(told)) + 8, "at most the one that each kill met came again"
    assert reconcile(folder, NullTracker).repaired == []
