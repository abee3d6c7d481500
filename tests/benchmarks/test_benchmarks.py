"""Every benchmark's computing part at a tiny size, and the laws that its comparison rests on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import comparison, methods, published, reading, report, roundtrip
from benchmarks.methods import separator_learner
from benchmarks.rivals import ResidualCNN
from benchmarks.training import Plan, Speed, plan
from benchmarks.training import train as train_here
from dtsinn.data.store import Store
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

TINY = replace(published.ARCHITECTURE, blocks=2, width=4)


def silent(text: str) -> None:
    pass


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list | tuple):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, int | float) else []


def check_written(result: report.Result, folder: Path) -> None:
    report.write(result, folder)
    content = json.loads((folder / f"{result.name}.json").read_text(encoding="utf-8"))
    assert numbers(content["data"])
    assert all(math.isfinite(number) for number in numbers(content["data"]))
    page = (folder / f"{result.name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {result.title}")
    assert "nan" not in page


def test_training_here_is_training_there(small_store: Store) -> None:
    config = load_run_config("default", ["steps=6", "validate_every=3", "model.width=4"])
    state = TrainingState(config, small_store.header.protocol.frames)
    for _ in train(small_store, state):
        pass
    learner = separator_learner(small_store, config.seed, 2e-3, config)
    trained = train_here(small_store, learner, Plan(steps=6, validations=2))
    assert trained.val_psnr == state.progress.best_psnr
    for name, value in learner.network.state_dict().items():
        torch.testing.assert_close(value, state.best[name], rtol=0, atol=0)


def test_a_plan_fills_its_budget() -> None:
    filled = plan(Speed(step=0.05, validation=0.5), 60)
    assert filled.validations == 8
    assert filled.steps * 0.05 + filled.validations * 0.5 == pytest.approx(60, abs=0.05)
    assert plan(Speed(step=1.0, validation=8.0), 60) == Plan(steps=60, validations=0)


def test_the_published_network_has_the_published_size_and_no_inverse() -> None:
    network = published.PublishedNetwork(18)
    assert sum(p.numel() for p in network.parameters()) == 2_416_944
    mixture = torch.rand(1, 18, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        again = network.inverse(network(mixture))
    assert (again - mixture).norm() / mixture.norm() > 10


def test_without_its_skips_the_published_network_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "SKIPS_OVER", 0)
    network = published.PublishedNetwork(6, config=TINY).double()
    mixture = torch.rand(1, 6, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        again = network.inverse(network(mixture))
    assert (again - mixture).norm() / mixture.norm() < 1e-9


def test_the_plain_cnn_starts_as_an_equal_split() -> None:
    network = ResidualCNN(18)
    assert sum(p.numel() for p in network.parameters()) == 326_628
    mixture = torch.rand(2, 18, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(mixture), torch.stack((mixture, mixture), dim=1) / 2)


def test_tuning_goes_on_where_an_end_of_the_grid_is_best(
    small_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def scored(*given: Any, **named: Any) -> comparison.Run:
        rate = given[4]
        tried.append(rate)
        return comparison.Run(
            method="",
            seed=0,
            learning_rate=rate,
            steps=1,
            validations=0,
            cpu_seconds=0.0,
            val_psnr=-abs(math.log(rate / 5e-4)),
            round_trip_error=None,
            test_psnr={},
        )

    monkeypatch.setattr(comparison, "_train", scored)
    method = methods.Method(name="", make=methods.published_learner, rate=1, grid=(1e-3, 2e-3))
    runs = comparison._tune(small_store, method, Plan(steps=1, validations=0), silent)
    assert tried == [1e-3, 2e-3, 5e-4, 2.5e-4]
    assert [run.learning_rate for run in runs] == [2.5e-4, 5e-4, 1e-3, 2e-3]


def test_published(small_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "ARCHITECTURE", TINY)
    monkeypatch.setattr(comparison, "CALIBRATIONS", 1)
    made = [replace(m, grid=m.grid[:1]) for m in methods.all_methods()]
    slow = methods.published_learner
    made[0] = replace(made[0], make=lambda store, seed, rate: slow(store, seed, rate, TINY))
    monkeypatch.setattr(comparison, "all_methods", lambda: made)
    result = comparison.run(small_store, seconds=0.1, seeds=2, say=silent)
    check_written(result, tmp_path)
    assert [row[0] for row in result.tables[0].rows] == [
        comparison.HALVING,
        methods.PUBLISHED,
        methods.TAMED,
        methods.CNN,
        methods.SEPARATOR,
    ]
    assert (tmp_path / "published.png").read_bytes().startswith(b"\x89PNG")


def test_reading(small_store: Store, tmp_path: Path) -> None:
    check_written(reading.run(small_store, rounds=1, steps=5, say=silent), tmp_path)


def test_roundtrip(small_store: Store, tmp_path: Path) -> None:
    result = roundtrip.run(small_store, steps=5, say=silent, blocks=(1,))
    check_written(result, tmp_path)
    (found,) = result.data["separators"]
    assert found["round_trip"] < 1e-5
    assert found["onnx_model"] < result.data["limit"]
