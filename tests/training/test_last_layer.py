"""The last layer, solved after the last step: what numpy finds, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dtsinn.data.store import Store
from dtsinn.networks.closed_form import BALANCE, fit
from dtsinn.networks.last_layer import AIR, RIDGE, last_layer
from dtsinn.networks.normalisation import sample_scale
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

SHORT = ["steps=4", "validate_every=4", "model.width=4"]
KINDS = ["latent", "plain", "unet", "ced", "residual-cnn", "temporal"]


def trained(store: Store, *overrides: str) -> TrainingState:
    state = TrainingState(load_run_config("default", [*SHORT, *overrides]), 3)
    for _ in train(store, state):
        pass
    return state


def read(store: Store):
    samples = store.read(np.flatnonzero(store.split_N == "train"))
    mixture = torch.from_numpy(samples.mixture_NTYX)
    scale = sample_scale(mixture, torch.tensor(store.header.protocol.frame_duration))
    truth = torch.from_numpy(samples.tracers_NKTYX) / scale[:, None, None, None, None]
    return mixture / scale[:, None, None, None], truth, samples.regions_NYX


def test_the_last_layer_is_the_one_that_numpy_finds(tiny_store: Store) -> None:
    network = trained(tiny_store, "refit=0").network
    mixture, truth, labels = read(tiny_store)
    with last_layer(network) as layer, torch.no_grad():
        answer = network(mixture)
        seen, given = (part.double().numpy() for part in layer.seen.pair)
    counts = np.bincount(labels.ravel())
    weight = np.zeros(len(counts))
    there = np.flatnonzero(counts[1:]) + 1
    weight[there] = (counts[there] / counts[there].sum()) ** -BALANCE
    weight *= counts[there].sum() / (weight * counts * (np.arange(len(counts)) > 0)).sum()
    weight[0] = AIR
    x = np.concatenate((seen, np.ones_like(seen[:, :1])), axis=1)
    x = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    wanted = (truth - answer).flatten(1, 2).double().numpy() + given
    wanted = np.moveaxis(wanted, 1, -1).reshape(len(x), -1)
    w = weight[labels.ravel()][:, None]
    norm = np.sqrt((w * x * x).sum(axis=0))
    scaled = x / norm
    gram = scaled.T @ (w * scaled) + RIDGE * np.eye(len(norm))
    expected = (np.linalg.solve(gram, scaled.T @ (w * wanted)) / norm[:, None]).T
    with last_layer(network) as layer:
        fit([tiny_store], layer)
    tail = network.tails[-1]
    np.testing.assert_allclose(tail.weight.detach()[:, :, 0, 0], expected[:, :-1], atol=2e-4)
    np.testing.assert_allclose(tail.bias.detach(), expected[:, -1], atol=2e-4)
    assert not tail._forward_hooks


@pytest.mark.parametrize("kind", KINDS)
def test_it_lowers_the_error_on_the_training_subjects(kind: str, tiny_store: Store) -> None:
    start = ["model.start=linear"] if kind in ("latent", "plain", "unet", "residual-cnn") else []
    mixture, truth, labels = read(tiny_store)
    errors = []
    for refit in (0, 256):
        state = trained(tiny_store, f"model.kind={kind}", f"refit={refit}", *start)
        with torch.no_grad():
            error = (state.network(mixture) - truth).square().mean(dim=(1, 2))
        errors.append(float(error[torch.from_numpy(labels > 0)].mean()))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("kind", ["cnn3d", "invertible"])
def test_a_network_whose_last_layer_gives_no_frames_is_left_alone(
    kind: str, tiny_store: Store
) -> None:
    first, second = (trained(tiny_store, f"model.kind={kind}", f"refit={n}") for n in (0, 256))
    for name, weight in first.network.state_dict().items():
        assert torch.equal(weight, second.network.state_dict()[name])


def test_the_average_is_solved_where_one_is_kept(tiny_store: Store) -> None:
    kept = ["optimizer.ema=0.5", "model.start=linear"]
    first, second = (trained(tiny_store, f"refit={n}", *kept) for n in (0, 256))
    assert first.average is not None
    assert second.average is not None
    tails = [state.average.tails[-1].weight for state in (first, second)]
    assert not torch.equal(*tails)
    assert torch.equal(first.network.tails[-1].weight, second.network.tails[-1].weight)


def test_few_samples_are_spread_over_the_split_and_give_the_same_bits(tiny_store: Store) -> None:
    states = [trained(tiny_store, f"refit={n}", "model.start=linear") for n in (2, 2, 256)]
    first, again, whole = (state.network.tails[-1].weight for state in states)
    assert torch.equal(first, again)
    assert not torch.equal(first, whole)
