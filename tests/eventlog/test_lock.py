"""One driver per search, as real processes see it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.eventlog.lock import HOLDER, LOCK, driving, holder, is_driven

DRIVE = """
import sys
from pathlib import Path
from dtsinn.eventlog.lock import driving
with driving(Path(sys.argv[1])):
    print("driving", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that drives the search in ``tmp_path/s``."""
    with subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "driving\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_drives(other, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    assert is_driven(folder)
    assert f"process {other.pid} on " in holder(folder)
    with pytest.raises(InputError) as caught:
        driving(folder).__enter__()
    assert f"search s is being driven already; got by process {other.pid}" in str(caught.value)
    assert "try dtsinn stop s" in str(caught.value)
    assert is_driven(folder), "a refused one takes nothing away"


def test_the_lock_of_a_killed_process_is_free(other, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    other.send_signal(signal.SIGKILL)
    other.wait(timeout=30)
    assert (folder / HOLDER).exists(), "it could not tidy up"
    assert not is_driven(folder)
    with driving(folder):
        assert is_driven(folder)
        assert json.loads((folder / HOLDER).read_text())["pid"] != other.pid


def test_a_process_that_ends_frees_it_and_tidies_up(other, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    other.stdin.close()
    assert other.wait(timeout=30) == 0
    assert not is_driven(folder)
    assert not (folder / HOLDER).exists()


def test_an_error_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), driving(tmp_path / "s"):
        raise ValueError("mine")
    assert not is_driven(tmp_path / "s")


def test_to_ask_makes_nothing(tmp_path: Path) -> None:
    assert not is_driven(tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("told", ["", "{", "[]", '{"pid": "x", "host": 1}'])
def test_whoever_cannot_be_named_is_another_process(tmp_path: Path, told: str) -> None:
    (tmp_path / HOLDER).write_text(told)
    assert holder(tmp_path) == "another process"
    assert not (tmp_path / LOCK).exists()
