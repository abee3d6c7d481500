"""Which extra brings a module, as the project's own file has it."""

from __future__ import annotations

import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest

from dtsinn.core.causes import cure_of
from dtsinn.core.extras import cure_of_missing, find_extra

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def test_the_installed_extras_are_those_of_the_project_file() -> None:
    """Else the environment is older than the file: ``make env`` mends it."""
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    assert len([one for one in requires("dtsinn") or () if "extra ==" in one]) == sum(
        map(len, extras.values())
    )


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "platform"),
        ("sklearn", "platform"),
        ("ray", "platform"),
        ("pydicom", "dicom"),
        ("flask_wtf", "server"),
        ("numpy", ""),
        ("pytest", ""),
        ("never_made", ""),
    ],
)
def test_a_module_belongs_to_an_extra(module: str, extra: str) -> None:
    assert find_extra(module) == extra


def test_only_a_missing_module_has_that_cure() -> None:
    missing = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert cure_of_missing(missing) == "pip install 'dtsinn[platform]'"
    part = ModuleNotFoundError("No module named 'torch.lost'", name="torch.lost")
    assert cure_of_missing(part) == ""
    assert cure_of_missing(ImportError("DLL load failed", name="torch")) == ""


def test_an_error_that_hides_a_missing_module_has_its_cure() -> None:
    error = RuntimeError("cannot begin")
    error.__cause__ = ModuleNotFoundError("No module named 'ray'", name="ray")
    assert cure_of(error) == "pip install 'dtsinn[platform]'"
