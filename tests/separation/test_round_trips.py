"""What comes out goes in again: DICOM, stores, and imports of the separated scans."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

import dtsinn
from dtsinn.data.store import open_store
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import NiftiImporter
from tests.importers.dicom_series import SeriesRecipe, write_series
from tests.separation.conftest import turned
from tests.support.independent_scan import (
    HALF_LIFE_S,
    INJECTED_S,
    ORIGIN_MM,
    P1,
    VOXEL_MM,
    Head,
    decay_factors,
    load,
    write_scan,
)


def test_a_dicom_series_keeps_left_and_right_and_names_nobody(
    model: Path, head: Head, tmp_path: Path
) -> None:
    """Columns run to the patient's left in DICOM, and the first is 79 mm to the right."""
    stored_ZTYX = turned(head.mixture)[..., ::-1]
    right_mm = -ORIGIN_MM[0] - 39 * VOXEL_MM[0]
    recipe = SeriesRecipe(
        durations=tuple(P1), half_life=1224.0, injected=0.0, spacing=(5.0, 4.0, 4.0),
        position=(right_mm, -ORIGIN_MM[1] - 47 * VOXEL_MM[1], ORIGIN_MM[2]),
    )  # fmt: skip
    identity = write_series(tmp_path / "series", stored_ZTYX, recipe)
    found = dtsinn.separate(tmp_path / "series", model, tmp_path / "out")
    image = load(found.tracers["fmz"])
    np.testing.assert_allclose(image.affine[:3, 3], ORIGIN_MM, atol=1e-4)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.get_data_dtype() == np.int16
    truth, answer = head.tracers[0], image.get_fdata() / 1000
    lesion = head.labels == 4
    np.testing.assert_allclose(
        answer[lesion].mean(axis=0)[2:], truth[lesion].mean(axis=0)[2:], rtol=0.2
    )
    text = "".join(
        path.read_text() for path in found.folder.rglob("*") if path.suffix in (".json", ".tsv")
    )
    assert not [piece for piece in identity.pieces() if piece in text]


def test_a_store_knows_where_its_scans_lie(model: Path, head: Head, tmp_path: Path) -> None:
    scan = write_scan(tmp_path, head, axes="LPS")
    one = dtsinn.separate(scan, model, tmp_path / "one")
    plan = tmp_path / "plan.yaml"
    mixture = {"image": scan.name, "injection_time": [0, 1200]}
    subject = {"id": "Joanna-Doe", "mixture": mixture}
    plan.write_text(yaml.safe_dump({"tracers": ["fmz", "fdg"], "subjects": [subject]}))
    path = tmp_path / "measured.zarr"
    import_study(NiftiImporter.open(plan), str(path), tmp_path / "map.json")
    two = dtsinn.separate(path, model, tmp_path / "two")
    assert "Joanna" not in two.tracers["fmz"].name
    for name in ("fmz", "fdg"):
        first, second = load(one.tracers[name]), load(two.tracers[name])
        np.testing.assert_array_equal(second.affine, first.affine)
        apart = np.abs(second.get_fdata() * 1000 - first.get_fdata()).max()
        assert apart < 1e-6 * np.abs(first.get_fdata()).max()


@pytest.mark.parametrize("corrected", [False, True])
def test_separated_scans_are_imported_as_they_are(
    model: Path, scan: Path, head: Head, tmp_path: Path, corrected: bool
) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out", decay_correct=corrected)
    subject = {"id": "one"} | {
        place: {"image": str(found.tracers[name])}
        for place, name in (("first", "fmz"), ("second", "fdg"))
    }
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        yaml.safe_dump({"tracers": ["fmz", "fdg"], "protocol": "p1", "subjects": [subject]})
    )
    path = tmp_path / "pairs.zarr"
    import_study(NiftiImporter.open(plan), str(path), tmp_path / "map.json")
    samples = open_store(str(path)).read([0, 1, 2, 3, 4])
    assert samples.tracers_NKTYX is not None
    for k, name in enumerate(("fmz", "fdg")):
        stored = turned(load(found.tracers[name]).get_fdata()) / 1000
        if corrected:
            stored /= decay_factors(head, HALF_LIFE_S[k], INJECTED_S[k])[:, None, None]
        apart = np.abs(samples.tracers_NKTYX[:, k] - stored).max() / np.abs(stored).max()
        assert apart < 1e-6
