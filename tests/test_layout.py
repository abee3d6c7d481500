"""The layout that installs nothing generic: links, wheel, entry point, import weight."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

import dtsinn

ROOT = Path(__file__).resolve().parents[1]
LINKS = {"search", "registry", "configs", "cli.py"}


def test_the_package_links_to_the_top_level_names() -> None:
    for name in LINKS:
        link = ROOT / "dtsinn" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..") / name
        assert link.resolve() == ROOT / name


def built(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="session")
def wheel_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel(wheel_path: Path) -> list[str]:
    with zipfile.ZipFile(wheel_path) as archive:
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


def test_the_source_distribution_builds_the_same_wheel(wheel_path: Path, tmp_path: Path) -> None:
    """Where no checkout is: what a link leads to has to travel."""
    with tarfile.open(built("sdist", ROOT, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "constraints.txt"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
    again = built("wheel", source, tmp_path / "again")
    assert again.read_bytes() == wheel_path.read_bytes()


def plain_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as text in mappings and lists; ``on`` is no truth value."""
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(content, dict)
    return content


def test_what_the_forge_reads_is_yaml() -> None:
    files = [path for ending in ("yml", "yaml") for path in (ROOT / ".github").rglob(f"*.{ending}")]
    assert len(files) >= 4
    for path in files:
        plain_yaml(path)
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = plain_yaml(path)
        assert {"name", "description", "body"} <= set(form)
        fields = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(fields) == len(set(fields)) > 1


def test_the_forge_runs_what_a_contributor_runs() -> None:
    workflow = plain_yaml(ROOT / ".github" / "workflows" / "check.yml")
    assert {"push", "pull_request"} <= set(workflow["on"])
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (python,) = (step["with"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["requires-python"] == f">={python['python-version']}"
    for script in (".ci/run", ".ci/release"):
        assert (ROOT / script).stat().st_mode & 0o111


def test_hooks_before_a_commit_are_quick_and_download_nothing() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(path)], check=True)
    (repository,) = plain_yaml(path)["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/ruff ")


def test_the_citation_is_of_this_version_and_of_the_paper_that_the_readme_names() -> None:
    citation = plain_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == dtsinn.__version__
    assert citation["license"] == "Apache-2.0"
    assert citation["authors"] == [{"name": "The dtsinn developers"}]
    (paper,) = citation["references"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["journal"] in readme
    assert f"IEEE Xplore {paper['url'].rpartition('/')[2]}" in readme


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_what_a_page_names_is_there(name: str) -> None:
    """Links, folders and files, and the targets of make."""
    page = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"\]\((?!http|#)([^)#]+)", page))
    rooms = "dtsinn|search|registry|configs|tests|docs|.ci|.github"
    named |= set(re.findall(rf"`((?:{rooms})/[\w./-]*)`", page))
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", page)) <= targets
    assert missing == []


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
        ("dtsinn.workflows.pipeline", set()),
    ],
)
def test_what_only_some_runs_need_is_imported_where_it_is_used(module: str, own: set[str]) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert loaded & {"ray", "optuna", "mlflow"} <= own
    assert not loaded & {
        *("matplotlib", "sklearn", "nibabel", "nilearn", "pydicom", "h5py", "dask", "xarray"),
        *("onnx", "onnxruntime", "onnxscript", "torchmetrics", "scipy", "pandas", "pyarrow"),
        *("sqlalchemy", "alembic", "fastapi", "zarr"),
    }


def test_no_machine_path_stands_in_a_tracked_file() -> None:
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".json"}:
            assert str(ROOT) not in path.read_text(encoding="utf-8"), name
