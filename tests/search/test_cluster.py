"""A Ray of this machine: its token, its folder, and how it is told that it does not start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray.exceptions import AuthenticationError

from dtsinn.core.causes import cure_of
from dtsinn.core.errors import InputError
from dtsinn.search.engine.cluster import (
    INSIDE_bytes,
    SOCKET_PATH_bytes,
    close_token,
    end_processes_of,
    make_token,
    short_folder,
)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token of a user is who has none yet; what is set goes with the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_token_is_made_that_only_its_user_can_read(token: Path) -> None:
    before = os.umask(0)
    try:
        make_token()
    finally:
        os.umask(before)
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert len(token.read_text()) == 64
    kept = token.read_text()
    make_token()
    assert token.read_text() == kept
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("wrong", [0o644, 0o640, 0o604])
def test_a_token_that_others_could_read_is_closed_kept_and_not_used(
    token: Path, wrong: int, caplog: pytest.LogCaptureFixture
) -> None:
    token.parent.mkdir(mode=0o755)
    token.write_text("the head's")
    token.chmod(wrong)
    make_token()
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert token.read_text() == "the head's", "a cluster may run with it"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert f"others could read Ray's token {token}: it is closed now" in caplog.text


def test_the_token_of_a_cluster_is_closed_and_kept(token: Path) -> None:
    assert not close_token()
    token.parent.mkdir(mode=0o755)
    token.write_text("the head's")
    token.chmod(0o644)
    assert close_token()
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert token.read_text() == "the head's"


def test_without_a_home_the_token_stays_in_the_process(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc")
    make_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_given_token_is_used(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    make_token()
    assert not token.parent.exists()
    elsewhere = token.parent.parent / "shared"
    elsewhere.mkdir(mode=0o755)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(elsewhere / "token"))
    make_token()
    assert (mode(elsewhere / "token"), mode(elsewhere)) == (0o600, 0o755)


def test_a_long_folder_for_temporary_files_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("slurm-job-" + "7" * 40)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = short_folder()
    assert folder != str(long)
    assert os.access(folder, os.W_OK)
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    assert short_folder() == "/tmp"


def test_the_longest_socket_fits() -> None:
    base = "/" + "x" * (SOCKET_PATH_bytes - INSIDE_bytes - 1)
    session = "session_2026-11-30_16-08-55_204843_4194304"
    assert len(f"{base}/ray-3ai_afui/r/{session}/sockets/plasma_store") <= SOCKET_PATH_bytes


@pytest.mark.parametrize("wrong", ["none/such", "x" * 60])
def test_a_folder_of_rays_own_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    (tmp_path / ("x" * 60)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / wrong))
    with pytest.raises(InputError, match=r"^RAY_TMPDIR; got .*; wanted .*; try RAY_TMPDIR=/tmp$"):
        short_folder()


def test_what_a_failed_start_left_is_ended(tmp_path: Path) -> None:
    """Also what is stopped and hears no order, and nothing else."""
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"]
    left = subprocess.Popen([*command, f"--temp-dir={tmp_path}"])
    other = subprocess.Popen([*command, "--temp-dir=another"])
    try:
        end_processes_of(tmp_path)
        assert left.wait(timeout=30) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (Exception("The current node timed out during startup."), "this machine is less busy"),
        (AuthenticationError("The token is invalid."), "RAY_AUTH_MODE=token, and the head's"),
        (RuntimeError("Version mismatch: The cluster was started with Ray 2.9"), "same dtsinn"),
        (ConnectionError("Could not find any running Ray instance."), "--cluster HOST:PORT"),
    ],
)
def test_how_ray_fails_has_a_cure(error: Exception, cure: str) -> None:
    assert cure in cure_of(error)
