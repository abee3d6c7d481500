"""The layout that installs nothing generic: links, wheel, entry point, import weight."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"search", "registry", "configs", "cli.py"}


def test_the_package_links_to_the_top_level_names() -> None:
    for name in LINKS:
        link = ROOT / "dtsinn" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
        assert link.resolve() == ROOT / name


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_holds_only_dtsinn(wheel: list[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"dtsinn"}
    for name in (
        "dtsinn/cli.py",
        "dtsinn/py.typed",
        "dtsinn/search/run.py",
        "dtsinn/registry/promotion/promotion.py",
        "dtsinn/configs/tracers/fmz.yaml",
        "dtsinn/configs/spaces/default.yaml",
    ):
        assert name in wheel


def test_every_configuration_travels_in_the_wheel(wheel: list[str]) -> None:
    files = list((ROOT / "configs").rglob("*.yaml"))
    assert len(files) > 8
    for path in files:
        assert f"dtsinn/{path.relative_to(ROOT)}" in wheel


def test_every_template_travels_in_the_wheel(wheel: list[str]) -> None:
    rooms = [ROOT / "dtsinn" / room for room in ("plots", "search", "registry")]
    files = [path for room in rooms for path in room.resolve().rglob("*.j2")]
    assert len(files) == 4
    names = {name.rpartition("dtsinn/")[2] for name in wheel}
    for path in files:
        assert str(path.relative_to(ROOT)).removeprefix("dtsinn/") in names


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="dtsinn")
    assert command.value == "dtsinn.cli:main"


@pytest.mark.parametrize("module", ["dtsinn", "dtsinn.cli", "dtsinn.simulation.study"])
def test_light_modules_stay_light(module: str) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"ray", "mlflow", "optuna", "torch"}


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("dtsinn.training.run", set()),
        ("dtsinn.search.run", {"optuna"}),
        ("dtsinn.workflows.pipeline", {"optuna", "mlflow"}),
    ],
)
def test_what_only_some_runs_need_is_imported_where_it_is_used(module: str, own: set[str]) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"torch", "zarr"} <= loaded
    assert loaded & {"ray", "optuna", "mlflow"} <= own
    assert not loaded & {
        *("matplotlib", "sklearn", "nibabel", "nilearn", "pydicom", "h5py", "dask", "xarray"),
        *("onnx", "onnxruntime", "onnxscript", "torchmetrics", "ray.tune", "mlflow.server"),
    }
    assert "mlflow" in own or not loaded & {"scipy", "pandas"}  # MLflow's entities take them along


def test_no_machine_path_stands_in_a_tracked_file() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".json"}:
            assert str(ROOT) not in path.read_text(encoding="utf-8"), name
