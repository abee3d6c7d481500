"""Fine-tuning: the weights of a separator as the start of a run, told in its lineage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.deploy.package import package_digest, read_info
from dtsinn.training.config import load_run_config
from dtsinn.training.finetune import Parent, config_of_child, read_parent
from dtsinn.training.loop import train
from dtsinn.training.package import package_run
from dtsinn.training.run import fresh_state
from dtsinn.training.state import TrainingState

SETTINGS = ["steps=4", "validate_every=4", "model.width=4", "model.depth=3", "model.blocks=1"]


@pytest.fixture(scope="module")
def package(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a run of four steps."""
    state = TrainingState(load_run_config("invertible", SETTINGS), 3)
    list(train(tiny_store, state))
    folder = tmp_path_factory.mktemp("parent") / "separator"
    package_run(state, tiny_store, folder, "parent")
    return folder


@pytest.fixture
def parent(package: Path) -> Parent:
    return read_parent(package)


def test_a_package_records_what_it_was_trained_on(parent: Parent, tiny_store: Store) -> None:
    header = tiny_store.header
    (known,) = parent.info.lineage.trained_on
    assert (known.tracers, known.protocol) == (header.tracers, header.protocol.name)
    assert known.frame_edges == header.protocol.frame_edges
    assert known.injection_time == header.protocol.injection_time
    assert (known.phantom, known.noise) == (header.phantom, header.noise)


def test_a_child_starts_with_the_weights_and_the_model_of_its_parent(
    parent: Parent, tiny_store: Store, tmp_path: Path
) -> None:
    config = load_run_config("invertible", ["seed=5", "steps=4", "optimizer.ema=0.9"])
    child = config_of_child(config, {"seed": 5, "optimizer.ema": 0.9}, parent)
    assert child.model == parent.info.model
    state = fresh_state(tiny_store, child, tmp_path / "child", "cpu", parent)
    for weights in (state.network.state_dict(), state.average.state_dict(), state.best):
        assert all(torch.equal(weights[name], value) for name, value in parent.weights.items())


def test_another_pair_is_allowed_and_recorded(
    parent: Parent, package: Path, make_tiny, tmp_path: Path
) -> None:
    store = make_tiny("pair", tracers=("fmz", "met"))
    config = config_of_child(load_run_config("invertible", SETTINGS), {}, parent)
    state = fresh_state(store, config, tmp_path / "child", "cpu", parent)
    list(train(store, state))
    state.save(tmp_path / "child")
    again = TrainingState.load(tmp_path / "child" / "checkpoint-00000004")
    package_run(again, store, tmp_path / "separator", "child")
    info = read_info(tmp_path / "separator")
    assert info.tracers == ("fmz", "met")
    assert info.lineage.init == package_digest(package) == parent.digest
    assert info.lineage.init_tracers == "fmz,fdg"


def test_a_setting_that_contradicts_the_parent_is_refused(parent: Parent) -> None:
    asked = {"model.width": 8}
    config = load_run_config("invertible", ["model.width=8"])
    with pytest.raises(InputError, match=r"model.width contradicts .*; got 8; wanted 4"):
        config_of_child(config, asked, parent)
    same = load_run_config("invertible", ["model.width=4"])
    assert config_of_child(same, {"model.width": 4}, parent).model == parent.info.model
    other = load_run_config("invertible", ["model.kind=unet"])
    with pytest.raises(InputError, match=r"model.kind contradicts"):
        config_of_child(other, {"model.kind": "unet"}, parent)


def test_other_frames_are_refused(parent: Parent, longer_store: Store, tmp_path: Path) -> None:
    config = config_of_child(load_run_config("invertible", SETTINGS), {}, parent)
    with pytest.raises(InputError, match="got 4 frames; wanted 3"):
        fresh_state(longer_store, config, tmp_path / "child", "cpu", parent)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--init", "{package}", "--set", "model.width=9"], "got 9; wanted 4"),
        (["--init", "/nowhere/at/all"], "no separator package there"),
        (["--init", "{package}", "--resume", "old"], "--resume continues a run as it is"),
        (["--set", "optimizer.ema=1.5"], "optimizer.ema; got 1.5"),
        (["--set", "optimizer.emma=0.5"], "ema"),
        (["{longer}"], "has 4 frames; wanted 3"),
        (["{longer}", "--resume", "old"], "run old has no checkpoint"),
    ],
)
def test_the_command_refuses_what_does_not_fit_and_leaves_nothing(
    tiny_store: Store, longer_store: Store, package: Path, tmp_path: Path, more: list[str], words
) -> None:
    known = {"{package}": str(package), "{longer}": longer_store.header.path}
    arguments = ["train", tiny_store.header.path, *(known.get(word, word) for word in more)]
    root = tmp_path / "workspace"
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(root)])
    assert result.exit_code == 2
    assert words in result.stderr
    assert not root.exists()
