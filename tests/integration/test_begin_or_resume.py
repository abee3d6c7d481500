"""One command, given any number of times: begins, goes on, and ends well where all is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dtsinn.cli import app
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.events.state import read_state
from dtsinn.training.loop import Report
from dtsinn.workflows.pipeline import train
from dtsinn.workflows.resuming import find_concluded
from tests.integration.conftest import Done

SETTINGS = ("steps=20", "validate_every=10", "model.width=4", "model.blocks=1")


def ask(what: str, store: Path | str, workspace: Workspace, *more: str) -> Result:
    at = ["--workspace", str(workspace.root), "--quiet", "--resume-or-begin"]
    return CliRunner().invoke(app, [what, str(store), *at, *more])


def test_a_search_that_is_done_says_so_and_nothing_happens(done: Done) -> None:
    log = done.found.search.folder / LOG_FILE
    before = log.read_bytes()
    told = ask("search", done.plan.store, done.workspace, "--name", "first", "--seed", "3")
    assert told.exit_code == 0, told.stderr
    states = done.found.search.states
    assert f"search first is done: {states['finished']} finished" in told.stdout
    assert f"registered as {done.found.version.ref}" in told.stdout
    assert log.read_bytes() == before


def test_another_plan_under_the_name_of_a_search_is_refused(done: Done) -> None:
    asked = ("--name", "first", "--sampler", "random")
    told = ask("search", done.plan.store, done.workspace, *asked)
    assert told.exit_code == 2
    assert "search first cannot be resumed with another sampler" in told.stderr


def test_a_search_is_not_done_before_its_end_and_the_gate_s_verdict(done: Done) -> None:
    plan, version = done.plan, done.found.version
    assert find_concluded(plan, done.workspace)
    assert find_concluded(replace(plan, cluster="elsewhere:1"), done.workspace)
    for change in ({"trials": 6}, {"patience": 9}):
        assert find_concluded(replace(plan, **change), done.workspace) is None
    client, tag = connect(done.workspace).client, "gate.verdict"
    client.delete_model_version_tag(version.name, str(version.version), tag)
    try:
        assert find_concluded(plan, done.workspace) is None
    finally:
        verdict = "promoted" if done.found.gate.passed else "refused"
        client.set_model_version_tag(version.name, str(version.version), tag, verdict)


def test_a_search_that_nobody_began_begins(
    small_path: Path, begin_workspace: Callable[[Path], Workspace], tmp_path: Path, ray_here: None
) -> None:
    workspace = begin_workspace(tmp_path / "workspace")
    for sessions in (1, 2):  # no trial fits into the time, so there is something left to do
        told = ask("search", small_path, workspace, "--name", "new", "--time-budget", "0.0001s")
        assert "no trial gave a result" in told.stderr
        assert len(read_state(workspace.searches / "new").sessions) == sessions


@pytest.mark.parametrize("what", ["search", "train"])
def test_what_has_no_name_or_is_resumed_anyhow_is_refused(
    what: str, small_path: Path, tmp_path: Path
) -> None:
    for more in ((), ("--name", "r", "--resume") if what == "search" else ("--resume", "r")):
        told = ask(what, small_path, Workspace(tmp_path), *more)
        assert told.exit_code == 2
        assert "--resume-or-begin; wanted --name NAME" in told.stderr
    assert not list(tmp_path.iterdir())


def test_a_training_begins_goes_on_and_is_done(
    small_path: Path, begin_workspace: Callable[[Path], Workspace], tmp_path: Path
) -> None:
    workspace = begin_workspace(tmp_path / "workspace")

    def press(report: Report) -> None:
        raise KeyboardInterrupt

    def go_on(*more: str) -> Result:
        stated = [word for setting in SETTINGS for word in ("--set", setting)]
        return ask("train", small_path, workspace, "--name", "r", *stated, *more)

    with pytest.raises(KeyboardInterrupt):
        train(
            small_path,
            settings=SETTINGS,
            name="r",
            resume_or_begin=True,
            workspace=workspace,
            on_report=press,
        )
    for more, words in (
        (("--set", "optimizer.learning_rate=1"), "with another optimizer.learning_rate; got 1"),
        (("--init", "best"), "the run began without --init"),
    ):
        told = go_on(*more)
        assert (told.exit_code, words in told.stderr) == (2, True), told.stderr
    told = go_on()
    assert told.exit_code == 0, told.stderr
    log = workspace.runs / "r" / LOG_FILE
    before = log.read_bytes()
    reports = [event for event in EventLog(log, readonly=True) if event["event"] == "report"]
    assert {event["step"] for event in reports} == {10, 20}
    again = go_on()
    assert again.exit_code == 0, again.stderr
    assert log.read_bytes() == before
    assert "run r: done: " in again.stdout
    assert again.stdout.partition("done: ")[2].splitlines()[0] in told.stdout
