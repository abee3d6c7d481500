"""Steps: accumulation, averages, growing batches, early ends, exact resumption, divergence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dtsinn.core.errors import DivergedError, InputError
from dtsinn.data.store import Store
from dtsinn.training.config import RunConfig, load_run_config
from dtsinn.training.feed import Feed
from dtsinn.training.loop import Report, train
from dtsinn.training.run import resumed_state
from dtsinn.training.schedule import batch_size, samples_before
from dtsinn.training.state import TrainingState, decay_at
from dtsinn.training.step import GRADIENT, FiniteGuard, take_step, task_of
from dtsinn.training.team import ALONE

TINY = ["steps=12", "validate_every=4", "model.width=4", "model.depth=3"]
EVERYTHING = [
    *TINY,
    "optimizer.ema=0.9",
    "accumulate=2",
    "batch_end=4",
    "augmentation.recombination=0.5",
    "augmentation.dose=0.1",
]


def config_of(*settings: str) -> RunConfig:
    return load_run_config("invertible", [*TINY, *settings])


def run_to_end(stores, config: RunConfig, **more) -> tuple[TrainingState, list[Report]]:
    state = TrainingState(config, 3)
    return state, list(train(stores, state, **more))


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    found |= {f"best.{k}": v for k, v in state.best.items()}
    if state.average is not None:
        found |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{number}.{k}": v for k, v in values.items()}
    return found


def assert_same_bits(one: TrainingState, other: TrainingState) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("stores", [1, 2, 3])
@pytest.mark.parametrize(("batch", "end"), [(1, 0), (1, 4), (2, 7), (3, 3)])
def test_the_place_in_the_data_is_the_sum_of_the_steps(batch: int, end: int, stores: int) -> None:
    config = config_of(f"batch={batch}", f"batch_end={end}", "steps=23", "accumulate=3")
    taken = [0] * stores
    for step in range(24):
        assert [samples_before(config, step, s, stores) for s in range(stores)] == taken
        if step < 23:
            taken[step % stores] += 3 * batch_size(config, step)
    assert batch_size(config, 0) == batch
    assert batch_size(config, 22) == (end or batch)


@pytest.mark.parametrize("stopped_at", [4, 8])
def test_a_run_with_everything_is_resumed_to_the_last_bit(
    tiny_store: Store, later_store: Store, tmp_path: Path, stopped_at: int
) -> None:
    stores, config = (tiny_store, later_store), load_run_config("invertible", EVERYTHING)
    whole, reports = run_to_end(stores, config)
    broken = TrainingState(config, 3)
    for report in train(stores, broken):
        broken.save(tmp_path / "run")
        if report.step == stopped_at:
            break
    resumed = resumed_state(stores, tmp_path / "run", "cpu")
    rest = list(train(stores, resumed))
    assert [r.metrics["val_psnr"] for r in rest] == [
        r.metrics["val_psnr"] for r in reports if r.step >= stopped_at
    ], "the last report comes again, as it may not have been heard"
    assert_same_bits(resumed, whole)
    assert {r.metrics["batch"] for r in reports} == {2.0, 4.0, 8.0}


def test_an_average_follows_its_recursion_and_is_what_counts(tiny_store: Store) -> None:
    config = config_of("optimizer.ema=0.5", "validate_every=1", "steps=6")
    state = TrainingState(config, 3)
    expected = {k: v.clone() for k, v in state.network.named_parameters()}
    for step, _ in enumerate(train(tiny_store, state)):
        decay = decay_at(0.5, step)
        for name, value in state.network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
    average = dict(state.average.named_parameters())
    assert all(torch.allclose(average[name], expected[name], atol=1e-6) for name in expected)
    assert state.validated_network is state.average
    if state.progress.best_step == 6:
        assert torch.equal(state.best[name], average[name])
    assert decay_at(0.999, 0) == pytest.approx(0.1)
    assert decay_at(0.999, 10**6) == 0.999


def test_accumulation_averages_the_gradients(tiny_store: Store) -> None:
    config = config_of("accumulate=3", "optimizer.clip=1e9", "loss.backward=0.1")
    state = TrainingState(config, 3)
    task = task_of(tiny_store, torch.device("cpu"))
    parts = list(Feed((tiny_store,), config, ALONE, 0).parts(0))
    single = []
    for part in parts:
        other = TrainingState(config, 3)
        take_step(other, task, iter([part]), ALONE)
        # One of three parts brings a third of its own gradient.
        single.append({k: 3 * p.grad for k, p in other.network.named_parameters()})
    take_step(state, task, iter(parts), ALONE)
    for name, parameter in state.network.named_parameters():
        mean = sum(gradients[name] for gradients in single) / 3
        assert torch.allclose(parameter.grad, mean, rtol=1e-4, atol=1e-7)


def test_patience_ends_a_run_for_good(tiny_store: Store, tmp_path: Path) -> None:
    config = config_of("optimizer.learning_rate=1e-12", "patience=2", "steps=100")
    state, reports = run_to_end(tiny_store, config)
    assert [report.step for report in reports] == [4, 8, 12]
    assert [report.finished for report in reports] == [False, False, True]
    assert "no gain of 0.01 dB in 2 validations" in reports[-1].ended
    again = TrainingState.load(state.save(tmp_path))
    assert list(train(tiny_store, again)) == reports[-1:], "it only says again how it ended"


def test_a_run_without_patience_spends_its_budget(tiny_store: Store) -> None:
    _, reports = run_to_end(tiny_store, config_of("optimizer.learning_rate=1e-12"))
    assert reports[-1].ended == "the budget is spent"


def test_what_is_not_finite_is_named_with_its_step() -> None:
    fine = torch.tensor(1.0)
    for name, words in (
        ("backward", "the backward loss is nan"),
        (GRADIENT, "the gradient's norm"),
    ):
        guard = FiniteGuard()
        guard.add(6, {"forward": fine, GRADIENT: fine})
        guard.add(7, {"forward": fine, "backward": fine, GRADIENT: fine} | {name: fine * torch.nan})
        guard.add(8, {"forward": fine * torch.nan, GRADIENT: fine})
        with pytest.raises(DivergedError, match=f"{words}.*at step 7"):
            guard.check()


def test_determinism_is_asked_for_only_while_it_trains(tiny_store: Store) -> None:
    seen = []
    assert not torch.are_deterministic_algorithms_enabled()
    run_to_end(
        tiny_store,
        config_of("deterministic=true"),
        on_step=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert seen == [True] * 12
    assert not torch.are_deterministic_algorithms_enabled()
    reports = train(tiny_store, TrainingState(config_of("deterministic=true"), 3))
    next(reports)
    assert not torch.are_deterministic_algorithms_enabled()  # nor while a report is looked at


def test_stores_are_taken_in_turn_and_told(tiny_store: Store, later_store: Store) -> None:
    config = config_of("model.conditioning=protocol", "steps=40", "validate_every=40")
    state, (report,) = run_to_end((tiny_store, later_store), config)
    metrics = report.metrics
    assert metrics["val_psnr"] == pytest.approx((metrics["val_psnr_1"] + metrics["val_psnr_2"]) / 2)
    assert state.progress.store_digest == f"{tiny_store.header.digest},{later_store.header.digest}"
    mixture = torch.ones(1, 3, 8, 8)
    answers = []
    for store in (tiny_store, later_store):
        state.network.condition_on(task_of(store, torch.device("cpu")).features_TF)
        answers.append(state.network(mixture))
    assert not torch.allclose(*answers)


def test_stores_that_do_not_go_together_are_refused(
    tiny_store: Store, longer_store: Store, make_tiny
) -> None:
    state = TrainingState(config_of(), 3)
    with pytest.raises(InputError, match="has 4 frames; wanted 3, as in"):
        next(train((tiny_store, longer_store), state))
    other = make_tiny("other", tracers=("fmz", "met"))
    with pytest.raises(InputError, match=r"other tracers than .*fmz \+ met"):
        next(train((tiny_store, other), state))


@pytest.mark.parametrize(
    "setting", ["batch_end=-1", "accumulate=0", "patience=-1", "optimizer.ema=1", "steps=0"]
)
def test_impossible_settings_are_refused(setting: str) -> None:
    with pytest.raises(InputError, match=setting.split("=")[0]):
        config_of("batch=2", setting)
