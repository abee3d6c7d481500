"""Options: what can never be meant is refused, whichever of them it is given to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.commands.options import finite, read_arguments
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.search.plan import read_seconds
from dtsinn.simulation.request import StudyRequest


def commands(part: typer.Typer) -> Iterator[Callable[..., Any]]:
    """The functions of all commands."""
    yield from (one.callback for one in part.registered_commands if one.callback)
    for group in part.registered_groups:
        if group.typer_instance:
            yield from commands(group.typer_instance)


def test_every_option_that_takes_fractions_refuses_what_is_no_number() -> None:
    found = 0
    for command in commands(app):
        for name, hint in get_type_hints(command, include_extras=True).items():
            kind, *rest = get_args(hint) or [hint]
            if kind is float or float in get_args(kind):
                found += 1
                assert rest[0].callback is finite, f"{command.__name__}: {name}"
    assert found >= 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_is_finite(value: float) -> None:
    with pytest.raises(typer.BadParameter, match="no finite number"):
        finite(value)
    assert (finite(-1.5), finite(None)) == (-1.5, None)


@pytest.mark.parametrize(
    "arguments", [["--name", ""], ["--name="], [" "], ["x", "--workspace=  "], ["--set", "\t"]]
)
def test_what_is_empty_is_refused(arguments: list[str]) -> None:
    with pytest.raises(InputError, match="is empty; wanted a value"):
        read_arguments(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "x.zarr", "--target", "nan"],
        ["search", "x.zarr", "--max-gpu-hours=inf"],
        ["search", "x.zarr", "--cpus-per-trial", "nan"],
        ["search", "x.zarr", "--cpus-per-trial", "1e300"],
        ["search", "x.zarr", "--seed", "4294967296"],
        ["search", "x.zarr", "--trials", "99999999999999999999"],
        ["train", "x.zarr", "--cpus-per-worker", "nan"],
        ["registry", "prune", "--older-than", "nan"],
        ["simulate", ""],
        ["simulate", "x.zarr", "--protocol="],
        ["simulate", "x.zarr", "--subjects", "99999999999999"],
        ["simulate", "x.zarr", "--size", "100000"],
    ],
    ids=" ".join,
)
def test_values_that_can_never_be_meant_end_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert list(tmp_path.iterdir()) == []


def test_home_is_found_where_no_shell_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    read = read_arguments(
        ["export", "--out=~/out", "~/x.zarr", "--set", "a=~", "--x=b~", "--", "~"]
    )
    assert read == [
        "export", "--out=/home/jane/out", "/home/jane/x.zarr", "--set", "a=~", "--x=b~", "--",
        "/home/jane",
    ]  # fmt: skip
    assert read_arguments(["~nobody-of-this-name/x"]) == ["~nobody-of-this-name/x"]
    assert Workspace(Path("~/w")).database == Path("/home/jane/w/mlflow.db")


@pytest.mark.parametrize(
    "text", ["0h", "0.0s", "-1h", "1", "h", "nan", "infh", "1e3s", "", "9" * 400 + "h"]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="wanted such as 90s, 30m or 2h"):
        read_seconds(text)
    assert (read_seconds("90s"), read_seconds("1.5H"), read_seconds("010m")) == (90, 5400, 600)


def test_names_are_found_in_any_letters() -> None:
    shouted = StudyRequest(
        tracers=("FMZ", "Fdg"), protocol="P1", phantom="Brain", noise="MID", noise_model="IMAGE",
        labels="Truth", scanner="GE-DLS",
    )  # fmt: skip
    assert shouted == StudyRequest(), "equal requests have equal stores"
    assert StudyRequest(noise_model="OSEM", noise="Low").noise == "low"
    with pytest.raises(InputError, match="fdg twice"):
        StudyRequest(tracers=("FDG", "fdg"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": 10**9}, "subjects; got 1000000000; wanted at most 1000000"),
        ({"slices": 10**6}, "slices; got 1000000; wanted at most 1000"),
        ({"size": 4096}, "size; got 4096; wanted at most 2048"),
        ({"seed": 2**63}, "seed; got 9223372036854775808; wanted at most"),
    ],
)
def test_no_study_is_larger_than_a_machine(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StudyRequest(**change)  # type: ignore[arg-type]
