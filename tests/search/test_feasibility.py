"""Suggestions that start no trial: what the configuration or a constraint refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.networks.build import build_network, parameter_count
from dtsinn.search.sampling.feasibility import FeasibilityCheck
from dtsinn.search.space.constraints import Constraint, GiB, MiB, read_constraint
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import describe

FRAMES, SIZE = 18, (64, 64)


def feasibility(folder: Path, constraints: str) -> FeasibilityCheck:
    path = folder / "mine.yaml"
    path.write_text(
        "{base: invertible, parameters: {model.kind: {choice: [invertible, unet]},"
        " model.width: {int: [4, 256]},"
        f" loss.backward: {{float: [0, 1]}}}}, constraints: [{constraints}]}}"
    )
    return FeasibilityCheck(space=load_space(str(path)), frames=FRAMES, size=SIZE)


@pytest.mark.parametrize(
    ("text", "quantity", "most"),
    [
        ("parameters <= 3e6", "parameters", 3e6),
        ("parameters<=25000", "parameters", 25000),
        (" memory <= 8 GiB ", "memory", 8 * GiB),
        ("memory <= 512 MiB", "memory", 512 * MiB),
    ],
)
def test_limits_are_read(text: str, quantity: str, most: float) -> None:
    assert read_constraint(text, "space") == Constraint(
        quantity=quantity, most=most, text=text.strip()
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "parameters",
        "parameters < 3",
        "parameters <= 1.2.3",
        "memory <= 8",
        "parameters <= 3 GiB",
        "steps <= 3",
        "",
    ],
)
def test_what_is_no_limit_is_one_clear_line(text: str) -> None:
    with pytest.raises(InputError, match=r"space: a constraint cannot be read; got .*; wanted"):
        read_constraint(text, "space")


def test_a_limit_on_parameters_is_exact(tmp_path: Path) -> None:
    suggestion = {"model.kind": "invertible", "model.width": 24, "loss.backward": 0.0}
    judge = feasibility(tmp_path, "")
    count = parameter_count(build_network(judge.space.config(suggestion).model, FRAMES))
    assert judge(suggestion) == ""
    assert feasibility(tmp_path, f"parameters <= {count}")(suggestion) == ""
    limit = f"parameters <= {count - 1}"
    assert feasibility(tmp_path, limit)(suggestion) == f"{count} parameters; wanted {limit}"


def test_a_limit_on_memory_lets_the_small_through(tmp_path: Path) -> None:
    judge = feasibility(tmp_path, "memory <= 30 MiB")
    small, large = (
        {"model.kind": "invertible", "model.width": width, "loss.backward": 0.0}
        for width in (8, 256)
    )
    assert judge(small) == ""
    assert "MiB; wanted memory <= 30 MiB" in judge(large)
    assert ("constraint", "memory <= 30 MiB") in describe(judge.space)


def test_what_the_configuration_refuses_is_refused_with_its_words(tmp_path: Path) -> None:
    judge = feasibility(tmp_path, "memory <= 30 GiB")
    reason = judge({"model.kind": "unet", "model.width": 8, "loss.backward": 0.1})
    assert "loss.backward needs an inverse" in reason
