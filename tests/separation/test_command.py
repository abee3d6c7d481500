"""``dtsinn separate`` as it is typed: what it says, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.tracker import RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["separate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)


def test_a_scan_inside_exits_0_and_says_where_things_are(model: Path, scan: Path) -> None:
    code, out, err = run(scan, "--model", model, "--out", "out")
    assert code == 0, err
    assert out.splitlines() == [
        "not told: not compared with the training population: no calibration subjects, the "
        "package has none",
        "verdict: inside",
        "fmz: out/sub-07/pet/sub-07_trc-FMZ_pet.nii.gz",
        "fdg: out/sub-07/pet/sub-07_trc-FDG_pet.nii.gz",
        "report: out/report.html",
    ]
    assert "separating slices" in err


@pytest.mark.parametrize(("accept", "code"), [([], 3), (["--accept", "phantom of a course"], 0)])
def test_a_scan_outside_exits_3_unless_it_is_accepted(
    model: Path, scan: Path, accept: list[str], code: int
) -> None:
    at = ["--injections", "0,1300", "--json", "--out", "out"]
    found, out, _ = run(scan, "--model", model, *at, *accept)
    assert found == code
    said = json.loads(out)
    assert said["verdict"] == "outside"
    assert said["text"].startswith("outside: fdg injected at 1300 s")
    assert said["accepted"] == "".join(accept[1:])
    assert Path(said["tracers"]["fmz"]).is_file()


def test_quiet_is_quiet(model: Path, scan: Path) -> None:
    assert run(scan, "--model", model, "--out", "out", "--quiet")[2] == ""


@pytest.mark.parametrize("times", ["1200", "0,x", "1200,0", "0,1,2", "nan,0"])
def test_injections_are_two_times(model: Path, scan: Path, times: str) -> None:
    code, _, err = run(scan, "--model", model, "--out", "out", "--injections", times)
    assert code == 2
    assert "--injections; got" in err
    assert not Path("out").exists()


def test_a_model_that_is_not_there_makes_no_workspace(scan: Path) -> None:
    code, _, err = run(scan, "--out", "out")
    assert code == 2
    assert "no workspace at dtsinn-workspace" in err
    assert list(Path().iterdir()) == []


def test_a_registered_model_is_found_by_its_name(
    model: Path, scan: Path, begin_workspace: Callable[[Path], Workspace], tmp_path: Path
) -> None:
    workspace = begin_workspace(tmp_path / "workspace")
    tracker = connect(workspace)
    tracker.begin(RunStart(key="heads", name="heads", kind="run", experiment="heads", time_ms=1))
    version = register(tracker, model, run_key="heads")
    at = ["--out", "out", "--workspace", workspace.root, "--json"]
    code, out, err = run(scan, "--model", version.ref, *at)
    assert code == 0, err
    assert json.loads(out)["verdict"] == "inside"
    assert version.ref in Path("out/dataset_description.json").read_text()
