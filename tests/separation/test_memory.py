"""A scan is never in memory whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from tests.separation.conftest import package_of
from tests.support.independent_scan import P1

MB = 2**20
PEAK = """
import sys
from pathlib import Path
import dtsinn
dtsinn.separate(*sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_a_large_scan_takes_less_memory_than_its_images(tmp_path: Path) -> None:
    """128 x 128 x 100 voxels in 18 frames: 118 MB a sequence, of which there are four."""
    package_of(build_network(InvertibleConfig(), len(P1)), tmp_path / "model")
    random = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in (128, 128, 100)), indexing="ij")
    head = 5e3 * ((x / 0.6) ** 2 + (y / 0.8) ** 2 + (z / 0.9) ** 2 < 1).astype(np.float32)
    images = np.stack([head + random.normal(0, 300, head.shape) for _ in P1], -1)
    image = nibabel.Nifti1Image(images.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "scan.nii.gz")
    starts = np.concatenate([[0.0], np.cumsum(P1)[:-1]]).tolist()
    said = {"FrameTimesStart": starts, "FrameDuration": P1, "Units": "Bq/mL"}
    (tmp_path / "scan.json").write_text(json.dumps(said | {"ImageDecayCorrected": False}))
    told = subprocess.run(
        [sys.executable, "-c", PEAK, "scan.nii.gz", "model", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(told.stdout) * 1024 < 450 * MB
