"""The one command of all benchmarks: what it knows, and what it gives a benchmark."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import ablation
from benchmarks.__main__ import BENCHMARKS, RESULTS, main, make_command
from benchmarks.report import Result, Say, facts_table

DOCUMENT = RESULTS.parents[1] / "docs" / "benchmarks.md"


def test_every_kept_result_has_a_command_and_a_chapter() -> None:
    known = set(BENCHMARKS) - {"efficiency-tables"}
    assert {path.stem for path in RESULTS.glob("*.md")} == known
    chapters = [
        line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if "## `" in line
    ]
    assert {line.split("`")[1] for line in chapters} == known


def test_options_are_what_a_benchmark_declares() -> None:
    options = inspect.signature(make_command(ablation.run)).parameters
    assert {name: one.default for name, one in options.items()} == {
        "steps": 600,
        "seeds": 3,
        "out": RESULTS,
        "store": "",
    }


def test_a_command_gives_what_is_asked_for_and_writes_the_result(tmp_path: Path) -> None:
    def run(
        folder: Path, *, number: Annotated[int, typer.Option(help="Any.")] = 1, say: Say
    ) -> Result:
        assert folder.is_dir()
        say("measuring")
        facts = {"number": number}
        return Result(name="some", title="Some", notes=[], tables=[facts_table(facts)], data=facts)

    app = typer.Typer()
    app.command()(make_command(run))
    found = CliRunner().invoke(app, ["--number", "7", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    assert json.loads((tmp_path / "some.json").read_text(encoding="utf-8"))["data"] == {"number": 7}
    assert "| number | 7 |" in (tmp_path / "some.md").read_text(encoding="utf-8")


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nothing"])
    assert ended.value.code == 2
    assert "nothing" in capsys.readouterr().err
