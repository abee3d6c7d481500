"""A lock between processes: one holder at a time, and none that outlives its process."""

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import Timeout

from dtsinn.core.errors import InputError
from dtsinn.core.lock import hold_lock

HOLD = """
import sys
from pathlib import Path
from dtsinn.core.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_has_one_holder_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "one.lock"
    job = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with job:
        assert job.stdout is not None
        assert job.stdout.readline() == "held\n"
        with (
            pytest.raises(InputError, match="in use"),
            hold_lock(path, 0, busy=InputError("in use")),
        ):
            pass
        with pytest.raises(Timeout), hold_lock(path, 0):
            pass
        job.kill()
    with hold_lock(path, 30):
        pass


def test_an_error_in_the_body_frees_the_lock_and_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with pytest.raises(ValueError, match="body"), hold_lock(path, busy=InputError("in use")):
        raise ValueError("body")
    with hold_lock(path, 0), pytest.raises(Timeout), hold_lock(path, 0):
        pass
