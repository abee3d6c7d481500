"""The digest under which results are kept: of the code that runs, whatever git says of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import dtsinn
from dtsinn.core.version import source_digest


def test_the_digest_of_the_sources_is_that_of_every_file(tmp_path: Path) -> None:
    package = Path(dtsinn.__file__).parent
    copied = tmp_path / "dtsinn"
    shutil.copytree(package, copied, ignore=shutil.ignore_patterns("__pycache__"))

    def digest() -> str:
        command = [
            sys.executable,
            "-c",
            "import dtsinn.core.version as v; print(v.source_digest())",
        ]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert digest() == source_digest(), "wherever it lies, and whatever was compiled"
    changed = next((copied / "configs").rglob("*.yaml"))
    changed.write_text(changed.read_text() + "# changed\n")
    assert digest() != source_digest()
