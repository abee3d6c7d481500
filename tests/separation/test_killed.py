"""A separation that is killed leaves something hidden, which the next one removes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dtsinn

KILL = """
import os, signal, sys
import dtsinn
from dtsinn.separation import separate

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

separate.separate_slices = die
dtsinn.separate(*sys.argv[1:])
"""


def test_what_a_killed_one_left_is_removed(model: Path, scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILL, scan, model, out], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".out.*.partial")
    assert list(left.rglob(".scan.nii"))
    seen: list[set[Path]] = []

    def see(*_: object) -> None:
        seen.append(set(tmp_path.glob(".out.*.partial")))

    dtsinn.separate(scan, model, out, progress=see)
    assert all(left not in one and len(one) == 1 for one in seen if one)
    assert any(seen)
    assert not list(tmp_path.glob(".out.*"))
