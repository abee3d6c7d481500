"""Real processes, really stopped: a run ends with a status, and goes on when it is resumed."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.tracker import connect_existing

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_is_told_and_can_be_resumed(
    small_path: Path, tmp_path: Path, number: signal.Signals
) -> None:
    root = tmp_path / "workspace"
    train = [str(BIN / "dtsinn"), "train", str(small_path), "--workspace", str(root), "--quiet"]
    settings = ["--set", "model.width=4", "--set", "validate_every=5", "--set", "steps=100000"]
    with subprocess.Popen(
        [*train, "--name", "long", *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as job:
        deadline = time.monotonic() + 120
        while not list(root.glob("runs/long/checkpoint-*")):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between looks, not instead of them
        job.send_signal(number)
        _, err = job.communicate(timeout=60)
    assert job.returncode == 130
    (line,) = err.decode().splitlines()
    told, _, command = line.partition("; try ")
    assert told == "dtsinn: interrupted; what was trained is kept"
    assert command == shlex.join(["dtsinn", *train[1:3], "--resume", "long", *train[3:5]])
    run = connect_existing(Workspace(root)).find_run("long")
    assert run is not None
    assert run.info.status == "KILLED"
    assert len(list(root.glob("runs/long/checkpoint-*"))) == 1
