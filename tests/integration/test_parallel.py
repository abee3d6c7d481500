"""One run on two workers of Ray Train: the numbers of one worker, and a killed one is replaced."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import DivergedError, InputError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.search.engine.cluster import Workers
from dtsinn.search.engine.parallel import train_in_parallel
from dtsinn.search.events.state import read_state
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import run_search
from dtsinn.search.space.reader import load_space
from dtsinn.training.config import RunConfig, load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState
from tests.support.null_tracker import NullTracker

# Ray Train looks at settings of Ray Data that Ray itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

SETTINGS = ["steps=6", "validate_every=2", "model.width=4", "accumulate=2"]
TWO = Workers(number=2, cpus=0.5)


def config_of(*settings: str) -> RunConfig:
    return load_run_config("invertible", [*SETTINGS, *settings])


def worker_ids() -> list[int]:
    """Process ids of the training workers that descend from this process."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if "RayTrainWorker" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_two_workers_have_the_loss_curve_of_one_even_when_one_is_killed(
    small_path: Path, tmp_path: Path
) -> None:
    store = open_store(str(small_path))
    config = config_of("steps=40", "validate_every=10")
    alone = [report.metrics for report in train(store, TrainingState(config, 18))]
    state = TrainingState(config, 18)
    together = []
    for report in train_in_parallel((store,), state, tmp_path / "run", TWO):
        together.append(report.metrics)
        if report.step == 10:
            victims = worker_ids()
            assert len(victims) == 2
            os.kill(victims[1], signal.SIGKILL)
    assert state.progress.step == 40
    assert len(together) == len(alone)
    for ours, theirs in zip(together, alone, strict=True):
        for name in ("loss_forward", "gradient_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
        assert ours["val_psnr"] == pytest.approx(theirs["val_psnr"], rel=1e-4)


@pytest.mark.slow
def test_what_a_configuration_does_wrong_is_told_and_not_tried_again(
    small_path: Path, tmp_path: Path
) -> None:
    state = TrainingState(config_of("round_trip_limit=1e-12"), 18)
    store = open_store(str(small_path))
    with pytest.raises(DivergedError, match=r"lost its inverse.*block 1 of 1"):
        list(train_in_parallel((store,), state, tmp_path / "run", TWO))


@pytest.mark.slow
def test_a_trial_that_finds_no_memory_is_pruned_with_several_workers_too(
    small_path: Path, tmp_path: Path
) -> None:
    """Of the second batch size one tensor alone is 240 GB, more than is ever promised."""
    space = tmp_path / "space.yaml"
    space.write_text(
        "{base: invertible, fixed: {steps: 2, validate_every: 2, accumulate: 2,"
        " model.subnet: residual, model.depth: 2},"
        " parameters: {model.width: {choice: [4, 100000]}, batch: {choice: [1, 600]}},"
        " points: [{model.width: 4, batch: 1}, {model.width: 100000, batch: 600}]}"
    )
    plan = SearchPlan(
        name="vast",
        store=str(small_path),
        space=load_space(str(space)),
        trials=2,
        sampler="random",
        cpus_per_trial=0.5,
        workers_per_trial=2,
        concurrent=1,
    )
    workspace = Workspace(tmp_path / "w")
    result = run_search(
        plan, open_store(plan.store, need_truth=True), workspace, NullTracker, Console(quiet=True)
    )
    assert result.states == {"finished": 1, "pruned": 1}
    vast = read_state(workspace.searches / "vast").trials["trial-001"]
    assert vast.infeasible
    assert "can't allocate memory" in vast.reason
    assert vast.restarts == 0
    assert not worker_ids()


def test_steps_that_workers_cannot_share_are_refused_before_anything_starts(
    small_path: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        app,
        ["train", str(small_path), "--workers", "2", "--workspace", str(tmp_path / "workspace")],
    )
    assert result.exit_code == 2
    assert "accumulate cannot be shared by 2 workers" in result.stderr
    assert "try --set accumulate=2" in result.stderr
    assert not (tmp_path / "workspace").exists()
    with pytest.raises(InputError, match="--cpus-per-worker"):
        Workers(number=2, cpus=0)


@pytest.mark.slow
def test_a_run_on_two_workers_is_registered(small_path: Path, tmp_path: Path) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    result = CliRunner().invoke(
        app,
        ["train", str(small_path), *settings, "--workers", "2", "--cpus-per-worker", "0.5",
         "--name", "two", "--workspace", str(tmp_path / "workspace")],
    )  # fmt: skip
    assert result.exit_code == 0, result.stdout + result.stderr
    assert "registered as dtsinn-fmz-fdg-p1/2" in result.stdout
    assert re.search(r"step 6 of 6: .* dB on val, .* samples/s, .* ms a step", result.stderr)


@pytest.mark.slow
def test_trials_of_a_search_may_have_workers_and_stop_them(
    small_path: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "{base: invertible, fixed: {steps: 12, validate_every: 4, model.width: 4, accumulate: 2},"
        " parameters: {optimizer.learning_rate: {choice: [1e-6, 1e-2, 1e-6]}}}"
    )
    plan = SearchPlan(
        name="two",
        store=str(small_path),
        space=load_space(str(space)),
        trials=3,
        sampler="random",
        cpus_per_trial=0.5,
        workers_per_trial=2,
        concurrent=1,
    )
    result = run_search(
        plan,
        open_store(plan.store, need_truth=True),
        Workspace(tmp_path / "w"),
        NullTracker,
        Console(quiet=True),
    )
    assert sum(result.states.values()) == 3
    assert result.states["finished"] >= 1
    assert result.package is not None
    assert not worker_ids(), "the workers of a stopped trial stop"


def test_a_space_whose_steps_workers_cannot_share_is_refused(small_path: Path) -> None:
    with pytest.raises(InputError, match=r"shared by 3 workers.*fixed: \{accumulate: 3\}"):
        SearchPlan(
            name="three", store=str(small_path), space=load_space("quick"), workers_per_trial=3
        )
