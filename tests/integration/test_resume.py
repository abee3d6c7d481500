"""Real processes, really killed: nothing is lost, nothing doubled, nothing left open."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from mlflow.entities import Run
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.registry.tracking.tracker import connect_existing
from dtsinn.search.events.state import DIED, SearchState, read_state
from tests.conftest import HALF_TRAINED
from tests.support.forked import Forked, Forks, fresh_dtsinn

PATIENCE_s = 240
"""Longest wait for a process on a machine that does other work as well."""
RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Watchers of Ray's that train nothing, and take a minute to see that their node is gone."""
pytestmark = pytest.mark.timeout(600)
STEPS, EVERY = 150, 10
SPACE = """
base: invertible
fixed: {{steps: {steps}, validate_every: 10, model.width: 8}}
parameters:
  model.blocks: {{choice: [1, 2]}}
  optimizer.learning_rate: {{log: [1e-3, 8e-3]}}
"""


@pytest.fixture(scope="module")
def make_workspace(
    tmp_path_factory: pytest.TempPathFactory, begin_workspace: Callable[[Path], Workspace]
) -> Callable[[str], Workspace]:
    """Workspaces of their own."""
    return lambda name: begin_workspace(tmp_path_factory.mktemp(name) / "workspace")


Job = Forked | subprocess.Popen[str]
Begin = Callable[..., Job]


@pytest.fixture(scope="module")
def begin(forks: Forks) -> Iterator[Begin]:
    """Starts ``dtsinn`` in a process of its own; none outlives the tests."""
    with ExitStack() as stack:

        def start(
            command: list[str], workspace: Workspace, *, fresh: bool = False, **environment: str
        ) -> Job:
            environment = {"DTSINN_WORKSPACE": str(workspace.root), **environment}
            begun = fresh_dtsinn if fresh else forks.dtsinn
            job: Job = begun(*command, **environment)
            stack.enter_context(job)
            stack.callback(job.kill)
            return job

        yield start


def search(store: Path, workspace: Workspace, steps: int, *more: str) -> list[str]:
    space = workspace.root / "space.yaml"
    space.write_text(SPACE.format(steps=steps))
    gate = workspace.root / "gate.yaml"
    gate.write_text(
        f"suite: null\n{HALF_TRAINED}"
    )  # the store's own subjects decide: no suite is simulated
    options = ["--space", str(space), "--gate", str(gate), "--scheduler", "none"]
    return ["search", str(store), *options, "--concurrent", "2", "--name", "s", "--quiet", *more]


def events(workspace: Workspace) -> list[dict[str, Any]]:
    return list(EventLog(workspace.searches / "s" / LOG_FILE, readonly=True))


def history(workspace: Workspace) -> SearchState:
    return read_state(workspace.searches / "s")


def wait_for_reports(job: Job, workspace: Workspace, session: int, trials: int = 1) -> None:
    """Until so many trials that are under way have reported in this session, from 1 on."""
    deadline = time.monotonic() + PATIENCE_s
    while True:
        seen: set[str] = set()
        sessions = 0
        for event in events(workspace):
            sessions += event["event"] == "sitting"
            if sessions == session and event["event"] == "report" and "/trial-" in event["key"]:
                seen.add(event["key"])
            elif event["event"] == "end":
                seen.discard(event["key"])
        if len(seen) >= trials:
            return
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline, events(workspace)
        time.sleep(0.05)  # between looks, not instead of them


def ended(job: Job) -> tuple[int, str, str]:
    out, err = job.communicate(timeout=PATIENCE_s)
    return job.returncode, out, err


def told(workspace: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(workspace.root)])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


def runs(workspace: Workspace) -> dict[str, Run]:
    return {run.data.tags["dtsinn.key"]: run for run in connect_existing(workspace).search("")}


def statuses(workspace: Workspace) -> dict[str, str]:
    return {key: run.info.status for key, run in runs(workspace).items()}


