"""The rest of the road as a user types it: evaluate, compare, export, browse, train, resume."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.separator import Separator
from dtsinn.registry.server.ui import start_ui
from dtsinn.registry.tracking.tracker import connect_existing

SUITE = """
name: tiny
description: One noise level, two protocols.
subjects: 2
slices: 1
size: 32
seed: 0
phantom: brain
noise: [mid]
combinations:
  - {tracers: [fmz, fdg], protocol: p1}
  - {tracers: [fmz, fdg], protocol: p3}
"""


FOUND = "dtsinn-fmz-fdg-p1/2"
"""The search's best trial; the champion is version 1, the linear map."""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "tiny.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def evaluated(done, suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "report"
    text = run(
        "evaluate", "--model", FOUND, "--suite", suite, "--out", out, "--quiet",
        "--workspace", done.workspace.root,
    )  # fmt: skip
    assert "Store: FMZ + FDG, p1, brain, mid noise" in text
    return out


def test_evaluation_scores_the_test_subjects_and_the_suite(evaluated: Path, done) -> None:
    record = json.loads((evaluated / "evaluation.json").read_text())
    assert record["format"] == "dtsinn-evaluation"
    assert record["format_version"] == 4
    assert len(record["cells"]) == 3
    store = open_store(done.plan.store)
    own = next(cell for cell in record["cells"] if cell["source"] == "store")
    assert own["store_digest"] == store.header.digest
    subjects = {score["subject"] for score in own["models"][0]["subjects"]}
    assert subjects == {str(samples.subject_N[0]) for samples in store.subjects("test")}
    table = (evaluated / "table.csv").read_text().splitlines()
    assert len(table) > 3
    report = (evaluated / "report.html").read_text()
    assert report.count("data:image/png;base64") >= 3
    assert not re.search(r"(src|href)=[\"']https?://", report)
    assert str(done.workspace.root) not in report + (evaluated / "evaluation.json").read_text()


def test_evaluation_is_logged_and_found_from_the_model(evaluated: Path, done) -> None:
    shown = run("models", "show", FOUND, "--json", "--workspace", done.workspace.root)
    lineage = json.loads(shown)
    assert lineage["search"]["key"] == "first"
    assert lineage["gate"]["verdict"] == "refused"
    (evaluation,) = lineage["evaluations"]
    assert "store.psnr" in evaluation["metrics"]
    files = connect_existing(done.workspace).client.list_artifacts(evaluation["id"], "evaluation")
    assert "evaluation/report.html" in {file.path for file in files}


def test_models_are_listed(done) -> None:
    text = run("models", "--workspace", done.workspace.root)
    psnr = r"\d+\.\d\d"
    gate = rf"{psnr} \[{psnr}, {psnr}\], n = 12"
    assert re.search(rf"{FOUND}\s+{gate}\s+{psnr}\s+refused\s+first\s", text)
    row = rf"dtsinn-fmz-fdg-p1/1\s+champion\s+{psnr}\s+first champion\s"
    assert re.search(row, text)
    _, model = json.loads(run("models", "--json", "--workspace", done.workspace.root))
    assert model["aliases"] == ["champion"]


def test_the_champion_that_kept_its_place_is_exported(done, tmp_path: Path) -> None:
    out, root = tmp_path / "export", done.workspace.root
    assert "dtsinn-fmz-fdg-p1/1 is in" in run(
        "export", "--no-calibration", "--out", out, "--workspace", root
    )
    assert json.loads((out / "separator.json").read_text())["model"]["kind"] == "linear"
    session = onnxruntime.InferenceSession(out / "model.onnx")
    mixture = next(open_store(done.plan.store).subjects("test")).mixture_NTYX
    tracers, _ = session.run(None, {"mixture": mixture})
    by_torch = Separator.load(out).separate(mixture)
    assert np.linalg.norm(tracers - by_torch) / np.linalg.norm(by_torch) <= 1e-5
    text = run(
        "evaluate", "--suite", "none", "--out", tmp_path / "report", "--quiet", "--workspace", root
    )
    assert "dtsinn-fmz-fdg-p1-1" in text


