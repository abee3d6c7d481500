"""Fitting in closed form: what numpy finds, the same bits always, one step and one report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.networks.closed_form import fit, fit_linear
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.training.config import load_run_config
from dtsinn.training.finetune import read_parent
from dtsinn.training.loop import train
from dtsinn.training.package import package_run
from dtsinn.training.run import fresh_state, resumed_state
from dtsinn.training.state import TrainingState

LINEAR = [
    "model.kind=linear",
    "model.context=1",
    "model.ridge=1e-3",
    "optimizer.ema=0.9",
    "steps=7",
]
RIDGE = 1e-3


def fitted(stores, context: int = 1, on_block=lambda done, of: None) -> LinearNetwork:
    network = LinearNetwork(3, LinearConfig(context=context, ridge=RIDGE))
    fit(stores, network, on_block)
    return network


def by_numpy(store: Store, context: int) -> np.ndarray:
    """The map [O, T, rows, columns] from the equations as they stand in a textbook."""
    samples = store.read(np.flatnonzero(store.split_N == "train"))
    seconds = np.array(store.header.protocol.frame_duration)
    mean = np.einsum("ntyx,t->nyx", samples.mixture_NTYX.astype(float), seconds / seconds.sum())
    scale = mean.max(axis=(1, 2))[:, None, None, None]
    around = ((0, 0), (0, 0), (context, context), (context, context))
    mixture = np.pad(samples.mixture_NTYX / scale, around)
    side = 2 * context + 1
    windows = np.lib.stride_tricks.sliding_window_view(mixture, (side, side), axis=(2, 3))
    features = windows.transpose(0, 2, 3, 1, 4, 5)[samples.regions_NYX > 0]
    outputs = (samples.tracers_NKTYX / scale[:, None]).transpose(0, 3, 4, 1, 2)
    outputs = outputs[samples.regions_NYX > 0].reshape(len(features), -1)
    x = features.reshape(len(features), -1).astype(float)
    gram = x.T @ x
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, x.T @ outputs).T.reshape(6, 3, side, side)


@pytest.mark.parametrize("context", [0, 1, 2])
def test_the_map_is_the_one_that_numpy_finds(context: int, tiny_store: Store) -> None:
    found = fitted((tiny_store,), context).map.weight.detach().numpy()
    np.testing.assert_allclose(found, by_numpy(tiny_store, context), rtol=1e-3, atol=2e-5)


def test_threads_change_no_bit_and_every_block_is_told(
    tiny_store: Store, later_store: Store
) -> None:
    told: list[tuple[int, int]] = []
    stores = (tiny_store, later_store)
    alone = fitted(stores, on_block=lambda done, of: told.append((done, of)))
    torch.set_num_threads(3)
    try:
        shared = fitted(stores)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert torch.equal(alone.map.weight, shared.map.weight)
    assert told[-1] == (6, 6)  # three blocks of each
    assert not torch.equal(alone.map.weight, fitted((tiny_store,)).map.weight)


def test_a_store_behind_a_url_gives_the_same(tiny_plan, write_store, tmp_path: Path) -> None:
    plan = tiny_plan(size=(8, 8))
    url = f"memory://closed-form/{tmp_path.name}.zarr"
    for path in (url, str(tmp_path / "local.zarr")):
        write_store(path, plan, seed=3)
    here, there = open_store(str(tmp_path / "local.zarr")), open_store(url)
    assert torch.equal(fitted((here,)).map.weight, fitted((there,)).map.weight)


def test_a_training_takes_one_step_and_says_so_again(tiny_store: Store, tmp_path: Path) -> None:
    state = TrainingState(load_run_config("default", LINEAR), 3)
    (report,) = train(tiny_store, state)
    assert (report.step, report.steps, report.finished) == (1, 1, True)
    assert report.metrics["val_psnr"] == report.metrics["best_psnr"]
    assert not {"step_seconds", "learning_rate"} & set(report.metrics)
    wanted = fitted((tiny_store,)).map.weight
    for weights in (state.network.state_dict(), state.average.state_dict(), state.best):
        assert torch.equal(weights["map.weight"], wanted)
    state.save(tmp_path)
    again = resumed_state(tiny_store, tmp_path, "cpu")
    assert list(train(tiny_store, again)) == [report]
    assert torch.equal(again.best["map.weight"], state.best["map.weight"])


def test_a_package_brings_the_linear_map_of_its_stores(
    tiny_store: Store, later_store: Store, tmp_path: Path
) -> None:
    stores = (tiny_store, later_store)
    state = TrainingState(load_run_config("default", ["steps=1", "model.width=4"]), 3)
    list(train(stores, state))
    package_run(state, stores, tmp_path / "network", "run")
    wanted = fit_linear(stores).map.weight
    kept = Separator.load(tmp_path / "network").floor
    assert kept is not None
    assert torch.equal(kept.map.weight, wanted)

    state = TrainingState(load_run_config("default", ["model.kind=linear"]), 3)
    (report,) = train(stores, state)
    package_run(state, stores, tmp_path / "linear", "floor")
    linear = Separator.load(tmp_path / "linear")
    assert report.finished
    assert linear.info.metrics["val_psnr"] == report.metrics["val_psnr"]
    assert not (tmp_path / "linear" / "floor.safetensors").exists()
    assert linear.floor is not None
    assert torch.equal(linear.floor.map.weight, wanted)


def test_there_is_nothing_to_start_from(tiny_store: Store, tmp_path: Path) -> None:
    config = load_run_config("default", LINEAR)
    state = TrainingState(config, 3)
    list(train(tiny_store, state))
    package_run(state, tiny_store, tmp_path / "separator", "parent")
    parent = read_parent(tmp_path / "separator")
    assert parent.info.lineage.steps == 1
    message = r"model\.kind linear is fitted in closed form; got weights to start from"
    with pytest.raises(InputError, match=message):
        fresh_state(tiny_store, config, tmp_path / "child", "cpu", parent)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.context=3", "model.context; got 3; wanted 0, 1 or 2"),
        ("model.ridge=0", "model.ridge; got 0.0; wanted a number above 0"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_run_config("default", ["model.kind=linear", setting])
