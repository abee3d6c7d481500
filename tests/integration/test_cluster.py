"""A search on a Ray cluster that runs already, started as infra/ describes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def cluster(tmp_path: Path):
    """A head and one more node, with a token of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
    }

    def call(*command: str) -> None:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)

    call("bash", "infra/ray-head.sh", str(port))
    try:
        call("bash", "infra/ray-node.sh", f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}", environment
    finally:
        call(str(BIN / "ray"), "stop", "--force")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_search_joins_a_cluster(
    cluster, small_path: Path, small_gate: Path, tmp_path: Path
) -> None:
    address, environment = cluster
    space = tmp_path / "space.yaml"
    space.write_text(
        "{base: invertible, fixed: {steps: 20, validate_every: 20, model.width: 8},"
        " parameters: {model.blocks: {choice: [1, 2]}}}"
    )
    command = [
        str(BIN / "dtsinn"), "search", str(small_path), "--space", str(space), "--trials", "2",
        "--cluster", address, "--name", "far", "--gate", str(small_gate),
        "--workspace", str(tmp_path / "workspace"),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search far: 2 finished" in done.stdout
    assert "against dtsinn-fmz-fdg-p1/1: better" in done.stdout