def test_the_export_runs_without_dtsinn(done, tmp_path: Path) -> None:
    out = tmp_path / "export"
    text = run(
        "export", FOUND, "--no-calibration", "--out", out, "--workspace", done.workspace.root
    )
    assert "ONNX Runtime against torch" in text
    assert {path.name for path in out.iterdir()} == {
        "weights.safetensors", "separator.json", "card.md", "model.onnx", "inverse.onnx",
        "floor.safetensors", "manifest.json",
    }  # fmt: skip
    mixture = next(open_store(done.plan.store).subjects("test")).mixture_NTYX
    forward = onnxruntime.InferenceSession(out / "model.onnx")
    backward = onnxruntime.InferenceSession(out / "inverse.onnx")
    tracers, scale = forward.run(None, {"mixture": mixture})
    (again,) = backward.run(None, {"tracers": tracers, "scale": scale})
    assert np.linalg.norm(again - mixture) / np.linalg.norm(mixture) <= 1e-5
    separator = Separator.load(out)
    by_torch = separator.separate(mixture)
    assert np.linalg.norm(tracers - by_torch) / np.linalg.norm(by_torch) <= 1e-5
    assert separator.round_trip_error(mixture) <= 1e-5


def test_an_exported_package_is_a_model_without_any_workspace(done, tmp_path: Path) -> None:
    out = tmp_path / "export"
    run("export", FOUND, "--no-calibration", "--out", out, "--workspace", done.workspace.root)
    text = run(
        "evaluate", "--model", out, "--suite", "none", "--data", done.plan.store, "--quiet",
        "--out", tmp_path / "report", "--workspace", tmp_path / "none",
    )  # fmt: skip
    assert "Store: FMZ + FDG" in text
    assert not (tmp_path / "none").exists()


def test_an_export_that_exists_is_not_overwritten(done, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["export", "--out", str(tmp_path), "--workspace", str(done.workspace.root)]
    )
    assert result.exit_code == 2
    assert "exists already" in result.stderr


def test_a_store_of_other_frames_is_refused(done, tmp_path: Path) -> None:
    protocol = tmp_path / "short.yaml"
    protocol.write_text(
        "{name: short, description: d, source: uncited, injections: [0, 600],"
        " frames: [[4, 300], [4, 600]]}"
    )
    store = tmp_path / "short.zarr"
    run(
        "simulate", store, "--protocol", protocol, "--subjects", 4, "--slices", 1, "--size", 16,
        "--workers", 1, "--quiet",
    )  # fmt: skip
    result = CliRunner().invoke(
        app,
        ["evaluate", "--data", str(store), "--suite", "none", "--out", str(tmp_path / "out"),
         "--quiet", "--workspace", str(done.workspace.root)],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "store has 8 frames, model 18" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_training_is_registered_resumed_and_compared(done, suite: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(done.workspace.root, tmp_path / "my workspace"))
    original = sorted(done.workspace.artifacts.rglob("*"))
    settings = ["--set", "steps=40", "--set", "validate_every=20", "--set", "model.width=8"]
    settings += ["--set", "model.blocks=1"]
    text = run("train", done.plan.store, *settings, "--name", "mine", "--workspace", root)
    assert "registered as dtsinn-fmz-fdg-p1/3" in text
    assert f"try: dtsinn evaluate --model dtsinn-fmz-fdg-p1/3 --workspace '{root}'" in text
    text = run("train", done.plan.store, "--resume", "mine", "--workspace", root)
    assert "registered as dtsinn-fmz-fdg-p1/3" in text
    text = run(
        "evaluate", "--model", "run:mine", "--model", "best", "--suite", "none", "--quiet",
        "--out", tmp_path / "pair", "--workspace", root,
    )  # fmt: skip
    assert "dtsinn-fmz-fdg-p1-3" in text
    assert "dtsinn-fmz-fdg-p1-1" in text
    record = json.loads((tmp_path / "pair" / "evaluation.json").read_text())
    assert any(
        {d["first"], d["second"]} == {"dtsinn-fmz-fdg-p1-3", "dtsinn-fmz-fdg-p1-1"}
        for d in record["cells"][0]["differences"]
    )
    assert record["cells"][0]["store_digest"] == open_store(done.plan.store).header.digest
    assert "left alone" not in run("registry", "prune", "--workspace", root)
    assert sorted(done.workspace.artifacts.rglob("*")) == original  # the copy has its own


def test_the_page_shows_the_search_with_its_pictures(done) -> None:
    page = start_ui(Workspace(done.workspace.root))
    try:
        tracker = connect_existing(done.workspace)
        run_id = tracker.run_id("first/trial-000")
        assert tracker.client.list_artifacts(run_id, "pictures")
        url = f"{page.url}/get-artifact?path=pictures/separation.png&run_uuid={run_id}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read().startswith(b"\x89PNG")
    finally:
        page.stop()
