"""What ``pip install dtsinn`` alone can do: nothing that only an extra brings may be imported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
FORBID = """
import json
import sys

forbidden = frozenset(json.loads(sys.argv[1]))

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name in forbidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Forbid())
"""
"""Behaves as if some modules were not installed."""
SCRIPT = """
from typer.testing import CliRunner

from dtsinn.cli import app

def run(words):
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.stdout, done.stderr

print(json.dumps([run(words) for words in json.loads(sys.argv[2])]))
"""
"""Runs commands."""
USE_NAMES = """
import dtsinn

said = {}
for name in dtsinn.__all__:
    try:
        getattr(dtsinn, name)
    except ImportError as error:
        said[name] = str(error)
print(json.dumps(said))
"""
"""Says why public names cannot be used."""
Outcome = tuple[int, str, str]
"""Exit code, output and errors."""


def base_packages() -> set[str]:
    """What the base dependencies of the project's file bring, one through the other."""
    text = PROJECT.read_text(encoding="utf-8")
    left = [Requirement(one) for one in tomllib.loads(text)["project"]["dependencies"]]
    found: set[str] = set()
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        if name in found:
            continue
        found.add(name)
        try:
            more = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # of another system
            continue
        for extra in ("", *one.extras):
            left += [new for new in more if not new.marker or new.marker.evaluate({"extra": extra})]
    return found


def modules_of_extras() -> list[str]:
    """All installed modules but the base's."""
    base = base_packages() | {"dtsinn"}
    return sorted(
        module
        for module, packages in packages_distributions().items()
        if base.isdisjoint(map(canonicalize_name, packages))
    )


def run_base(folder: Path, *commands: list[str | Path]) -> list[Outcome]:
    """Run commands, one after the other, where only the base is installed."""
    words = json.dumps([list(map(str, command)) for command in commands])
    return [tuple(one) for one in run_script(folder, SCRIPT, words)]


def run_script(folder: Path, script: str, *words: str) -> Any:
    """What a script prints as JSON where only the base is installed."""
    done = subprocess.run(
        [sys.executable, "-c", FORBID + script, json.dumps(modules_of_extras()), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_base_is_without_what_searches_and_trains() -> None:
    heavy = {"torch", "ray", "mlflow", "optuna", "dask", "xarray", "sklearn", "nilearn", "pandas"}
    assert heavy <= set(modules_of_extras())


def test_a_package_and_a_store_are_described_and_a_scan_is_separated(
    model: Path, heads_store: Path, scan: Path, tmp_path: Path
) -> None:
    of_package, of_store, separated = run_base(
        tmp_path,
        ["info", model],
        ["info", heads_store],
        ["separate", scan, "--model", model, "--out", "out"],
    )
    assert of_package[0] == 0, of_package[2]
    assert re.search(r"^network +linear +$", of_package[1], re.MULTILINE)
    assert of_store[0] == 0, of_store[2]
    assert separated[0] == 0, separated[2]
    assert "verdict: inside" in separated[1]
    assert (tmp_path / "out" / "sub-07" / "pet" / "sub-07_trc-FDG_pet.nii.gz").is_file()
    assert not (tmp_path / "dtsinn-workspace").exists()


def test_a_store_is_separated(model: Path, heads_store: Path, tmp_path: Path) -> None:
    command = ["separate", heads_store, "--subject", "s0", "--model", model, "--out", "out"]
    ((code, out, err),) = run_base(tmp_path, command)
    assert code == 0, err
    assert "verdict: inside" in out


def test_a_public_name_that_needs_more_says_how_to_get_it(tmp_path: Path) -> None:
    said = run_script(tmp_path, USE_NAMES)
    assert set(said) == {"Separator", "evaluate", "run_search", "simulate", "train"}
    for name, words in said.items():
        cure = rf"dtsinn\.{name} needs \w+; try pip install 'dtsinn\[platform\]'"
        assert re.fullmatch(cure, words), words


def test_help_is_there(tmp_path: Path) -> None:
    for code, out, err in run_base(
        tmp_path, ["--help"], ["search", "--help"], ["train", "--help"], ["separate", "--help"]
    ):
        assert (code, err) == (0, "")
        assert "Usage: " in out


def test_a_command_that_needs_more_says_in_one_line_how_to_get_it(
    heads_store: Path, tmp_path: Path
) -> None:
    commands: list[list[str | Path]] = [
        ["search", heads_store],
        ["train", heads_store],
        ["simulate", "new.zarr"],
        ["evaluate"],
        ["export", "--out", "mine"],
        ["models"],
        ["promote", "best"],
        ["ui"],
        ["server"],
        ["demo"],
        ["status"],
        ["registry", "prune"],
    ]
    for command, (code, out, err) in zip(commands, run_base(tmp_path, *commands), strict=True):
        assert (code, out) == (2, ""), command
        words = rf"dtsinn: {command[0]} needs \w+; try pip install 'dtsinn\[platform\]'\n"
        assert re.fullmatch(words, err), err
    assert {path.name for path in tmp_path.iterdir()} <= {"dtsinn-workspace"}
    assert [path.name for path in tmp_path.glob("dtsinn-workspace/*")] in ([], ["logs"])
