"""The end of a search: what is made of its trials, and what cannot keep it from ending."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from rich.console import Console
from typer.testing import CliRunner

import dtsinn.training.package
from dtsinn.cli import app
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.package import load_package
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search import run as module
from dtsinn.search.engine.cluster import trials_that_fit
from dtsinn.search.engine.floor import fit_floor
from dtsinn.search.engine.tuner import TRIALS
from dtsinn.search.events.state import FLOOR, read_state
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import PACKAGE, REPORT, SearchResult, run_search
from dtsinn.search.status import reconcile
from dtsinn.training.package import picture_run
from dtsinn.training.state import TrainingState
from tests.search.conftest import SPACE
from tests.support.null_tracker import NullTracker

PSNR = {"trial-000": 25.0, "trial-001": 30.0, "trial-002": 28.0}
BEST, SECOND = "trial-001", "trial-002"


# Every session wants it, whether there is anything to train or not.
pytestmark = pytest.mark.usefixtures("ray_here")


def test_ray_listens_to_this_machine_only_and_to_whom_has_its_token() -> None:
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    open_to = []
    for one in ours:
        with suppress(psutil.NoSuchProcess):  # a worker that had nothing to do
            open_to += one.net_connections("tcp")
    listening = {place.laddr.ip for place in open_to if place.status == psutil.CONN_LISTEN}
    assert {process.name() for process in psutil.Process().children()} >= {"gcs_server", "raylet"}
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"
    token = Path.home() / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    folder = Path(ray._private.worker._global_node.get_temp_dir_path()).parent
    assert folder.stat().st_mode & 0o777 == 0o700


def test_as_many_trials_run_as_nodes_have_room_for() -> None:
    cores = int(ray.cluster_resources()["CPU"])
    assert trials_that_fit(1, 0) == cores
    assert trials_that_fit(0.5, 0, workers=2) == cores
    assert trials_that_fit(1, 0, workers=cores) == 1
    for cpus, workers in ((cores + 1, 1), (1, cores + 1), (cores, 2)):
        with pytest.raises(InputError, match=rf"got nodes of {cores} CPUs?; try a small"):
            trials_that_fit(cpus, 0, workers)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def plan(make_plan, small_path: Path) -> SearchPlan:
    made: SearchPlan = make_plan(store=str(small_path), trials=len(PSNR) + 1)
    return made


@pytest.fixture
def leave(plan: SearchPlan, workspace: Workspace, sit) -> Callable[..., Path]:
    """Leaves a search whose driver died when all trials had ended, the last one infeasible."""

    def begin(reason: str = "no memory", *, floor: bool = False) -> Path:
        hand = sit(plan, within=workspace.searches)
        if floor:
            fit_floor(hand.driver, open_store(plan.store, need_truth=True))
        for psnr in PSNR.values():
            hand.whole(psnr)
        spoiled = hand.start()
        hand.tell(spoiled, reason=reason)
        hand.end(spoiled)
        folder = workspace.searches / plan.name
        for name in PSNR:
            config = plan.space.config(hand.driver.search.trials[name].suggestion)
            state = TrainingState(config, 18)
            state.progress.step = 90
            state.save(folder / TRIALS / name)
        return folder

    return begin


@pytest.fixture
def resume(plan: SearchPlan, workspace: Workspace, recording) -> Callable[[], SearchResult]:
    """Goes on with it; there is nothing left but to end it."""

    def go_on() -> SearchResult:
        console = Console(quiet=True)
        return run_search(
            plan,
            open_store(plan.store, need_truth=True),
            workspace,
            lambda: recording,
            console,
            resume=True,
        )

    return go_on


@pytest.fixture
def start(plan: SearchPlan, workspace: Workspace) -> Callable[[], SearchResult]:
    """Begins it; it is over before a trial is suggested."""
    over = dataclasses.replace(plan, time_budget_s=1e-9)

    def begin() -> SearchResult:
        points = [{"model.blocks": 2}]
        return run_search(
            over,
            open_store(over.store, need_truth=True),
            workspace,
            NullTracker,
            Console(quiet=True),
            points=points,
        )

    return begin


def test_a_name_whose_driver_died_before_it_sat_down_is_free(
    start, resume, plan: SearchPlan, workspace: Workspace
) -> None:
    folder = workspace.searches / plan.name
    told = {"event": "point", "time_ms": 1, "source": "base", "suggestion": {}}
    EventLog(folder / LOG_FILE).append(told)
    for ask in (resume, lambda: read_state(folder)):
        with pytest.raises(InputError, match=r"no search hand to resume|search hand never began"):
            ask()
    assert reconcile(folder, NullTracker).state == "not begun"
    with pytest.raises(RunError, match="no trial gave a result"):
        start()
    known = read_state(folder)
    assert len(known.sessions) == 1
    assert [point["suggestion"] for point in known.points] == [
        {"model.blocks": 2},
        plan.space.start(),
    ]
    with pytest.raises(InputError, match="hand exists already"):
        start()


def test_the_second_of_two_that_begin_a_search_at_once_is_refused(
    sit, plan: SearchPlan, workspace: Workspace
) -> None:
    """The first one comes and goes after the second one opened the store."""
    store = open_store(plan.store, need_truth=True)
    sit(plan, within=workspace.searches)
    with pytest.raises(InputError, match="hand exists already"):
        run_search(plan, store, workspace, NullTracker, Console(quiet=True))
    assert len(read_state(workspace.searches / plan.name).sessions) == 1


def test_a_search_reads_its_log_once(
    start, plan: SearchPlan, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, whole = EventLog.read, []

    def note(event_log: EventLog, offset: int = 0, limit: int | None = None) -> Any:
        if limit is None and offset == 0:
            whole.append(event_log.path)
        return read(event_log, offset, limit)

    monkeypatch.setattr(EventLog, "read", note)
    with pytest.raises(RunError, match="no trial gave a result"):
        start()
    assert whole == [workspace.searches / plan.name / LOG_FILE]


@pytest.mark.parametrize("resume", ["--resume", "--resume-or-begin"])
def test_what_is_typed_to_deliver_a_search_that_ended_early_trains_nothing(
    leave, resume: str, workspace: Workspace, small_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave()
    begun = ["search", str(small_path), "--name", "hand", resume, "--quiet"]
    more = ["--trials", "44", "--max-steps", "9", "--workspace", str(workspace.root)]
    more += ["--no-floor"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        result = CliRunner().invoke(app, [*begun, *more])
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "it ended early: the budget of 9 steps is spent" in result.stdout
    again = shlex.split(result.stderr.partition("; try ")[2].partition(" when it")[0])
    assert again[:2] == ["dtsinn", "search"]
    assert again[again.index("--trials") + 1] == "4", "as many as it has"
    assert read_state(workspace.searches / "hand").plan["floor"] is False


def damage(folder: Path, trial: str) -> None:
    (file,) = (folder / TRIALS / trial).glob("checkpoint-*/best.safetensors")
    file.write_bytes(file.read_bytes()[:-1])


def test_a_damaged_checkpoint_costs_its_trial_s_pictures(
    leave, resume, recording, caplog: pytest.LogCaptureFixture
) -> None:
    folder = leave()
    damage(folder, SECOND)
    result = resume()
    assert result.package == folder / PACKAGE
    assert f"no pictures of {SECOND}: checkpoint" in caplog.text
    drawn = {call[1] for call in recording.calls if call[0] == "artifact"} - {"hand"}
    assert drawn == {f"hand/{name}" for name in PSNR if name != SECOND}
    assert read_state(folder).state == "finished"


def test_the_package_takes_the_floor_that_was_fitted(
    leave, resume, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave(floor=True)
    monkeypatch.setattr(module, "PICTURED", 0)
    monkeypatch.delattr(dtsinn.training.package, "fit_linear")
    result = resume()
    assert (result.floor, result.floor_run) == (folder / FLOOR, "hand/floor")
    assert result.floor_psnr == read_state(folder).floor.metrics["best_psnr"]
    *_, kept = load_package(result.package)
    *_, fitted = load_package(result.floor)
    assert torch.equal(kept.map.weight, fitted.map.weight)


def test_a_floor_whose_package_is_damaged_is_fitted_again_for_the_best_trial(
    leave, resume, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = leave(floor=True)
    monkeypatch.setattr(module, "PICTURED", 0)
    *_, fitted = load_package(folder / FLOOR)
    (folder / FLOOR / "weights.safetensors").write_bytes(b"")
    *_, kept = load_package(resume().package)
    assert torch.equal(kept.map.weight, fitted.map.weight)
    assert "the floor is fitted again" in caplog.text


def test_a_trial_whose_checkpoint_is_damaged_begins_anew(
    make_plan, sit, small_path: Path, workspace: Workspace
) -> None:
    plan = make_plan(SPACE.replace("steps: 90", "steps: 20"), store=str(small_path), trials=1)
    hand = sit(plan, within=workspace.searches)
    trial = hand.start()
    hand.report(trial, 10, 20.0)  # and the driver dies
    state = TrainingState(plan.space.config(hand.driver.search.trials[trial].suggestion), 18)
    state.progress.step = 10
    folder = workspace.searches / plan.name
    state.save(folder / TRIALS / trial)
    damage(folder, trial)
    result = run_search(
        plan,
        open_store(plan.store, need_truth=True),
        workspace,
        NullTracker,
        Console(quiet=True),
        resume=True,
    )
    known = read_state(folder).trials[trial]
    assert (known.state, known.reason) == ("finished", "")
    assert ([point.step for point in known.points], known.repeats) == ([10, 20], 1)
    assert result.package == folder / PACKAGE


def test_an_error_after_the_last_trial_ends_the_search_in_order(leave, resume, recording) -> None:
    folder = leave()
    damage(folder, BEST)
    with pytest.raises(InputError, match="cannot be read"):
        resume()
    known = read_state(folder)
    assert known.state == "killed"
    assert "cannot be read" in known.reason
    assert recording.open == set()


def test_ctrl_c_while_pictures_are_drawn_interrupts_in_order(
    leave, resume, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = leave()

    def draw_and_press(*what: Any) -> None:
        picture_run(*what)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(module, "picture_run", draw_and_press)
        result = resume()
    assert (result.interrupted, result.over, result.package) == (True, "Ctrl-C", None)
    assert len(list((folder / "pictures").iterdir())) < len(PSNR)
    known = read_state(folder)
    assert (known.state, known.reason) == ("killed", "Ctrl-C")
    assert recording.open == set()
    assert resume().package == folder / PACKAGE


def test_a_report_that_cannot_be_written_costs_nothing_else(
    leave, resume, recording, caplog: pytest.LogCaptureFixture
) -> None:
    """A reason can hold a file's name, and a file's name bytes that are no text."""
    folder = leave("no file \udcff")
    result = resume()
    assert "no report: UnicodeEncodeError" in caplog.text
    assert result.best_trial == f"hand/{BEST}"
    assert result.package == folder / PACKAGE
    assert (result.undelivered, recording.open) == (0, set())
    assert ("artifact", "hand", REPORT) not in recording.calls
    assert read_state(folder).state == "finished"
