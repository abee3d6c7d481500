"""The benchmarks of memory and speed at a tiny size: what they report, and that it adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks import memory, speed
from tests.support.memory import peak_growth


def silent(text: str) -> None:
    pass


def test_the_peak_is_what_is_held_at_once() -> None:
    def call() -> None:
        first = torch.zeros(1000)
        del first
        second, third = torch.zeros(2000), torch.zeros(500)
        del second, third

    assert peak_growth(call) == pytest.approx(4 * 2500, abs=256)


def test_memory() -> None:
    result = memory.run(say=silent, sizes=((4, 24),), with_published=False)
    found = {(one["network"], one["memory"]): one for one in result.data["growth_MiB"]}
    assert len(found) == len(memory.MODELS) * len(memory.MODES) == len(result.tables[0].rows)
    for name in memory.MODELS:
        plain = found[name, "plain"]
        assert plain["activations"] <= plain["total"]
        for mode in ("checkpoint", "reversible"):
            assert found[name, mode]["activations"] < 0.7 * plain["activations"]


def test_speed() -> None:
    tiny = replace(memory.DENSE, blocks=1, width=4)
    makes = [replace(make, model=tiny) for make in speed.MAKES]
    result = speed.run(rounds=1, say=silent, makes=makes, size=8)
    assert len(result.data["steps"]) == len(makes) + 1
    assert all(step["median"] > 0 for step in result.data["steps"])
    assert result.data["steps"][0]["gain"] == 1
    assert 0 < result.data["bf16_rounding"]["output"] < 0.02
