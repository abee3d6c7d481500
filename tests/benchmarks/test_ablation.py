"""The ablation of the backward loss: what it measures, at a tiny size."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import ablation, report
from dtsinn.data.store import Store
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.training.config import load_run_config
from dtsinn.training.state import TrainingState


@pytest.fixture
def network(small_store: Store) -> InvertibleSeparator:
    config = load_run_config("invertible", ["model.width=4", "model.variables=halves"])
    network = TrainingState(config, small_store.header.protocol.frames).network
    assert isinstance(network, InvertibleSeparator)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return network


def test_the_published_cycle_has_no_gradient_and_the_truth_has(
    small_store: Store, network: InvertibleSeparator
) -> None:
    shares = {
        target: ablation.gradient_share(network, small_store, target)
        for target in ("own", "sum", "mixture")
    }
    assert shares["own"] < 1e-6
    assert shares["sum"] > 0.1
    assert shares["mixture"] > 0.1


def test_rows_are_what_they_say() -> None:
    settings = {v.name: load_run_config("invertible", v.overrides).loss for v in ablation.VARIANTS}
    assert len(settings) == 8
    for name, loss in settings.items():
        assert (loss.consistency > 0) == name.endswith("+ consistency")
        assert (loss.backward > 0) == (not name.startswith("no backward"))
    assert settings["cycle on own output"].backward_target == "own"
    assert settings["true tracers to mixture"].backward_target == "mixture"


def test_ablation(small_store: Store, tmp_path: Path) -> None:
    said: list[str] = []
    chosen = (ablation.VARIANTS[0], ablation.VARIANTS[2], ablation.VARIANTS[4])
    result = ablation.run(small_store, steps=3, seeds=2, say=said.append, variants=chosen)
    assert len(said) == 6
    assert [row[0] for row in result.tables[0].rows] == [variant.name for variant in chosen]
    report.write(result, tmp_path)
    trials = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))["data"]["trials"]
    assert all(math.isfinite(trial["mixing_error"]) for trial in trials)
    plain, own, labels = trials[:3]
    assert own["test_psnr"] == pytest.approx(plain["test_psnr"], abs=1e-3)
    assert labels["mixing_error"] != pytest.approx(plain["mixing_error"], rel=1e-3)
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
