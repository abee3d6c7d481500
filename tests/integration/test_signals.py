"""Real processes, really stopped: a run ends with a status, and goes on when it is resumed."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.tracker import connect_existing
from tests.support.forked import Forks, fresh_dtsinn

PATIENCE_s = 240
"""Longest wait for a process on a machine that does other work as well."""
pytestmark = pytest.mark.timeout(600)


START = "checkpoint-00000000"
"""Written before a run is recorded."""


def checkpoints(root: Path) -> list[str]:
    return [path.name for path in root.glob("runs/long/checkpoint-*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_is_told_and_can_be_resumed(
    small_path: Path,
    tmp_path: Path,
    begin_workspace: Callable[[Path], Workspace],
    forks: Forks,
    number: signal.Signals,
) -> None:
    root = begin_workspace(tmp_path / "workspace").root
    train = ["train", str(small_path), "--workspace", str(root), "--quiet"]
    settings = ["--set", "model.width=4", "--set", "validate_every=20", "--set", "steps=100000"]
    command = [*train, "--name", "long", *settings]
    begin = forks.dtsinn if number == signal.SIGTERM else fresh_dtsinn
    with begin(*command) as job:
        deadline = time.monotonic() + PATIENCE_s
        while len(kept := checkpoints(root)) != 1 or kept == [START]:
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between looks, not instead of them
        job.send_signal(number)
        _, err = job.communicate(timeout=PATIENCE_s)
    assert job.returncode == 130
    (line,) = err.splitlines()
    told, _, command = line.partition("; try ")
    assert told == "dtsinn: interrupted; what was trained is kept"
    assert command == shlex.join(["dtsinn", *train[:2], "--resume", "long", *train[2:4]])
    run = connect_existing(Workspace(root)).find_run("long")
    assert run is not None
    assert run.info.status == "KILLED"
    assert len(checkpoints(root)) == 1
