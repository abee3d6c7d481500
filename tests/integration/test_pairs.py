"""A search for each of several tracer pairs: models, matrix, and how it goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.evaluation.suite import cells_of
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.registry.tracking.tracker import connect_existing
from dtsinn.registry.versions import list_models
from dtsinn.search.events.state import is_begun
from dtsinn.simulation.request import StudyRequest
from dtsinn.workflows.pairs import _suite, read_pairs

SPACE = """
base: invertible
fixed: {steps: 20, validate_every: 10, model.width: 8, model.blocks: 1}
parameters:
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""


def search(store: Path, workspace: Workspace, *options: object):
    words = ["search", store, "--quiet", "--workspace", workspace.root, *options]
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def begun(
    small_path: Path,
    small_gate: Path,
    begin_workspace: Callable[[Path], Workspace],
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("pairs")
    workspace = begin_workspace(folder / "workspace")
    (folder / "space.yaml").write_text(SPACE)
    asked = ["--pairs", "fmz+fdg,raclopride+fdg", "--name", "two", "--gate", small_gate]
    result = search(
        small_path, workspace, *asked, "--space", folder / "space.yaml", "--trials", 1
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return workspace, asked, result.stdout


@pytest.mark.slow
def test_each_pair_has_a_model(begun) -> None:
    workspace, _, _ = begun
    names = {version.name for version in list_models(connect_existing(workspace))}
    assert names == {"dtsinn-fmz-fdg-p1", "dtsinn-raclopride-fdg-p1"}


@pytest.mark.slow
def test_the_matrix_has_every_model_on_every_pair(begun) -> None:
    workspace, _, text = begun
    number = r"-?\d+\.\d\d \([+-]\d+\.\d\d\)"
    for pair in (r"FMZ \+ FDG", r"RACLOPRIDE \+ FDG"):
        assert re.search(rf"^{pair}\s+{number}\s+{number}\s*$", text, re.MULTILINE), text
    assert (workspace.evaluations / "pairs-two" / "report.html").is_file()


@pytest.mark.slow
def test_what_has_ended_is_not_searched_again(begun, small_path: Path) -> None:
    workspace, asked, text = begun
    before = list_models(connect_existing(workspace))
    again = search(small_path, workspace, *asked, "--resume")
    assert again.exit_code == 0, again.output
    matrix = text[text.index("trained on") :]
    assert matrix == again.stdout[again.stdout.index("trained on") :]
    after = list_models(connect_existing(workspace))
    assert [one.ref for one in after] == [one.ref for one in before]


@pytest.mark.parametrize("text", ["fmz", "fmz+fdg+pib", "fmz+", "fmz+fdg,fmz+fdg", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--pairs"):
        read_pairs(text)


def test_a_tracer_that_nobody_knows_is_refused_before_anything_begins(
    small_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "none")
    result = search(small_path, workspace, "--pairs", "fmz+fdg,fmz+water")
    assert result.exit_code == 2
    assert "water" in result.stderr
    assert not workspace.root.exists()


def test_names_that_are_too_long_and_what_cannot_be_resumed_are_refused_before_anything_begins(
    small_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "none")
    asked = "--pairs", "fmz+fdg,raclopride+fdg"
    long = search(small_path, workspace, *asked, "--name", "n" * 50)  # the second one's is 65
    assert long.exit_code == 2
    assert "name of the search" in long.stderr
    missing = search(small_path, workspace, *asked, "--name", "typo", "--resume")
    assert missing.exit_code == 2
    assert "no search typo-fmz-fdg to resume" in missing.stderr
    assert not workspace.root.exists()


def test_models_are_tested_on_scans_as_those_of_the_training() -> None:
    asked = StudyRequest(phantom="cylinder", dose=0.5, kinetics="other", motion=2.0)
    (cell,) = cells_of(_suite("pairs-one", asked, [asked]))
    assert cell.request is not None
    for name in ("dose", "kinetics", "input_mismatch", "motion", "phantom", "noise", "slices"):
        assert getattr(cell.request, name) == getattr(asked, name)
    assert cell.request.purpose != asked.purpose


def test_a_search_that_died_before_its_session_begins_anew(tmp_path: Path) -> None:
    assert not is_begun(tmp_path / "none")
    event_log = EventLog(tmp_path / "died" / LOG_FILE)
    event_log.append(
        {"event": "point", "time_ms": 1, "source": "base", "suggestion": {"steps": 20}}
    )
    assert not is_begun(tmp_path / "died")
