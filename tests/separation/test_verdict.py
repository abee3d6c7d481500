"""The verdict: what the model knows is inside, and what it does not is outside, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dtsinn
from dtsinn.data.store import open_store
from dtsinn.networks.closed_form import fit_linear
from tests.separation.conftest import package_of
from tests.support.independent_scan import Head, write_scan


@pytest.fixture(scope="session")
def brain_model(small_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear map of dtsinn's own brains."""
    network = fit_linear((open_store(str(small_path)),), lambda done, of: None)
    return package_of(network, tmp_path_factory.mktemp("models") / "brains")


def failed(found: dtsinn.separation.separate.Separation) -> list[str]:  # type: ignore[name-defined]
    return [check.name for check in found.verdict.failed]


def test_what_it_was_trained_on_the_like_of_is_inside(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out")
    assert found.verdict.inside
    untold = [check.name for check in found.verdict.checks if check.outcome != "passed"]
    assert untold == ["population"]
    written = json.loads((found.folder / "verdict.json").read_text())
    assert written["verdict"] == "inside"
    assert len(written["checks"]) == len(found.verdict.checks)
    assert all(check["basis"] for check in written["checks"])


def test_another_population_is_outside(brain_model: Path, scan: Path, tmp_path: Path) -> None:
    found = dtsinn.separate(scan, brain_model, tmp_path / "out")
    assert not found.verdict.inside


def test_other_injections_are_outside_and_marked_everywhere(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out", injections=(0, 1260), accept="a test")
    assert "injection of fdg" in failed(found)
    assert "fdg injected at 1260 s, the model knows 1200 s" in found.verdict.text
    for path in (
        found.folder / "dataset_description.json",
        found.folder / "verdict.json",
        found.tracers["fmz"].with_name("sub-07_trc-FMZ_pet.json"),
        found.folder / "report.html",
    ):
        text = path.read_text()
        assert "utside: fdg injected at 1260 s" in text
        assert "a test" in text


def test_what_a_scan_does_not_say_is_not_told(
    model: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    bare = {"TracerName": None, "TracerRadionuclide": None, "InjectionStart": None}
    found = dtsinn.separate(write(fields=bare), model, tmp_path / "out")
    assert found.verdict.inside
    untold = [check.name for check in found.verdict.checks if check.outcome == "not told"]
    assert untold == ["tracers", "half-lives", "injections", "population"]


def test_swapped_halves_of_a_scan_are_outside(model: Path, head: Head, tmp_path: Path) -> None:
    """FDG first: the header is silent, and the images alone tell."""
    late = head.tracers[0][..., ::-1] + 0.3 * head.tracers[1]
    path = write_scan(tmp_path, head, images=np.ascontiguousarray(late))
    assert not dtsinn.separate(path, model, tmp_path / "out").verdict.inside
