"""Tracers: the shipped ones load, wrong ones are refused in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from dtsinn.core.config import find_config, from_mapping, read_yaml, set_key, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.tracer import Tracer, load_tracer, tracer_names


def test_both_shipped_tracers_are_named() -> None:
    assert {"fmz", "fdg"} <= set(tracer_names())


@pytest.mark.parametrize("name", tracer_names())
def test_every_shipped_tracer_loads_and_survives_a_round_trip(name: str) -> None:
    tracer = load_tracer(name)
    assert tracer.name == name
    assert from_mapping(Tracer, to_mapping(tracer), "again") == tracer
    assert tracer.decay_constant * tracer.half_life == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("half_life", 0, "half_life"),
        ("half_life", -5.0, "half_life"),
        ("half_life", math.inf, "half_life"),
        ("dose_MBq", 0, "dose_MBq"),
        ("model_order", 3, "model_order"),
        ("tissues.white.K1", -0.1, "tissues.white.K1"),
        ("tissues.white.k2", math.nan, "tissues.white.k2"),
        ("tissues.white.vB", 1.0, "vB"),
        ("tissues.white.k3", 0.1, "one-tissue"),
        ("tissues.white.K2", 0.1, "tissues.white.K2"),
        ("tissues", {}, "tissues"),
        ("input.l2", 0.0, "input.l2"),
        ("input.A1", -1.0, "input.A1"),
        ("input.reference_weight_kg", 0, "reference_weight_kg"),
        ("input.parent.half_time_min", 0, "parent.half_time_min"),
        ("spread.subject.K1", 1.5, "spread.subject.K1"),
        ("spread.voxel", -0.1, "spread.voxel"),
        ("half_live", 1224, "half_life"),
        ("half_life", "long", "half_life"),
    ],
)
def test_a_wrong_value_is_refused_by_name(key: str, value: object, said: str) -> None:
    mapping = read_yaml(find_config("tracers", "fmz"))
    set_key(mapping, key, value)
    with pytest.raises(InputError) as caught:
        from_mapping(Tracer, mapping, "fmz.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_the_user_loads_and_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    mapping = read_yaml(find_config("tracers", "fdg")) | {"name": "mine"}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    assert load_tracer(str(path)).name == "mine"
    with pytest.raises(InputError, match="fdg"):
        load_tracer("fgd")


def test_a_missing_key_is_named() -> None:
    mapping = read_yaml(find_config("tracers", "fdg"))
    del mapping["input"]["A2"]
    with pytest.raises(InputError, match=r"input\.A2"):
        from_mapping(Tracer, mapping, "fdg.yaml")
