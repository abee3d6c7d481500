"""Static pairs, one frame in files of the public layout: imported, trained on, evaluated, exported.

The files are made here; the layout is that of the public FDG and FDOPA slices.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.seeds import generator
from dtsinn.data.store import open_store

SIZE, PEOPLE, SLICES = 16, 6, 2
FOLDERS = {"mixture": "mix", "fdg": "F18", "fdopa": "DOPA"}
PLAN = {
    "tracers": ["fdg", "fdopa"],
    "protocol": "static.yaml",
    "decay_corrected": False,
    "scale": 30.0,
    "voxel_size_mm": [4.0, 4.0],
    "slice_thickness_mm": 4.0,
    "subjects": r"(?P<subject>\d+)_(?P<slice>\d+)",
    "folders": FOLDERS,
}
PROTOCOL = {
    "name": "static",
    "description": "one frame of 10 min",
    "source": "uncited",
    "injections": [0, 0],
    "frames": [[1, 600]],
}


def picture(kind: str, person: int, level: int) -> np.ndarray:
    """[Y, X] without a third axis, as MATLAB writes one frame; 0 to 1."""
    if kind == "mixture":
        return picture("fdg", person, level) + picture("fdopa", person, level)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    body = (x**2 + y**2 < 0.2).astype(float)
    at = generator(5, kind, person, level).uniform(-0.2, 0.2, 2)
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 0.02)
    return body * (0.1 + 0.3 * spot) * (1.0 if kind == "fdg" else 0.6)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """``chest_coronal/F18/F18_01_001.mat`` and its like, and a plan beside the folder."""
    for kind, folder in FOLDERS.items():
        (tmp_path / "chest_coronal" / folder).mkdir(parents=True)
        for person in range(PEOPLE):
            for level in range(SLICES):
                name = f"{folder}_{person + 1:02d}_{level + 1:03d}.mat"
                savemat(
                    tmp_path / "chest_coronal" / folder / name,
                    {"data": picture(kind, person, level)},
                )
    (tmp_path / "static.yaml").write_text(yaml.safe_dump(PROTOCOL))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    return tmp_path / "chest_coronal"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_static_pairs_go_all_the_way(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTSINN_WORKSPACE", str(tmp_path / "workspace"))
    store = tmp_path / "static.zarr"
    run("import", source, store, "--from", "mat", "--plan", tmp_path / "plan.yaml", "--quiet")
    opened = open_store(str(store))
    assert (opened.header.protocol.frames, opened.header.samples) == (1, PEOPLE * SLICES)
    found = opened.read(range(opened.header.samples))
    assert found.tracers_NKTYX is not None
    np.testing.assert_allclose(found.mixture_NTYX, found.tracers_NKTYX.sum(axis=1), atol=1e-4)
    made = np.array([30 * picture("fdg", p, z) for p in range(PEOPLE) for z in range(SLICES)])
    for image in found.tracers_NKTYX[:, 0, 0]:
        assert np.abs(made - image).max(axis=(1, 2)).min() < 1e-4
    run("train", store, "--set", "steps=4", "--set", "model.width=4", "--name", "s", "--quiet")
    out = tmp_path / "evaluation"
    run("evaluate", "--model", "run:s", "--data", store, "--out", out, "--quiet")
    cell, *others = json.loads((out / "evaluation.json").read_text())["cells"]
    assert cell["models"][0]["summary"]["psnr"]["mean"] > 0
    assert all(other["models"][0]["reason"] for other in others), "18 frames are another scan"
    said = run("export", "run:s", "--no-calibration", "--out", tmp_path / "exported")
    assert (tmp_path / "exported" / "model.onnx").exists(), said


def test_names_without_their_folders_are_compared_as_they_are(source: Path, tmp_path: Path) -> None:
    (source / "DOPA" / "DOPA_01_001.mat").rename(source / "DOPA" / "other_01_001.mat")
    done = CliRunner().invoke(
        app,
        [
            *("import", str(source), str(tmp_path / "s.zarr"), "--from", "mat"),
            *("--plan", str(tmp_path / "plan.yaml")),
        ],
    )
    assert done.exit_code == 2
    assert "its files have other names than those of the mixture" in " ".join(done.output.split())
