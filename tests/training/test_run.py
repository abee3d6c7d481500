"""Whole trainings on a small store: repeatable, resumable, watched."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dtsinn.core.errors import DivergedError, InputError
from dtsinn.core.tracker import Point, RunStart, RunStatus
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.score import halve, psnr_of_subjects
from dtsinn.eventlog.lock import driving
from dtsinn.networks.build import build_network
from dtsinn.training.config import RunConfig, load_run_config
from dtsinn.training.loop import train, train_here
from dtsinn.training.run import FinishedRun, fresh_state, resumed_state, run_training
from dtsinn.training.schedule import learning_rate
from dtsinn.training.state import TrainingState, latest_checkpoint

QUICK = ["steps=60", "validate_every=20", "model.width=8", "augmentation.dose=0.1"]


class Notebook:
    """A tracker that writes down what it gets."""

    place = "here"

    def __init__(self) -> None:
        self.begun: list[RunStart] = []
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.ended: list[tuple[str, dict[str, str]]] = []
        self.folders: list[str] = []

    def begin(self, run: RunStart) -> None:
        self.begun.append(run)

    def report(self, key: str, points: Sequence[Point]) -> None:
        self.reports += [(point.step, dict(point.metrics)) for point in points]

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        self.folders.append(folder)

    def end(
        self, key: str, status: RunStatus, time_ms: int, tags: Mapping[str, str] | None = None
    ) -> None:
        self.ended.append((status, dict(tags or {})))


def start_run(store: Store, config: RunConfig, folder: Path, notebook: Notebook) -> FinishedRun:
    state = fresh_state(store, config, folder, "cpu")
    return run_training(store, state, folder, lambda: notebook)


def resume_run(store: Store, folder: Path, notebook: Notebook) -> FinishedRun:
    return run_training(store, resumed_state(store, folder, "cpu"), folder, lambda: notebook)


def curve(notebook: Notebook) -> list[tuple[int, float, float]]:
    return [(step, m["val_psnr"], m["loss_forward"]) for step, m in notebook.reports]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_run_config("invertible", QUICK)


@pytest.fixture(scope="module")
def finished(small_path: Path, config: RunConfig, tmp_path_factory: pytest.TempPathFactory):
    """A finished run and what its tracker was told; shared, so not to be changed."""
    notebook = Notebook()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return start_run(open_store(str(small_path)), config, folder, notebook), notebook


def test_a_run_learns_and_leaves_a_package(finished, small_store: Store) -> None:
    run, notebook = finished
    separator = Separator.load(run.package)
    ours = np.mean(list(psnr_of_subjects(separator.separate, small_store, "test").values()))
    floor = np.mean(list(psnr_of_subjects(halve, small_store, "test").values()))
    assert ours > floor + 4
    assert separator.info.lineage.store_digest == small_store.header.digest
    assert separator.info.metrics["val_psnr"] == run.best_psnr
    (start,) = notebook.begun
    assert start.parameters["model.width"] == 8
    assert set(start.tags) >= {"store.digest", "code.version", "seed", "store.path"}
    assert [step for step, _ in notebook.reports] == [20, 40, 60]
    assert all(metrics["round_trip_error"] < 1e-5 for _, metrics in notebook.reports)
    assert all(metrics["system/process_memory_megabytes"] > 50 for _, metrics in notebook.reports)
    steps = [f"pictures/step-{step:06d}" for step in (20, 40)]  # past a quarter, past half
    assert notebook.folders == [*steps, "pictures", "separator"]
    assert "parameters for FMZ then FDG, protocol" in start.description
    assert notebook.ended == [("finished", {})]


def test_the_same_seed_gives_the_same_curve_and_weights(
    finished, small_store: Store, config: RunConfig, tmp_path: Path
) -> None:
    run, notebook = finished
    again = Notebook()
    second = start_run(small_store, config, tmp_path / "again", again)
    assert curve(again) == curve(notebook)
    assert Separator.load(second.package).digest == Separator.load(run.package).digest
    other = load_run_config("invertible", [*QUICK, "seed=1", "steps=20"])
    third = Notebook()
    start_run(small_store, other, tmp_path / "other", third)
    assert curve(third)[0] != curve(notebook)[0]


def test_a_resumed_run_ends_with_the_same_numbers(
    finished, small_store: Store, config: RunConfig, tmp_path: Path
) -> None:
    run, notebook = finished
    folder = tmp_path / "broken"
    state = TrainingState(config, small_store.header.protocol.frames)
    for report in train(small_store, state):
        state.save(folder)
        if report.step == 40:
            break  # as a kill right after a checkpoint would
    rest = Notebook()
    resumed = resume_run(small_store, folder, rest)
    assert curve(rest) == curve(notebook)[1:], "its last report comes again"
    assert Separator.load(resumed.package).digest == Separator.load(run.package).digest


def test_a_run_is_not_started_twice(finished, small_store: Store, config: RunConfig) -> None:
    run, _ = finished
    with pytest.raises(InputError, match="exists already; try --resume whole"):
        start_run(small_store, config, run.folder, Notebook())


def test_divergence_stops_with_a_reason(small_store: Store, tmp_path: Path) -> None:
    config = load_run_config(
        "default", [*QUICK, "optimizer.learning_rate=1", "optimizer.clip=1e9", "model.blocks=8"]
    )
    notebook = Notebook()
    with pytest.raises(DivergedError) as caught:
        start_run(small_store, config, tmp_path / "wild", notebook)
    assert notebook.ended == [("failed", {"reason": str(caught.value)})]
    assert not (tmp_path / "wild" / "separator").exists()
    # Its name is taken, and it can be taken up where it failed, here at its start.
    with pytest.raises(InputError, match="exists already; try --resume wild"):
        start_run(small_store, config, tmp_path / "wild", Notebook())
    with pytest.raises(DivergedError, match=str(caught.value)):
        resume_run(small_store, tmp_path / "wild", Notebook())


def test_a_lost_inverse_stops_with_a_reason(small_store: Store) -> None:
    config = load_run_config("invertible", [*QUICK, "round_trip_limit=1e-12"])
    with pytest.raises(DivergedError, match="lost its inverse; got a relative round-trip error"):
        list(train(small_store, TrainingState(config, 18)))


def test_a_checkpoint_is_whole_and_no_pickle(finished, tmp_path: Path) -> None:
    run, _ = finished
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    checkpoint = latest_checkpoint(folder)
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-00000060"
    assert [p.name for p in folder.glob("checkpoint-*")] == [checkpoint.name]
    assert {p.suffix for p in checkpoint.iterdir()} == {".safetensors", ".json"}
    (checkpoint / "best.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot be read"):
        TrainingState.load(checkpoint)


def test_a_run_without_a_checkpoint_cannot_be_resumed(small_store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run none has no checkpoint"):
        resume_run(small_store, tmp_path / "none", Notebook())


def test_another_number_of_frames_is_refused(small_store: Store, config, tmp_path: Path) -> None:
    TrainingState(config, 12).save(tmp_path / "other")
    with pytest.raises(InputError, match="has 18 frames; wanted 12"):
        resume_run(small_store, tmp_path / "other", Notebook())


def test_another_store_is_refused(small_store: Store, config, tmp_path: Path) -> None:
    state = TrainingState(config, 18)
    state.progress.store_digest = "0" * 64
    state.save(tmp_path / "other")
    with pytest.raises(InputError, match="run other was trained on another store"):
        resume_run(small_store, tmp_path / "other", Notebook())


def test_an_interruption_is_told_whenever_it_comes(
    small_store: Store, config: RunConfig, tmp_path: Path
) -> None:
    def interrupted(stores, state, folder):
        yield from train_here(stores, state, folder)
        raise KeyboardInterrupt

    notebook, folder = Notebook(), tmp_path / "late"
    state = fresh_state(
        small_store, load_run_config("invertible", [*QUICK, "steps=1"]), folder, "cpu"
    )
    with pytest.raises(KeyboardInterrupt):
        run_training(small_store, state, folder, lambda: notebook, trainer=interrupted)
    assert notebook.ended == [("killed", {"reason": "KeyboardInterrupt"})]


@pytest.mark.parametrize(
    "setting",
    ["seed=-1", "optimizer.clip=.nan", "round_trip_limit=0", "optimizer.weight_decay=.inf"],
)
def test_impossible_settings_are_refused(setting: str) -> None:
    with pytest.raises(InputError, match=setting.split("=")[0]):
        load_run_config("invertible", [setting])


def test_the_learning_rate_warms_up_and_decays(config: RunConfig) -> None:
    rates = [learning_rate(config.optimizer, step, 1000) for step in range(1000)]
    assert rates[0] < rates[25] < max(rates)
    assert max(rates) == pytest.approx(config.optimizer.learning_rate, rel=0.02)
    assert rates[-1] < 1e-4 * max(rates)


def test_checkpoints_keep_every_number(config: RunConfig, tmp_path: Path) -> None:
    state = TrainingState(config, 6)
    network = build_network(config.model, 6, seed=9)
    state.network.load_state_dict(network.state_dict())
    for parameter in state.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.progress.step = 7
    loaded = TrainingState.load(state.save(tmp_path))
    assert loaded.progress == state.progress
    assert loaded.config == config
    for name, value in state.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value)
    before, after = (s.optimizer.state_dict()["state"] for s in (state, loaded))
    assert before.keys() == after.keys()
    for parameter, values in before.items():
        assert all(torch.equal(values[key], after[parameter][key]) for key in values)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("0.exp_avg", torch.zeros(1), "0.exp_avg of shape"),
        ("999.exp_avg", torch.zeros(1), "999.exp_avg, of"),
    ],
)
def test_moments_of_another_model_are_refused(
    config: RunConfig, tmp_path: Path, name: str, tensor: torch.Tensor, message: str
) -> None:
    checkpoint = TrainingState(config, 6).save(tmp_path)
    save_file({name: tensor}, checkpoint / "optimizer.safetensors")
    with pytest.raises(InputError, match=f"does not hold the model that it names; got {message}"):
        TrainingState.load(checkpoint)


def test_what_a_checkpoint_does_not_say_is_the_default(config: RunConfig, tmp_path: Path) -> None:
    checkpoint = TrainingState(config, 6).save(tmp_path)
    content = json.loads((checkpoint / "state.json").read_text())
    del content["config"]["optimizer"]["beta2"]
    (checkpoint / "state.json").write_text(json.dumps(content))
    assert TrainingState.load(checkpoint).config == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "was written by a newer dtsinn; got format_version 2; wanted 1 or"),
        ({"format": "other"}, "is no dtsinn checkpoint; got 'other'"),
        ({"frames": "six"}, "frames; got 'six'; wanted a whole number"),
        ({"progress": []}, "progress; got "),
        ({"colour": 1}, "unknown key; got colour"),
    ],
)
def test_another_kind_of_checkpoint_is_one_clear_line(
    config: RunConfig, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    checkpoint = TrainingState(config, 6).save(tmp_path)
    content = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=message) as caught:
        TrainingState.load(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_what_was_asked_for_wrongly_takes_no_name(
    small_store: Store, config: RunConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"

    def refuses(stores, state, folder):
        assert folder.exists()
        raise InputError("3 workers ask for 3 CPUs")
        yield

    notebook = Notebook()
    state = fresh_state(small_store, config, folder, "cpu")
    with pytest.raises(InputError, match="ask for 3 CPUs"):
        run_training(small_store, state, folder, lambda: notebook, trainer=refuses)
    assert not folder.exists()
    assert notebook.ended == [("failed", {"reason": "3 workers ask for 3 CPUs"})]


def test_a_run_that_another_process_trains_is_refused_and_left_alone(
    small_store: Store, config: RunConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    state = fresh_state(small_store, config, folder, "cpu")
    with driving(folder, "run"):  # that one began, and has no checkpoint yet
        again = fresh_state(small_store, config, folder, "cpu")
        state.save(folder)
        with pytest.raises(InputError, match="run mine is being driven already; got by process"):
            run_training(small_store, again, folder, Notebook)
    assert latest_checkpoint(folder) is not None


def test_a_name_that_a_kill_left_free_is_of_one_run_alone(
    small_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: TrainingState, folder: Path) -> None:
        raise KeyboardInterrupt

    notebook, folder = Notebook(), tmp_path / "mine"
    first = load_run_config("invertible", [*QUICK, "steps=1", "model.width=4"])
    with monkeypatch.context() as killed:
        killed.setattr(TrainingState, "write", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(small_store, first, folder, notebook)
    second = load_run_config("invertible", [*QUICK, "steps=1"])
    start_run(small_store, second, folder, notebook)
    (begun,) = notebook.begun
    assert begun.parameters["model.width"] == 8


def test_of_two_that_begin_or_resume_a_run_at_once_one_is_refused(
    small_store: Store, tmp_path: Path
) -> None:
    notebook, folder = Notebook(), tmp_path / "mine"
    config = load_run_config("invertible", [*QUICK, "steps=1"])
    first, second = (fresh_state(small_store, config, folder, "cpu") for _ in range(2))
    run = run_training(small_store, first, folder, lambda: notebook)
    with pytest.raises(InputError, match="run mine was begun in another process; try --resume"):
        run_training(small_store, second, folder, lambda: notebook)
    first.config = dataclasses.replace(config, steps=2)
    first.save(folder)
    shutil.rmtree(run.package)
    third, fourth = (resumed_state(small_store, folder, "cpu") for _ in range(2))
    run_training(small_store, third, folder, lambda: notebook)
    with pytest.raises(InputError, match="run mine went on in another process; try --resume"):
        run_training(small_store, fourth, folder, lambda: notebook)
    assert [step for step, _ in notebook.reports] == [1, 1, 2]
    assert latest_checkpoint(folder) == third.checkpoint