def curve(workspace: Workspace, key: str) -> list[int]:
    """Steps at which MLflow knows the metric, in order, with those that it knows twice."""
    client = connect_existing(workspace).client
    points = client.get_metric_history(runs(workspace)[key].info.run_id, "val_psnr")
    return sorted(point.step for point in points)


def study(workspace: Workspace) -> dict[str, str]:
    journal = workspace.searches / "s" / "study.journal"
    storage = JournalStorage(JournalFileBackend(str(journal)))
    trials = optuna.load_study(study_name="s", storage=storage).trials
    return {trial.user_attrs["name"]: trial.state.name for trial in trials}


@dataclass
class Story:
    """What was seen on the way."""

    workspace: Workspace
    killed: SearchState
    """Right after the driver was killed."""
    standing: dict[str, Any]
    mended: dict[str, str]
    """What MLflow said then of each run."""
    study: dict[str, str]
    """What Optuna said then of each trial."""
    code: int
    """Of the search that went on."""
    out: str


@pytest.fixture(scope="module")
def story(small_path: Path, make_workspace: Callable[[str], Workspace], begin: Begin) -> Story:
    """A driver is killed; what it left is mended; the next one loses its workers and ends."""
    workspace = make_workspace("killed")
    job = begin(search(small_path, workspace, STEPS, "--trials", "2"), workspace, fresh=True)
    wait_for_reports(job, workspace, 1)
    family = [
        child
        for child in psutil.Process(job.pid).children(recursive=True)
        if child.name() not in RAYS_OWN
    ]
    job.send_signal(signal.SIGKILL)
    job.communicate(timeout=PATIENCE_s)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_s)
    assert not alive, "what a killed driver had started ends by itself"
    killed = history(workspace)
    (standing,) = json.loads(told(workspace, "status", "s", "--json"))
    mended, states = statuses(workspace), study(workspace)
    # One at a time, as each worker imports for seconds, and so does the one in its place.
    again = ["search", str(small_path), "--name", "s", "--resume", "--concurrent", "1", "--quiet"]
    job = begin(again, workspace)
    wait_for_reports(job, workspace, 2)
    workers = [
        child
        for child in psutil.Process(job.pid).children(recursive=True)
        if child.name().startswith("ray::") and "ImplicitFunc" in " ".join(child.cmdline())
    ]
    assert workers
    for worker in workers:
        worker.kill()
    code, out, err = ended(job)
    return Story(workspace, killed, standing, mended, states, code, out + err)


def test_a_killed_driver_leaves_nothing_running_once_its_search_was_looked_at(
    story: Story,
) -> None:
    assert "running" in story.killed.states()
    assert story.standing["state"] == "killed"
    assert f"s: {DIED}" in story.standing["repaired"]
    assert story.standing["undelivered"] == 0
    assert story.standing["resume"].partition(" --workspace ")[0].endswith("--name s --resume")
    trials = story.killed.trials.values()
    begun = {f"s/{t.name}": "KILLED" if t.is_open else "FINISHED" for t in trials if t.begun_ms}
    assert story.mended == begun | {"s/floor": "FINISHED", "s": "KILLED"}
    assert story.study == {t.name: "FAIL" if t.is_open else "COMPLETE" for t in trials}


def test_a_search_that_goes_on_ends_as_if_nothing_had_happened(story: Story) -> None:
    assert story.code == 0, story.out
    assert "registered as dtsinn-fmz-fdg-p1/2" in story.out
    now = history(story.workspace)
    assert now.states() == {"finished": 2}
    assert len(now.sessions) == 2
    floor = [
        event["event"]
        for event in events(story.workspace)
        if "s/floor" in (event.get("key"), event.get("run", {}).get("key"))
    ]
    assert floor == ["begin", "report", "end"], "the second session has it from the first"
    for name, trial in story.killed.trials.items():
        assert now.trials[name].suggestion == trial.suggestion
    assert set(statuses(story.workspace).values()) == {"FINISHED"}
    assert study(story.workspace) == {f"trial-{number:03d}": "COMPLETE" for number in range(2)}


