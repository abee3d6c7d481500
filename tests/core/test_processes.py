"""Worker processes that know nothing of the script that starts them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from operator import add
from dtsinn.core.processes import SPAWN
print("begun")
before = dict(vars(sys.modules["__main__"]))
with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
    print(sum(pool.map(partial(add, 1), range(4))))
after = vars(sys.modules["__main__"])
assert all(after.get(name) == before.get(name) for name in ("__file__", "__spec__", "__name__"))
"""


@pytest.mark.parametrize("how", ["file", "stdin"])
def test_a_script_without_a_guard_is_run_once(tmp_path: Path, how: str) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    words, typed = ([str(script)], None) if how == "file" else (["-"], SCRIPT)
    done = subprocess.run(
        [sys.executable, *words], input=typed, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begun", "10"]


READING = """
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import open_store
print("begun")
found = batches(open_store(STORE), Reading(), 2, workers=2)
print([next(found)["mixture"].shape[0] for _ in range(3)])
"""


def test_a_loader_of_several_processes_needs_no_guard(small_path: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(READING.replace("STORE", repr(str(small_path))))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\n[2, 2, 2]\n"
