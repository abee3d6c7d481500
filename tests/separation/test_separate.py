"""Separating a scan: in its own space, whatever its orientation, unit and decay correction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import dtsinn
from dtsinn.core.errors import InputError
from dtsinn.deploy.separator import Separator
from tests.separation.conftest import turned
from tests.support.independent_scan import (
    FINE,
    HALF_LIFE_S,
    INJECTED_S,
    Head,
    decay_factors,
    load,
    make_head,
    write_labels,
    write_scan,
)

PAIR = ("fmz", "fdg")


def kbq(path: Path) -> np.ndarray:
    """[X, Y, Z, T] along RAS, kBq/mL."""
    image = nibabel.as_closest_canonical(load(path))
    return image.get_fdata() * {"Bq/mL": 1e-3, "kBq/mL": 1.0}[sidecar_of(path)["Units"]]


def sidecar_of(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


@pytest.fixture(scope="session")
def answer(model: Path, head: Head) -> np.ndarray:
    """What the model itself says in Python, along RAS."""
    mixture = np.ascontiguousarray(turned(head.mixture)).astype(np.float32)
    return Separator.load(model).separate(mixture).transpose(1, 4, 3, 0, 2)[:, :, ::-1]


@pytest.mark.parametrize(
    "how",
    [
        {"axes": "RAS", "units": "Bq/mL"},
        {"axes": "LPS", "units": "kBq/mL"},
        {"axes": "LAS", "units": "Bq/mL", "corrected": True},
        {"axes": "SRP", "units": "kBq/mL", "corrected": True, "suffix": ".nii"},
    ],
    ids=lambda how: how["axes"],
)
def test_a_scan_is_separated_in_its_own_space(
    model: Path,
    answer: np.ndarray,
    write: Callable[..., Path],
    tmp_path: Path,
    how: dict[str, Any],
) -> None:
    path = write(**how)
    found = dtsinn.separate(path, model, tmp_path / "out")
    scan = load(path)
    for k, name in enumerate(PAIR):
        image = load(found.tracers[name])
        assert apart(kbq(found.tracers[name]), answer[k]) < 1e-5
        np.testing.assert_array_equal(image.affine, scan.affine)
        assert image.shape == scan.shape
        assert nibabel.aff2axcodes(image.affine) == tuple(how["axes"])
        sidecar = sidecar_of(found.tracers[name])
        assert sidecar["Units"] == how["units"]
        assert sidecar["ImageDecayCorrected"] is False
        assert sidecar["InjectionStart"] == INJECTED_S[k]
    left_out = kbq(found.residual) + kbq(found.tracers["fmz"]) + kbq(found.tracers["fdg"])
    mixture = kbq_of_scan(path, how)
    assert apart(left_out, mixture) < 1e-5
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def kbq_of_scan(path: Path, how: dict[str, Any]) -> np.ndarray:
    image = nibabel.as_closest_canonical(load(path)).get_fdata()
    image = image / (1000 if how["units"] == "Bq/mL" else 1)
    if "corrected" in how:
        image = image / decay_factors(make_head(seed=1), HALF_LIFE_S[0], 0)
    return image


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_a_scan_of_the_other_byte_order(
    model: Path, answer: np.ndarray, write: Callable[..., Path], tmp_path: Path, dtype: str
) -> None:
    path = write(dtype=dtype)
    image = load(path)
    turned_over = nibabel.Nifti1Image(
        image.get_fdata(), image.affine, header=image.header.as_byteswapped(">")
    )
    turned_over.to_filename(path)
    assert load(path).header.endianness == ">"
    found = dtsinn.separate(path, model, tmp_path / "out")
    assert load(found.tracers["fmz"]).get_data_dtype() == np.dtype(dtype)
    assert apart(kbq(found.tracers["fmz"]), answer[0]) < 1e-3


@pytest.mark.parametrize(
    ("fields", "mark"),
    [({"Units": "Bq / mL"}, b""), ({}, b"\xef\xbb\xbf")],
    ids=["spaces in the unit", "a mark of byte order"],
)
def test_a_sidecar_that_people_wrote_by_hand(
    model: Path, write: Callable[..., Path], tmp_path: Path, fields: dict[str, Any], mark: bytes
) -> None:
    path = write(fields=fields)
    sidecar = path.with_name("sub-07_pet.json")
    sidecar.write_bytes(mark + sidecar.read_bytes())
    found = dtsinn.separate(path, model, tmp_path / "out")
    assert sidecar_of(found.tracers["fmz"])["Units"] == "Bq/mL"
    assert found.verdict.inside


@pytest.mark.parametrize("corrected", [False, True])
def test_tracers_that_are_listed_in_the_other_order(
    model: Path, answer: np.ndarray, write: Callable[..., Path], tmp_path: Path, corrected: bool
) -> None:
    turned_over = {
        "TracerName": ["FDG", "FMZ"],
        "TracerRadionuclide": ["F18", "C11"],
        "InjectionStart": [1200, 0],
        "InjectedRadioactivity": [200, 500],
    }
    found = dtsinn.separate(write(fields=turned_over, corrected=corrected), model, tmp_path / "out")
    assert found.verdict.inside, found.verdict.text
    assert apart(kbq(found.tracers["fmz"]), answer[0]) < 1e-5
    said = [sidecar_of(found.tracers[name]) for name in PAIR]
    assert [one["InjectedRadioactivity"] for one in said] == [500, 200]
    assert [one["InjectionStart"] for one in said] == [0, 1200]


def test_the_lesion_stays_at_the_patients_left(
    model: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    found = dtsinn.separate(write(axes="LPS"), model, tmp_path / "out")
    image = load(found.tracers["fdg"])
    hottest = np.unravel_index(image.get_fdata()[..., -1].argmax(), image.shape[:3])
    x, y, _ = nibabel.affines.apply_affine(image.affine, hottest)
    assert -45 < x < -15
    assert 15 < y < 55


def test_whole_numbers_stay_whole_numbers_with_a_scale(
    model: Path, answer: np.ndarray, write: Callable[..., Path], tmp_path: Path
) -> None:
    found = dtsinn.separate(write(dtype="int16"), model, tmp_path / "out")
    image = load(found.tracers["fmz"])
    assert image.get_data_dtype() == np.int16
    assert apart(kbq(found.tracers["fmz"]), answer[0]) < 1e-3


def test_the_decay_is_corrected_for_each_tracer_from_its_own_injection(
    model: Path, answer: np.ndarray, scan: Path, head: Head, tmp_path: Path
) -> None:
    found = dtsinn.separate(scan, model, tmp_path / "out", decay_correct=True)
    for k, name in enumerate(PAIR):
        wanted = answer[k] * decay_factors(head, HALF_LIFE_S[k], INJECTED_S[k])
        assert apart(kbq(found.tracers[name]), wanted) < 1e-4  # the half-lives of the tables
        assert sidecar_of(found.tracers[name])["ImageDecayCorrected"] is True


def test_a_store_is_separated_as_the_scan_that_it_came_from(
    model: Path, heads_store: Path, tmp_path: Path
) -> None:
    head = make_head(seed=102)
    one = dtsinn.separate(write_scan(tmp_path, head), model, tmp_path / "scan")
    two = dtsinn.separate(heads_store, model, tmp_path / "store", subject="s2")
    assert two.tracers["fmz"].name == "sub-s2_trc-FMZ_pet.nii.gz"
    for name in PAIR:
        assert apart(kbq(two.tracers[name]), kbq(one.tracers[name])) < 1e-6
    assert {region for own in two.curves for region in own.regions} >= {"grey", "lesion"}


def test_an_array_with_a_sidecar_is_a_scan(
    model: Path, answer: np.ndarray, scan: Path, head: Head, tmp_path: Path
) -> None:
    np.save(tmp_path / "bare.npy", turned(head.mixture) * 1000)
    (tmp_path / "bare.json").write_text(scan.with_name("sub-07_pet.json").read_text())
    found = dtsinn.separate(tmp_path / "bare.npy", model, tmp_path / "out")
    assert found.tracers["fmz"].name == "sub-01_trc-FMZ_pet.nii.gz"  # no name of a file gets out
    assert apart(kbq(found.tracers["fmz"]), answer[0]) < 1e-5


def test_an_import_plan_is_a_scan(model: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    write(fields={"Units": None, "TracerName": None, "InjectionStart": None})
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "tracers: [fmz, fdg]\nsubjects:\n- id: Joanna-Doe\n  mixture:\n"
        "    image: sub-07_pet.nii.gz\n    units: Bq/mL\n    injection_time: [0, 1200]\n"
    )
    found = dtsinn.separate(plan, model, tmp_path / "out")
    assert found.verdict.inside
    text = "".join(path.read_text() for path in found.folder.rglob("*.json"))
    assert "Joanna" not in text + (found.folder / "report.html").read_text()


def test_other_frames_are_resampled_where_they_are_covered(
    model: Path, answer: np.ndarray, tmp_path: Path
) -> None:
    """Frames of 150 s that are read as two of 75 s are joined without error."""
    head = make_head(seed=1)
    halves = [half for seconds in head.durations for half in [seconds / 2] * 2]
    split = Head(
        mixture=np.repeat(head.mixture, 2, axis=3), tracers=head.tracers, labels=head.labels,
        durations=tuple(halves), plasma=head.plasma,
    )  # fmt: skip
    path = write_scan(tmp_path, split)
    with pytest.raises(InputError) as caught:
        dtsinn.separate(path, model, tmp_path / "out")
    assert "36 frames" in str(caught.value)
    assert "18 frames (4x150, 2x300, 4x150, 4x300, 4x600 s)" in str(caught.value)
    assert "--resample (frames are joined, without error)" in str(caught.value)
    found = dtsinn.separate(path, model, tmp_path / "out", resample=True)
    assert apart(kbq(found.tracers["fmz"]), answer[0]) < 1e-5


def test_split_frames_say_how_wrong_they_may_be(model: Path, tmp_path: Path) -> None:
    head = make_head(seed=1, durations=[*FINE[:-1], 600.0])
    path = write_scan(tmp_path, head)
    found = dtsinn.separate(path, model, tmp_path / "out", resample=True)
    (check,) = (check for check in found.verdict.checks if check.name == "frames")
    assert "are split, which may be wrong by" in check.words
    assert check.value is not None
    assert 0 < check.value < 5
    direct = make_head(seed=1)
    truth = direct.tracers[0][direct.labels == 1].mean(axis=0)
    answer = kbq(found.tracers["fmz"])[direct.labels == 1].mean(axis=0)
    assert np.abs(answer / truth - 1)[2:].max() < 0.1


def test_regions_on_any_grid_of_the_scan(model: Path, head: Head, tmp_path: Path) -> None:
    scan = write_scan(tmp_path, head, axes="LPS")
    labels = write_labels(tmp_path, head, axes="RAS")
    found = dtsinn.separate(scan, model, tmp_path / "out", rois=labels)
    for k, own in enumerate(found.curves):
        assert own.regions == ("grey", "white", "ventricle", "lesion")
        assert own.frames is not None
        truth = own.frames.correct(head.tracers[k][head.labels == 1].mean(axis=0))
        assert np.abs(own.curve_RT[0] / truth - 1).max() < 0.1
