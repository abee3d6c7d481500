"""Trainings and evaluations through an outage of a real tracking server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.bounds import read_json
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import MEMORY
from dtsinn.registry.lineage import show_model
from dtsinn.registry.tracking.tracker import connect
from dtsinn.workflows.delivery import deliver_runs
from dtsinn.workflows.pipeline import evaluate
from tests.support.tracking import TrackingServer

PATIENCE_s = 500
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """A real MLflow server that commands record in."""
    started = TrackingServer(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started.wait()
    yield started
    started.kill()


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


def is_delivered(memory: Path) -> bool:
    return memory.exists() and read_json(memory)["offset"] > 0


def test_a_training_survives_the_tracking_server_and_is_delivered_later(
    small_path: Path, tmp_path: Path, server: TrackingServer
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    folder = workspace.runs / "r"
    settings = ["steps=120", "validate_every=10", "model.width=4"]
    words = ["train", str(small_path), "--name", "r", "--quiet"]
    words += [word for setting in settings for word in ("--set", setting)]
    job = subprocess.Popen(
        [str(Path(sys.executable).parent / "dtsinn"), *words],
        env=os.environ | {"DTSINN_WORKSPACE": str(workspace.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_s
    while not is_delivered(folder / MEMORY):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between looks
    server.kill()
    assert not any(e["event"] == "end" for e in EventLog(folder / LOG_FILE, readonly=True))
    out, err = job.communicate(timeout=PATIENCE_s)
    assert job.returncode == 0, err
    assert "run r: " in out
    assert "registered" not in out
    assert "events are not delivered to MLflow yet; they are kept" in err
    events = list(EventLog(folder / LOG_FILE, readonly=True))
    assert events[-1]["status"] == "finished"
    steps = [event["step"] for event in events if event["event"] == "report"]
    assert steps == list(range(10, 121, 10))

    server.restart()
    server.wait()
    status = ("status", "--json", "--workspace", workspace.root)
    (found,) = json.loads(run(*status))
    assert (found["name"], found["kind"], found["undelivered"]) == ("r", "training", 0)
    (repaired,) = found["repaired"]
    assert repaired.endswith(" events delivered")
    assert json.loads(run(*status)) == []

    def recorded_steps() -> list[int]:
        tracker = connect(workspace)
        kept = tracker.find_run("r")
        assert kept is not None
        assert kept.info.status == "FINISHED"
        files = {file.path for file in tracker.client.list_artifacts(kept.info.run_id)}
        assert {"pictures", "separator"} <= files
        points = tracker.client.get_metric_history(kept.info.run_id, "val_psnr")
        return sorted(point.step for point in points)

    assert recorded_steps() == steps
    again = ["train", small_path, "--resume", "r", "--quiet", "--workspace", workspace.root]
    assert "registered as dtsinn-fmz-fdg-p1/2" in run(*again)
    assert recorded_steps() == steps


def test_an_evaluation_survives_an_outage_and_is_delivered_later(
    done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "alone.yaml"
    path.write_text(
        "name: alone\ndescription: One cell.\nsubjects: 2\nslices: 1\nsize: 32\nseed: 4\n"
        "phantom: brain\nnoise: [mid]\ncombinations: [{tracers: [fmz, fdg], protocol: p1}]\n"
    )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    version = done.found.version
    before = show_model(version.ref, connect(done.workspace))["evaluations"]
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"

        def goes_down(what: str, step: int, steps: int) -> None:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", nowhere)

        evaluate(
            version.ref,
            suite=str(path),
            out=tmp_path / "out",
            workspace=done.workspace,
            progress=goes_down,
        )
        assert "4 events are not delivered to MLflow yet" in caplog.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (delivery,) = deliver_runs(done.workspace, lambda: connect(done.workspace))
    assert (delivery.kind, delivery.repaired) == ("evaluation", ["4 events delivered"])
    tracker = connect(done.workspace)
    now = show_model(version.ref, tracker)["evaluations"]
    (found,) = [one for one in now if one not in before]
    assert found["key"] == f"evaluation/{delivery.name}"
    kept = tracker.client.get_run(found["id"])
    assert kept.info.status == "FINISHED"
    assert [model.model_id for model in kept.inputs.model_inputs]
    assert tracker.client.list_artifacts(found["id"], "evaluation")
    assert not list(deliver_runs(done.workspace, lambda: connect(done.workspace)))
