"""What cannot be separated is refused in one line, and nothing is written."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import dtsinn
from dtsinn.core.errors import DtsinnError
from dtsinn.data.store import open_store
from dtsinn.networks.closed_form import fit_linear
from tests.separation.conftest import package_of
from tests.support.independent_scan import P1, Head, affine, load, make_head, write_scan

Write = Callable[..., Path]


def refusal(scan: Path | str, model: Path, out: Path, **options: Any) -> str:
    """The line that is said; nothing is left."""
    before = sorted(path.name for path in out.parent.iterdir())
    with pytest.raises(DtsinnError) as caught:
        dtsinn.separate(scan, model, out, **options)
    assert sorted(path.name for path in out.parent.iterdir()) == before
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Units": "SUV"}, "SUV"),
        ({"ImageDecayCorrected": True}, "nothing says to which time the images are decay-corr"),
        ({"ImageDecayCorrected": None}, "nothing says whether the images are decay-corrected"),
        ({"Units": None}, "units are missing"),
        ({"TracerName": ["DTBZ", "FDG"]}, "another pair of tracers; got dtbz then fdg"),
        ({"TracerName": ["FDG", "FMZ"]}, "another pair of tracers; got fdg then fmz"),
        ({"TracerRadionuclide": ["O15", "F18"]}, "its nuclides are not the model's; got 123 s"),
        ({"TracerRadionuclide": "Ga68"}, "its nuclide is none of the model's"),
        ({"TracerRadionuclide": ["C11", "Y-86"]}, "got 'Y-86', whose half-life is not known"),
        ({"RadionuclideHalfLife": 4060.0}, "got 4060 s, and nuclides of 1224 s and 6588 s; wanted"),
        (
            {"RadionuclideHalfLife": [6588.0, 1224.0]},
            "contradict each other; got 6588 s and 1224 s; wanted 1224 s and 6588 s, of its nucl",
        ),
        (
            {"RadionuclideHalfLife": [1224.0, 4060.0], "TracerRadionuclide": None},
            "got 1224 s and 4",
        ),
        ({"InjectionStart": [0, 1200, 2400]}, "is of other than two tracers; got 3; wanted two"),
        ({"InjectionStart": [-30, 1170]}, "the scan: injection; got -30 s; wanted inside the scan"),
        ({"FrameDuration": P1[:-1]}, "18 starts and 17 durations"),
    ],
)
def test_a_sidecar_that_does_not_fit(
    model: Path, write: Write, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    line = refusal(write(fields=fields), model, tmp_path / "out")
    assert words in line
    assert "in the plan" not in line


def test_activity_in_the_wrong_unit(model: Path, write: Write, tmp_path: Path) -> None:
    path = write(fields={"Units": "kBq/mL"})
    assert "kBq/mL in what is hot" in refusal(path, model, tmp_path / "out")


def test_other_frames_are_listed(model: Path, tmp_path: Path) -> None:
    path = write_scan(tmp_path, make_head(seed=1, durations=P1[:-1]))
    line = refusal(path, model, tmp_path / "out")
    assert "got 17 frames (4x150, 2x300, 4x150, 4x300, 3x600 s)" in line
    assert "wanted 18 frames" in line
    assert "does not cover" in line
    assert "does not cover" in refusal(path, model, tmp_path / "out", resample=True)


def test_a_volume_without_frames(model: Path, write: Write, tmp_path: Path) -> None:
    path = write()
    image = load(path)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[..., 0], image.affine), path)
    assert "is no dynamic scan; got 40 x 48 x 5" in refusal(path, model, tmp_path / "out")


def test_two_scans(model: Path, heads_store: Path, tmp_path: Path) -> None:
    line = refusal(heads_store, model, tmp_path / "out")
    assert "the store holds 6 scans; wanted one; try --subject s0" in line


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_file(model: Path, write: Write, tmp_path: Path, kept: float) -> None:
    path = write()
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "is cut short or damaged" in refusal(path, model, tmp_path / "out")


def test_a_file_whose_checksum_is_wrong(model: Path, write: Write, tmp_path: Path) -> None:
    path = write()
    plain = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(plain)))
    packed[-8] ^= 0xFF
    path.write_bytes(bytes(packed))
    assert "is cut short or damaged" in refusal(path, model, tmp_path / "out")


@pytest.mark.parametrize(
    ("voxel", "accepted"),
    [((0, 0, 2), True), ((20, 24, 2), False), ((20, slice(24), 2, slice(6, 18)), False)],
    ids=["air", "body", "body in some frames, from air on"],
)
def test_nan_is_refused_unless_it_is_air(
    model: Path, head: Head, tmp_path: Path, voxel: tuple[Any, ...], accepted: bool
) -> None:
    images = head.mixture.copy()
    images[voxel] = np.nan
    path = write_scan(tmp_path, head, images=images)
    line = refusal(path, model, tmp_path / "out")
    assert "holds NaN; got " in line
    assert "voxels in slice 2" in line
    assert "--nan-is-air" in line
    if accepted:
        found = dtsinn.separate(path, model, tmp_path / "out", nan_is_air=True)
        assert np.isfinite(load(found.tracers["fmz"]).get_fdata()).all()
    else:
        said = refusal(path, model, tmp_path / "out", nan_is_air=True)
        assert "NaN inside the body" in said


def test_a_device_that_is_not_there(model: Path, scan: Path, tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one")
    line = refusal(scan, model, tmp_path / "out", device="cuda")
    assert "ONNX Runtime has no cuda here" in line
    assert "onnxruntime-gpu" in line


def test_regions_of_another_grid(model: Path, scan: Path, head: Head, tmp_path: Path) -> None:
    moved = affine()
    moved[0, 3] += 4
    path = tmp_path / "sub-07_dseg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(head.labels.astype(np.uint8), moved), path)
    line = refusal(scan, model, tmp_path / "out", rois=path)
    assert "the regions is not registered to the scan" in line


def test_two_affines_that_disagree_on_the_side(model: Path, scan: Path, tmp_path: Path) -> None:
    image = load(scan)
    image.set_qform(np.diag([-1.0, 1, 1, 1]) @ image.affine, code=1)
    image.set_sform(image.affine, code=2)
    image.to_filename(scan)
    line = refusal(scan, model, tmp_path / "out")
    assert "got RAS by sform and LAS by qform" in line


def test_an_output_that_exists(model: Path, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "exists already" in refusal(scan, model, tmp_path / "out")


def test_a_full_disk_gives_one_line(model: Path, scan: Path, tmp_path: Path) -> None:
    """No file may grow beyond 200 kB: the decompressed scan would."""
    out = tmp_path / "out"
    before = sorted(path.name for path in tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "dtsinn.cli", "separate", scan, "--model", model, "--out", out],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "cannot be written" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_model_that_answers_no_numbers(heads_store: Path, scan: Path, tmp_path: Path) -> None:
    """Checks of what is no number would find nothing to object to."""
    network = fit_linear((open_store(str(heads_store)),), lambda done, of: None)
    with torch.no_grad():
        for weights in network.parameters():
            weights.div_(weights.abs().max()).mul_(3e38)
    package = package_of(network, tmp_path / "overflowing")
    assert "overflowing answers NaN or infinity" in refusal(scan, package, tmp_path / "out")


def test_a_voxel_that_no_number_of_a_scan_can_be(model: Path, head: Head, tmp_path: Path) -> None:
    """Its square overflows: the noise, being no number, would be compared with nothing."""
    images = head.mixture.copy()
    images[20, 24, 2, 3] = 1e30
    path = write_scan(tmp_path, head, units="kBq/mL", images=images)
    assert "got 1e+30 kBq/mL in slice 2 from the feet" in refusal(path, model, tmp_path / "out")


def test_nothing_is_calibrated_for_a_scan_that_does_not_fit(
    model: Path, write: Write, tmp_path: Path
) -> None:
    """It takes minutes."""
    path = write(fields={"TracerName": ["DTBZ", "FDG"]})
    early = lambda: pytest.fail("calibrated")  # noqa: E731
    assert "another pair" in refusal(path, model, tmp_path / "out", calibration=early)


def test_a_plan_cannot_overrule_a_dicom_header(model: Path, tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "plan.yaml").write_text(
        "tracers: [fmz, fdg]\nsubjects:\n- id: one\n  mixture:\n"
        "    image: series\n    decay_corrected: false\n"
    )
    line = refusal(tmp_path / "plan.yaml", model, tmp_path / "out")
    assert "decay_corrected is not for DICOM, whose headers say it" in line


def test_a_bare_array_of_three_axes(model: Path, scan: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "bare.npy", np.ones((18, 48, 40)))
    (tmp_path / "bare.json").write_text(scan.with_name("sub-07_pet.json").read_text())
    line = refusal(tmp_path / "bare.npy", model, tmp_path / "out")
    assert "is no dynamic scan; got 18 x 48 x 40" in line
    assert json.loads((tmp_path / "bare.json").read_text())["Units"] == "Bq/mL"
