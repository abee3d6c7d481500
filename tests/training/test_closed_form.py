"""Fitting in closed form: what numpy finds, the same bits always, one step and one report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.networks.cascade import CascadeConfig, CascadeNetwork
from dtsinn.networks.closed_form import BALANCE, fit, fit_linear
from dtsinn.networks.normalisation import sample_scale
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
    state = TrainingState(load_run_config("invertible", LINEAR), 3)
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
    state = TrainingState(load_run_config("invertible", ["steps=1", "model.width=4"]), 3)
    list(train(stores, state))
    package_run(state, stores, tmp_path / "network", "run")
    wanted = fit_linear(stores).map.weight
    kept = Separator.load(tmp_path / "network").floor
    assert kept is not None
    assert torch.equal(kept.map.weight, wanted)

    state = TrainingState(load_run_config("invertible", ["model.kind=linear"]), 3)
    (report,) = train(stores, state)
    package_run(state, stores, tmp_path / "linear", "floor")
    linear = Separator.load(tmp_path / "linear")
    assert report.finished
    assert linear.info.metrics["val_psnr"] == report.metrics["val_psnr"]
    assert not (tmp_path / "linear" / "floor.safetensors").exists()
    assert linear.floor is not None
    assert torch.equal(linear.floor.map.weight, wanted)


def test_there_is_nothing_to_start_from(tiny_store: Store, tmp_path: Path) -> None:
    config = load_run_config("invertible", LINEAR)
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
        load_run_config("invertible", ["model.kind=linear", setting])


def test_each_stage_of_a_cascade_is_nearer_than_the_one_before(small_store: Store) -> None:
    def error(network) -> float:
        """Squared error in the body of what it was fitted to, where noise is no excuse."""
        samples = small_store.read(np.flatnonzero(small_store.split_N == "train"))
        scale = sample_scale(
            torch.from_numpy(samples.mixture_NTYX),
            torch.tensor(small_store.header.protocol.frame_duration),
        )
        with torch.no_grad():
            found = network(torch.from_numpy(samples.mixture_NTYX) / scale[:, None, None, None])
        wanted = torch.from_numpy(samples.tracers_NKTYX) / scale[:, None, None, None, None]
        body = torch.from_numpy(samples.regions_NYX > 0)
        return float((found - wanted).square().movedim((1, 2), (-2, -1))[body].sum())

    frames = small_store.header.protocol.frames
    told: list[tuple[int, int]] = []
    networks = [CascadeNetwork(frames, CascadeConfig(stages=stages)) for stages in (1, 2, 3)]
    for network in networks:
        told.clear()
        fit((small_store,), network, lambda done, of: told.append((done, of)))
        assert told[-1][0] == told[-1][1]
        assert told[-1][1] % network.rounds == 0
    errors = [error(network) for network in networks]
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.parametrize("kind", ["latent", "unet"])
def test_a_network_starts_from_the_closed_form_which_stays(
    kind: str, tiny_store: Store, tmp_path: Path
) -> None:
    start = "linear" if kind == "unet" else "cascade"
    settings = [f"model.kind={kind}", f"model.start={start}", "model.width=4", "steps=3"]
    config = load_run_config("invertible", [*settings, "validate_every=2"])
    state = fresh_state(tiny_store, config, tmp_path / "run", "cpu")
    network = state.network
    reports = train((tiny_store,), state)
    next(reports)
    assert network.closed_form is not None
    alone = type(network.closed_form)(3, network.closed_form.config)
    fit((tiny_store,), alone)
    for key, wanted in alone.state_dict().items():
        assert torch.equal(network.closed_form.state_dict()[key], wanted), key
    state.save(tmp_path / "run")
    resumed = resumed_state(tiny_store, tmp_path / "run", "cpu")
    *_, again = train((tiny_store,), resumed)
    *_, whole = reports
    assert again.metrics["val_psnr"] == whole.metrics["val_psnr"]
    weights, others = network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert all(
        torch.equal(network.closed_form.state_dict()[key], alone.state_dict()[key])
        for key in alone.state_dict()
    )


def test_fine_tuning_keeps_the_closed_form_of_its_parent(
    tiny_store: Store, later_store: Store, tmp_path: Path
) -> None:
    settings = ["model.kind=latent", "model.width=4", "steps=2", "validate_every=2"]
    config = load_run_config("invertible", settings)
    state = fresh_state(tiny_store, config, tmp_path / "run", "cpu")
    *_, report = train((tiny_store,), state)
    assert report.metrics["round_trip_error"] < 1e-6
    package_run(state, tiny_store, tmp_path / "package", "run")
    parent = read_parent(tmp_path / "package")
    child = fresh_state(later_store, config, tmp_path / "child", "cpu", parent)
    *_, _ = train((later_store,), child)
    for key, weights in state.network.closed_form.state_dict().items():
        assert torch.equal(child.network.closed_form.state_dict()[key], weights)


def test_latent_channels_make_the_inverse_exact(tiny_store: Store, tmp_path: Path) -> None:
    settings = ["model.kind=latent", "model.width=4", "steps=2", "validate_every=2"]
    state = fresh_state(
        tiny_store, load_run_config("invertible", settings), tmp_path / "run", "cpu"
    )
    *_, _ = train((tiny_store,), state)
    package_run(state, tiny_store, tmp_path / "package", "run")
    separator = Separator.load(tmp_path / "package")
    mixture = tiny_store.read([0, 1]).mixture_NTYX
    tracers = separator.separate(mixture)
    latent = separator.latent(mixture, tracers)
    assert separator.round_trip_error(mixture) < 1e-6
    np.testing.assert_allclose(separator.mix(tracers, latent_NTYX=latent), mixture, rtol=1e-5)
    np.testing.assert_allclose(separator.mix(tracers), tracers.sum(axis=1), rtol=1e-6)
    with pytest.raises(InputError, match="latent channels"):
        separator.mix(tracers, latent_NTYX=latent[:1])
    with pytest.raises(InputError, match=r"loss\.backward"):
        load_run_config("invertible", [*settings, "loss.backward=0.1"])


def test_small_regions_weigh_more_where_there_are_labels(small_store: Store) -> None:
    """The cascade's first map, from its equations with the weights as they are told."""
    index = np.flatnonzero(small_store.split_N == "train")
    samples = small_store.read(index)
    assert np.array_equal(small_store.read_regions(index), samples.regions_NYX)
    labels, counts = np.unique(samples.regions_NYX[samples.regions_NYX > 0], return_counts=True)
    weight = dict(zip(labels, (counts / counts.sum()) ** -BALANCE, strict=True))
    network = CascadeNetwork(small_store.header.protocol.frames, CascadeConfig(stages=1))
    fit((small_store,), network)
    scale = sample_scale(
        torch.from_numpy(samples.mixture_NTYX),
        torch.tensor(small_store.header.protocol.frame_duration),
    ).numpy()[:, None, None, None]
    body = samples.regions_NYX > 0
    with torch.no_grad():
        features = network.features(torch.from_numpy(samples.mixture_NTYX / scale), 0)
    x = np.moveaxis(features.numpy(), 1, -1)[body].astype(float)
    outputs = np.moveaxis(samples.tracers_NKTYX / scale[:, None], (1, 2), (-2, -1))[body]
    w = np.vectorize(weight.get)(samples.regions_NYX[body])[:, None]
    w /= w.mean()
    gram, norm = x.T @ (w * x), np.sqrt((w * x * x).sum(axis=0))
    gram = gram / norm[:, None] / norm + network.config.ridge * np.eye(len(gram))
    found = np.linalg.solve(gram, x.T @ (w * outputs.reshape(len(x), -1)) / norm[:, None])
    wanted = (found / norm[:, None]).T
    np.testing.assert_allclose(network.maps[0].detach().numpy(), wanted, rtol=1e-2, atol=1e-3)
