"""``docs/extending.md`` is run as it stands: its files are installed, its code and commands run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.forked import Forked, Forks, fork_server

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extending.md"


class Block(NamedTuple):
    """A fenced block; one whose first line is a comment with a path is that file."""

    language: str
    name: str
    text: str


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)
    named = [(language, re.match(r"# ([\w./]+\.\w+)\n", text), text) for language, text in found]
    return [Block(language, name[1] if name else "", text) for language, name, text in named]


class Project:
    """A folder with the files of the page, whose package is installed beside dtsinn."""

    def __init__(self, folder: Path) -> None:
        self.folder, site = folder, folder / "site"
        for block in blocks():
            if block.name:
                path = folder / block.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, "utf-8")
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "built"]
        subprocess.run(build, cwd=folder, check=True, capture_output=True)
        (wheel,) = (folder / "built").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        paths = [str(folder), str(site), str(ROOT)]
        self.environment = {
            "PYTHONPATH": os.pathsep.join(paths),
            "DTSINN_WORKSPACE": str(folder / "workspace"),
            "COLUMNS": "200",
        }

    def run_code(self, code: str) -> str:
        """What it prints in a Python that begins anew and takes warnings for errors."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=self.folder,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_forked(self, start: Callable[..., Forked], *arguments: str) -> str:
        """What it prints in a process that has imported dtsinn beside the package."""
        with contextlib.chdir(self.folder), start(*arguments, **self.environment) as job:
            out, err = job.communicate()
        assert job.returncode == 0, err
        return out


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("extras"))


@pytest.fixture(scope="module")
def beside(project: Project, exported: Path) -> Iterator[Forks]:
    """Starts processes that imported dtsinn where the package was installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", project.environment["PYTHONPATH"])
        with fork_server(exported) as server:
            yield server


def test_the_page_has_a_block_of_each_kind() -> None:
    names = {block.name for block in blocks()} - {""}
    package = {f"dtsinn_extras/{name}.py" for name in ("patch", "edges", "halton")}
    assert names == package | {"marker.yaml", "disk.py", "pyproject.toml"}


@pytest.mark.parametrize(
    "code", [block.text for block in blocks() if block.language == "python" and not block.name]
)
def test_its_code_runs(code: str, project: Project) -> None:
    project.run_code(code)


@pytest.fixture(scope="module")
def commands(project: Project, beside: Forks) -> list[str]:
    """What the commands of the page say, in their order."""
    lines = [
        shlex.split(line)
        for block in blocks()
        if block.language == "console"
        for line in block.text.splitlines()
    ]
    assert {line[0] for line in lines} == {"dtsinn"}
    return [project.run_forked(beside.dtsinn, *line[1:]) for line in lines]


def test_its_commands_run(commands: list[str], project: Project) -> None:
    assert "18F-marker" in commands[0]
    assert "halton" in commands[-1]
    found = (project.folder / "workspace" / "runs").glob("*/separator/separator.json")
    models = [json.loads(info.read_text())["model"] for info in found]
    assert {"kind": "patch", "width": 16} in models


def test_settings_of_another_package_are_checked_and_written_as_all_are(
    project: Project, beside: Forks
) -> None:
    code = """
from dtsinn.core.config import to_mapping
from dtsinn.core.errors import InputError
from dtsinn.training.config import load_run_config

for settings, message in (
    (["model.kind=patch", "model.widht=3"], "--set: unknown key; got model.widht; try model.width"),
    (["model.kind=patch", "model.depth=3"], "--set: model.depth is no setting of kind patch"),
    (["model.kind=patch", "model.width=0"], "--set: model.width; got 0; wanted at least 1"),
    (["model.kind=pach"], "--set: model.kind; got 'pach'"),
    (["loss.edges=-1"], "--set: loss.edges; got -1.0; wanted 0 to 1e6"),
    (["loss.edgse=1"], "--set: unknown key; got loss.edgse; try loss.edges"),
):
    try:
        load_run_config("invertible", settings)
    except InputError as error:
        assert str(error).startswith(message), error
    else:
        raise AssertionError(settings)

# A run without the term is read without the package that has it.
assert "edges" not in to_mapping(load_run_config("invertible"))["loss"]
assert to_mapping(load_run_config("invertible", ["loss.edges=0.5"]))["loss"]["edges"] == 0.5
"""
    project.run_forked(beside.python, code)


def test_a_package_that_cannot_be_imported_is_told_of_where_it_is_named(
    project: Project, beside: Forks
) -> None:
    (project.folder / "site" / "broken-1.dist-info").mkdir()
    place = project.folder / "site" / "broken-1.dist-info"
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (place / "entry_points.txt").write_text(
        "[dtsinn.networks]\nlost = broken:Lost\nodd = json:dumps\n[dtsinn.samplers]\ntpe = x:Y\n"
    )
    code = """
from dtsinn.core.errors import InputError
from dtsinn.search.sampling.samplers import SAMPLERS, TPE
from dtsinn.training.config import load_run_config

assert load_run_config("invertible").model.kind == "invertible"
assert SAMPLERS["tpe"] is TPE
for kind in ("lost", "odd"):
    try:
        load_run_config("invertible", [f"model.kind={kind}"])
    except InputError as error:
        print(error)
"""
    lost, odd = project.run_forked(beside.python, code).splitlines()
    assert lost == (
        "--set: model.kind lost of the package broken cannot be loaded; "
        "got ModuleNotFoundError: No module named 'broken'"
    )
    assert odd.startswith("--set: model.kind odd of the package broken; got <function dumps")
    assert odd.endswith("wanted a class that inherits dtsinn.networks.method.Method")
