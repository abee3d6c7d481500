"""What a search will cost, told without starting it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.networks.build import build_network, parameter_count
from dtsinn.search.forecast import SAMPLES, forecast
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space

SPACE = """
fixed: {steps: 900, validate_every: 100}
parameters:
  model.width: {int: [4, 16], step: 4}
  model.kind: {choice: [invertible, temporal]}
constraints: [parameters <= 20000]
"""


def plan(folder: Path, text: str, **more) -> SearchPlan:
    path = folder / "mine.yaml"
    path.write_text(text)
    return SearchPlan(name="a", store="s", space=load_space(str(path)), **more)


def test_samples_and_cost(small_store: Store, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    searched = plan(tmp_path, SPACE, trials=10)
    told = forecast(searched, small_store, at_a_time=2)
    assert torch.get_num_threads() == threads
    assert len(told.samples) == SAMPLES
    assert told.size == 4 * 2
    assert 0 <= told.refused < 1
    for sample in told.samples:
        model = searched.space.config(sample.suggestion).model
        assert sample.takes is not None
        assert sample.takes.parameters == parameter_count(build_network(model, 18)) <= 20000
        assert sample.takes.activations > 0
        assert sample.step_seconds > 0
    assert told.steps == 10 * 900
    # 600 steps for all, 300 more for a third.
    assert told.expected_steps == round(10 * (600 + 300 / 3))
    mean = sum(sample.step_seconds for sample in told.samples) / SAMPLES
    assert told.seconds == pytest.approx(told.expected_steps * mean / 2)


def test_the_same_seed_draws_the_same_samples(small_store: Store, tmp_path: Path) -> None:
    searched = plan(tmp_path, SPACE, scheduler="none", seed=3)
    first, second = (forecast(searched, small_store, at_a_time=1) for _ in range(2))
    assert [s.suggestion for s in first.samples] == [s.suggestion for s in second.samples]
    assert first.expected_steps == first.steps


def test_nothing_is_trained_of_spectral_analysis(small_store: Store, tmp_path: Path) -> None:
    text = "{fixed: {model.kind: spectral}, parameters: {model.terms: {int: [1, 4]}}}"
    told = forecast(plan(tmp_path, text), small_store, at_a_time=1)
    assert told.seconds == 0
    assert all(sample.takes is None for sample in told.samples)


def test_constraints_that_nothing_meets_are_one_clear_line(
    small_store: Store, tmp_path: Path
) -> None:
    text = "{parameters: {model.width: {int: [4, 64]}}, constraints: [parameters <= 10]}"
    with pytest.raises(InputError, match=r"none of 200 suggestions may be tried; got \d+ param"):
        forecast(plan(tmp_path, text), small_store, at_a_time=1)
