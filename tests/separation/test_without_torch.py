"""An exported package separates a scan where torch and the platform are not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("torch", "mlflow", "ray", "optuna", "dask", "xarray", "zarr", "sklearn", "nilearn")
HOOK = f"""
import sys

class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {FORBIDDEN!r}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Forbid())
from dtsinn.cli import main
main()
"""


def test_a_package_runs_without_torch_and_the_platform(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOOK, "separate", scan, "--model", model, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "verdict: inside" in done.stdout
    assert (tmp_path / "out" / "sub-07" / "pet" / "sub-07_trc-FDG_pet.nii.gz").is_file()
    assert not (tmp_path / "dtsinn-workspace").exists()