def test_every_step_of_every_trial_is_told_once(story: Story) -> None:
    whole = list(range(EVERY, STEPS + 1, EVERY))
    now = history(story.workspace)
    for name, trial in now.trials.items():
        assert [point.step for point in trial.points] == whole
        assert curve(story.workspace, f"s/{name}") == whole
    assert sum(trial.repeats for trial in now.trials.values()) >= 1


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(story: Story) -> None:
    known = events(story.workspace)
    restarts = [event for event in known if event["event"] == "restart"]
    assert restarts
    for restart in restarts:
        assert restart["lost_seconds"] >= 0
        trial = history(story.workspace).trials[restart["trial"]]
        assert (trial.state, trial.restarts) == ("finished", 1)
        begins = [e for e in known if e["event"] == "begin" and e["run"]["name"] == trial.name]
        assert len(begins) <= 2, "once in each sitting"


def test_ctrl_c_keeps_what_is_under_way_and_stop_ends_it_for_good(
    small_path: Path, make_workspace: Callable[[str], Workspace], begin: Begin
) -> None:
    workspace = make_workspace("stopped")
    job = begin(search(small_path, workspace, 100_000, "--trials", "9"), workspace)
    wait_for_reports(job, workspace, 1, trials=2)
    job.send_signal(signal.SIGINT)
    code, _, err = ended(job)
    assert code == 130, err
    (line,) = [line for line in err.splitlines() if "interrupted (Ctrl-C)" in line]
    assert history(workspace).states() == {"killed": 2}
    killed = {"s": "KILLED", "s/trial-000": "KILLED", "s/trial-001": "KILLED"}
    assert statuses(workspace) == killed | {"s/floor": "FINISHED"}
    assert set(study(workspace).values()) == {"FAIL"}

    again = shlex.split(line.rpartition("; try ")[2])
    assert again[0] == "dtsinn"
    job = begin([*again[1:], "--quiet"], workspace)
    wait_for_reports(job, workspace, 2, trials=2)
    assert "ends its trials within seconds" in told(workspace, "stop", "s")
    code, out, err = ended(job)
    assert code == 0, err
    assert "it ended early: stopped" in out
    assert "evidence: 12 subjects" in out, "by the gate that the search began with"
    assert "registered as dtsinn-fmz-fdg-p1/2" in out
    now = history(workspace)
    assert (now.state, now.states()) == ("finished", {"pruned": 2})
    assert {trial.reason for trial in now.trials.values()} == {"stopped"}
    assert set(study(workspace).values()) == {"PRUNED"}
    for name, trial in now.trials.items():
        assert curve(workspace, f"s/{name}") == [point.step for point in trial.points]


@pytest.mark.slow
def test_without_a_tracking_server_a_search_ends_and_is_told_later(
    small_path: Path, make_workspace: Callable[[str], Workspace], begin: Begin
) -> None:
    workspace = make_workspace("alone")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        job = begin(
            search(small_path, workspace, 20, "--trials", "2"),
            workspace,
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{closed.getsockname()[1]}",
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        )
        code, out, err = ended(job)
    assert code == 0, err
    assert "search s: 2 finished" in out
    assert "registered" not in out
    waiting = sum(e["event"] in {"begin", "report", "artifact", "end"} for e in events(workspace))
    assert f"{waiting} events are not delivered to MLflow yet; they are kept" in err
    assert runs(workspace) == {}

    (standing,) = json.loads(told(workspace, "status", "s", "--json"))
    assert f"{waiting} events delivered" in standing["repaired"]
    assert set(statuses(workspace).values()) == {"FINISHED"}
    for name in ("trial-000", "trial-001"):
        assert curve(workspace, f"s/{name}") == [10, 20]

    again = ["search", str(small_path), "--name", "s", "--resume", "--quiet"]
    assert "registered as dtsinn-fmz-fdg-p1/2" in told(workspace, *again)
    assert history(workspace).states() == {"finished": 2}
    for name in ("trial-000", "trial-001"):
        assert curve(workspace, f"s/{name}") == [10, 20]
