"""One at a time on a server: the bakery over tags, with processes on a real PostgreSQL."""

import time
from contextlib import ExitStack

import pytest

from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.promotion import lock
from dtsinn.registry.tracking.tracker import connect

PROCESSES = 4
ROUNDS = 10
SHORT_s = 4.0
BEGIN = """
import sys
from pathlib import Path
from dtsinn.core.workspace import Workspace
from dtsinn.registry.promotion import lock
from dtsinn.registry.tracking.tracker import connect
tracker, name = connect(Workspace(Path(sys.argv[1]))), sys.argv[2]
"""
COUNT = """
for _ in range(int(sys.argv[3])):
    with lock.promotion_lock(tracker, name) as held:
        count = int(tracker.client.get_registered_model(name).tags["count"])
        held.check()
        tracker.client.set_registered_model_tag(name, "count", str(count + 1))
"""
HOLD = """
lock.LEASE_s = float(sys.argv[3])
with lock.promotion_lock(tracker, name):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def database(postgres_session):
    return postgres_session.database()


@pytest.fixture
def tracker(database, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    tracker = connect(Workspace(tmp_path / "here"))
    assert tracker.workspace is None  # so it is the bakery, not a lock on a file
    return tracker


@pytest.fixture
def run(tmp_path, forks):
    with ExitStack() as stack:

        def run_one(code, *words):
            job = forks.python(BEGIN + code, tmp_path / "here", *words)
            return stack.enter_context(job)

        yield run_one


def waiting(tracker, name):
    tags = tracker.client.get_registered_model(name).tags
    return [key for key in tags if key.startswith(lock.LOCK)]


def test_no_step_of_four_processes_is_lost(tracker, run):
    tracker.client.create_registered_model("sum", tags={"count": "0"})
    jobs = [run(COUNT, "sum", ROUNDS) for _ in range(PROCESSES)]
    assert [job.wait(120) for job in jobs] == [0] * PROCESSES
    assert tracker.client.get_registered_model("sum").tags == {"count": str(PROCESSES * ROUNDS)}


def test_who_is_killed_with_the_lock_is_passed_over(tracker, run, monkeypatch):
    monkeypatch.setattr(lock, "LEASE_s", SHORT_s)
    tracker.client.create_registered_model("dead")
    job = run(HOLD, "dead", SHORT_s)
    assert job.stdout.readline() == b"held\n"
    (left,) = waiting(tracker, "dead")
    told = f"another promotion holds dead; got process {job.pid}"
    with pytest.raises(RunError, match=told), lock.promotion_lock(tracker, "dead", patience_s=0):
        pass
    assert waiting(tracker, "dead") == [left]
    job.kill()
    job.wait(30)
    begun = time.monotonic()
    with lock.promotion_lock(tracker, "dead") as held:
        assert time.monotonic() - begun > SHORT_s
        held.check()
        assert waiting(tracker, "dead") == [held.tag]
    assert waiting(tracker, "dead") == []


def test_a_holder_that_others_took_for_dead_learns_it(tracker):
    tracker.client.create_registered_model("slow")
    with lock.promotion_lock(tracker, "slow") as held:
        held.check()
        tracker.client.delete_registered_model_tag("slow", held.tag)
        with pytest.raises(lock.PromotionLockLostError, match="the lock to promote slow was lost"):
            held.check()
