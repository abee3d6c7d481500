"""What waits in the event logs of trainings and evaluations, as ``dtsinn status`` shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import RunError
from dtsinn.core.tracker import RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.eventlog.recorder import Recorder
from dtsinn.registry.tracking import tracker
from dtsinn.workflows.delivery import RunDelivery, deliver_runs


def begin_run(workspace: Workspace, name: str) -> Recorder:
    """Write the beginning of a training into its log, as a kill leaves it."""
    event_log = EventLog(workspace.runs / name / LOG_FILE)
    recorder = Recorder(Outbox(event_log, lambda: pytest.fail("nobody delivers here")))
    recorder.begin(RunStart(key=name, name=name, kind="training", experiment="e", time_ms=5))
    return recorder


def test_each_run_is_told_with_its_kind_and_state(tmp_path: Path, recording) -> None:
    at = Workspace(tmp_path)
    begin_run(at, "died")
    begin_run(at, "ended").end("ended", "finished", 7)
    assert list(deliver_runs(at, lambda: recording)) == [
        RunDelivery(name="died", kind="training", state="killed",
                    repaired=["died: its process died", "2 events delivered"]),
        RunDelivery(name="ended", kind="training", state="finished",
                    repaired=["2 events delivered"]),
    ]  # fmt: skip
    assert list(deliver_runs(at, lambda: recording)) == []


def test_a_damaged_log_of_a_run_is_named_and_hides_no_other(
    tmp_path: Path, recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Workspace(tmp_path)
    begin_run(at, "ended").end("ended", "finished", 7)
    (at.events / "0123").mkdir(parents=True)
    (at.events / "0123" / LOG_FILE).write_text("no JSON\n")
    monkeypatch.setattr(tracker, "connect", lambda workspace: recording)
    told = CliRunner().invoke(app, ["status", "--workspace", str(tmp_path)])
    assert told.exit_code == 2
    assert "training ended: 2 events delivered" in told.stdout
    assert f"0123/{LOG_FILE}, line 1, is damaged" in "".join(told.stdout.split("\n"))
    told = CliRunner().invoke(app, ["status", "--json", "--workspace", str(tmp_path)])
    (found,) = json.loads(told.stdout)
    assert (found["kind"], found["state"], told.exit_code) == ("evaluation", "damaged", 2)


def test_a_server_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(workspace: Workspace) -> None:
        asked.append(workspace)
        raise RunError("no answer")

    monkeypatch.setattr(tracker, "connect", refuse)
    at = Workspace(tmp_path)
    for name in ("a", "b"):
        begin_run(at, name)
    found = list(deliver_runs(at, tracker.connect_once(at)))
    assert [(run.repaired[-1], run.undelivered) for run in found] == [
        ("not delivered: no answer", 2)
    ] * 2
    assert asked == [at]
