"""Rivals on the road: trained, registered, exported and evaluated by the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.config import to_mapping
from dtsinn.core.workspace import Workspace
from dtsinn.search.space.reader import load_space

TINY = {
    "residual-cnn": {"width": 4, "blocks": 1},
    "plain": {"width": 4, "depth": 3},
    "unet": {"width": 4, "levels": 1},
    "ced": {"width": 4, "levels": 1},
    "cnn3d": {"width": 4, "depth": 2},
    "temporal": {"width": 8, "depth": 2},
}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


def settings(kind: str) -> list[str]:
    made = {"model.kind": kind, "steps": 6, "validate_every": 3, "model.width": 4}
    made |= {f"model.{key}": value for key, value in TINY[kind].items()}
    return [part for key, value in made.items() for part in ("--set", f"{key}={value}")]


def test_a_rival_is_trained_exported_and_evaluated(
    small_path: Path, begin_workspace: Callable[[Path], Workspace], tmp_path: Path
) -> None:
    root = begin_workspace(tmp_path / "workspace").root
    text = run("train", small_path, *settings("temporal"), "--name", "mine", "--workspace", root)
    assert "registered as dtsinn-fmz-fdg-p1/2" in text
    assert "dtsinn-fmz-fdg-p1/1 is the linear map, registered as the first champion" in text
    text = run(
        "export", "run:mine", "--no-calibration", "--out", tmp_path / "out", "--workspace", root,
        "--quiet",
    )  # fmt: skip
    assert "ONNX Runtime against torch" in text
    assert "inverse" not in text
    assert not (tmp_path / "out" / "inverse.onnx").exists()
    run(
        "evaluate", "--model", tmp_path / "out", "--suite", "none", "--data", small_path,
        "--out", tmp_path / "report", "--quiet", "--workspace", root,
    )  # fmt: skip
    record = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    (model,) = record["cells"][0]["models"]
    assert not model["reason"]
    assert len(model["subjects"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_every_rival_is_trained(kind: str, small_path: Path, tmp_path: Path) -> None:
    text = run("train", small_path, *settings(kind), "--workspace", tmp_path / "workspace")
    assert "registered as dtsinn-fmz-fdg-p1/2" in text


def test_a_rival_can_be_searched(tmp_path: Path) -> None:
    path = tmp_path / "rival.yaml"
    path.write_text(
        """
base: invertible
fixed: {model.kind: unet, steps: 60}
parameters:
  model.width: {int: [8, 32], step: 8}
  model.levels: {int: [1, 3]}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""
    )
    space = load_space(str(path))
    config = space.config({"model.width": 16, "model.levels": 3})
    assert to_mapping(config.model) == {
        "kind": "unet",
        "start": "half",
        "width": 16,
        "levels": 3,
    }
