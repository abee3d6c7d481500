"""Dynamic PET in DICOM: what is read is what was scanned, whatever the header calls it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dtsinn.core.errors import InputError, RunError
from dtsinn.importers.dicom.activity import Quantity
from dtsinn.importers.dicom.header import read_pet_headers
from dtsinn.importers.dicom.scan import open_dicom
from dtsinn.importers.dicom.series import arrange, series_grid
from dtsinn.importers.nifti.scan import open_nifti
from dtsinn.importers.plan import SinglePlan

from .dicom_edits import (
    ALL,
    C11,
    WHERE,
    as_ct,
    both,
    drug,
    earlier_series_start,
    file_of,
    refusal,
    tags,
)
from .dicom_series import (
    F18,
    LEVELS,
    Edit,
    SeriesRecipe,
    fake_identity,
    series_array,
    stamp,
    write_series,
)


def in_store(stored_ZTYX: np.ndarray) -> np.ndarray:
    """As the store has it, of a standard series: columns run to the left in DICOM."""
    return stored_ZTYX[..., ::-1]


def quantisation(stored_ZTYX: np.ndarray) -> np.ndarray:
    """Half a level of each image, with a margin for float32."""
    peak = np.abs(stored_ZTYX).max(axis=(2, 3), keepdims=True)
    return peak * (0.5 / LEVELS + 1e-6)


@pytest.mark.parametrize("half_life", [F18, C11, 123.0])
@pytest.mark.parametrize("correction", ["START", "ADMIN", "NONE"])
def test_what_was_scanned_is_read_whatever_the_decay_correction(
    tmp_path: Path, correction: str, half_life: float
) -> None:
    stored = series_array()
    recipe = SeriesRecipe(correction=correction, half_life=half_life)
    write_series(tmp_path, stored, recipe)
    scan = open_dicom(tmp_path, WHERE)
    error = np.abs(scan.read_slices(ALL) - in_store(stored))
    assert (error <= quantisation(stored)).all()
    assert error.max() > 0, "there is a quantisation to be seen"
    assert scan.decay_corrected is (correction != "NONE")
    assert scan.half_life == half_life
    assert scan.injection_time == pytest.approx(-30.0)
    assert scan.frame_start == (0.0, 60.0, 180.0, 480.0)
    assert scan.frame_duration == recipe.durations


@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_factors_that_are_not_written_follow_from_the_times(
    tmp_path: Path, correction: str
) -> None:
    stored = series_array()
    edit = tags(DecayFactor=None)
    recipe = SeriesRecipe(correction=correction, half_life=C11, edit=edit)
    write_series(tmp_path, stored, recipe)
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= 1.01 * quantisation(stored)).all()


def test_factors_that_are_written_are_used_as_they_stand(tmp_path: Path) -> None:
    stored = series_array()

    def middle_of_the_frame(image: Dataset, frame: int, z: int) -> Dataset:
        recipe = SeriesRecipe(half_life=C11)
        exact = recipe.factor(frame)
        rough = 2.0 ** ((recipe.starts[frame] + recipe.durations[frame] / 2) / C11)
        assert abs(rough / exact - 1) < 0.01
        image.DecayFactor = f"{rough:.8g}"
        image.RescaleSlope = f"{float(image.RescaleSlope) * rough / exact:.10g}"
        return image

    write_series(tmp_path, stored, SeriesRecipe(half_life=C11, edit=middle_of_the_frame))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= 1.01 * quantisation(stored)).all()


def test_names_and_order_of_the_files_mean_nothing(tmp_path: Path) -> None:
    stored = series_array()
    reads = []
    for seed in range(3):
        write_series(tmp_path / str(seed), stored, SeriesRecipe(seed=seed, from_head=seed == 1))
        scan = open_dicom(tmp_path / str(seed), WHERE)
        reads.append((scan.read_slices(ALL), dataclasses.replace(scan, read_slices=len)))
    for images, header in reads[1:]:
        assert np.array_equal(images, reads[0][0])
        assert header == reads[0][1]


@pytest.mark.parametrize("signs", list(itertools.product([1.0, -1.0], repeat=2)))
def test_the_body_is_turned_the_same_way_as_from_nifti(
    tmp_path: Path, signs: tuple[float, float]
) -> None:
    stored = series_array(slices=4, rows=7, columns=5)
    along_x, along_y = signs
    orientation = (along_x, 0.0, 0.0, 0.0, along_y, 0.0)
    recipe = SeriesRecipe(orientation=orientation, correction="NONE")
    write_series(tmp_path / "dicom", stored, recipe)
    from_dicom = open_dicom(tmp_path / "dicom", WHERE)
    # The same voxels in NIfTI: x and y change their signs from LPS to RAS.
    thick, row, column = recipe.spacing
    affine = np.diag([-along_x * column, -along_y * row, thick, 1.0])
    affine[:3, 3] = recipe.position * np.array([-1.0, -1.0, 1.0])
    image = nibabel.Nifti1Image(stored.transpose(3, 2, 0, 1).astype(np.float32), affine)
    nibabel.save(image, tmp_path / "same.nii")
    fields = {
        "FrameTimesStart": recipe.starts,
        "FrameDuration": list(recipe.durations),
        "ImageDecayCorrected": False,
        "Units": "kBq/mL",
    }
    (tmp_path / "same.json").write_text(json.dumps(fields))
    from_nifti = open_nifti(SinglePlan(image="same.nii"), tmp_path, WHERE, F18)
    for name in ("size", "voxel_size", "slice_position", "origin", "axes", "frame_start"):
        assert np.allclose(getattr(from_dicom, name), getattr(from_nifti, name), atol=1e-5), name
    difference = np.abs(from_dicom.read_slices(ALL) - from_nifti.read_slices(ALL))
    assert (difference <= quantisation(stored)).all()


def test_a_small_tilt_is_kept_as_axes(tmp_path: Path) -> None:
    angle = np.radians(4.0)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))
    write_series(tmp_path, series_array(), SeriesRecipe(orientation=orientation))
    scan = open_dicom(tmp_path, WHERE)
    assert scan.axes[1] == pytest.approx((0.0, np.cos(angle), -np.sin(angle)))
    assert scan.axes[2] == pytest.approx((0.0, np.sin(angle), np.cos(angle)))
    assert scan.voxel_size == pytest.approx((3.0, 2.5, 2.0))


def test_only_the_slices_that_are_asked_for_are_read(tmp_path: Path) -> None:
    stored = series_array(slices=5)
    write_series(tmp_path, stored, SeriesRecipe())
    scan = open_dicom(tmp_path, WHERE)
    whole = scan.read_slices(ALL)
    assert whole.shape == (5, 4, 6, 5)
    for frame in range(4):
        file_of(tmp_path, frame, 2, slices=5).unlink()
    assert np.array_equal(scan.read_slices(slice(3, 5)), whole[3:])
    assert np.array_equal(scan.read_slices(slice(0, 2)), whole[:2])
    with pytest.raises(RunError, match=r"frame 0, slice 2 from the feet .* cannot be read for now"):
        scan.read_slices(slice(1, 3))


def test_other_files_and_modalities_in_the_folder_are_passed_over(tmp_path: Path) -> None:
    stored = series_array()
    write_series(tmp_path, stored, SeriesRecipe())
    expected = open_dicom(tmp_path, WHERE).read_slices(ALL)
    write_series(tmp_path / "ct", stored, SeriesRecipe(seed=7, edit=as_ct))
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"nothing")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty.dcm").touch()
    assert np.array_equal(open_dicom(tmp_path, WHERE).read_slices(ALL), expected)


def without_dates(image: Dataset, frame: int, z: int) -> Dataset:
    """What a strict de-identification leaves."""
    tags(StudyDate=None, SeriesDate=None, AcquisitionDate=None, ContentDate=None)(image, frame, z)
    return drug(RadiopharmaceuticalStartDateTime=None)(image, frame, z)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("clock", [36_915.0, 200.0, 86_100.0])
def test_a_scan_may_run_past_midnight_or_begin_after_it(
    tmp_path: Path, clock: float, dated: bool
) -> None:
    stored = series_array()
    # 600 s before: for the scan that begins at 00:03:20, the evening before.
    edit = tags() if dated else without_dates
    recipe = SeriesRecipe(clock=clock, injected=-600.0, correction="ADMIN", edit=edit)
    write_series(tmp_path, stored, recipe)
    scan = open_dicom(tmp_path, WHERE)
    assert scan.injection_time == pytest.approx(-600.0)
    assert scan.frame_start == (0.0, 60.0, 180.0, 480.0)
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= quantisation(stored)).all()


def test_a_time_of_day_says_little_of_a_long_lived_nuclide(tmp_path: Path) -> None:
    recipe = SeriesRecipe(half_life=282_240.0, injected=-2 * 86_400.0)
    write_series(tmp_path / "dated", series_array(), recipe)
    assert open_dicom(tmp_path / "dated", WHERE).injection_time == pytest.approx(-172_800.0)
    time_only = dataclasses.replace(recipe, edit=drug(RadiopharmaceuticalStartDateTime=None))
    write_series(tmp_path / "time", series_array(), time_only)
    assert open_dicom(tmp_path / "time", WHERE).injection_time is None


def test_without_acquisition_times_the_frames_follow_from_their_reference_times(
    tmp_path: Path,
) -> None:
    stored = series_array()
    gone = tags(AcquisitionDate=None, AcquisitionTime="")
    write_series(tmp_path, stored, SeriesRecipe(half_life=C11, correction="ADMIN", edit=gone))
    scan = open_dicom(tmp_path, WHERE)
    assert scan.frame_start == (0.0, 60.0, 180.0, 480.0)
    assert scan.injection_time == pytest.approx(-30.0, abs=1e-3)
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= quantisation(stored)).all()


def test_time_stamps_in_whole_seconds_are_rounded_frames(tmp_path: Path) -> None:
    durations = (10.4, 10.4, 30.2, 60.0)

    def cut(image: Dataset, frame: int, z: int) -> Dataset:
        image.AcquisitionTime = image.AcquisitionTime[:6]
        return image

    write_series(tmp_path, series_array(), SeriesRecipe(durations=durations, edit=cut))
    scan = open_dicom(tmp_path, WHERE)
    assert scan.frame_start == pytest.approx((0.0, 10.4, 20.8, 51.0))


def test_the_start_is_the_series_time_where_the_factors_say_so(tmp_path: Path) -> None:
    stored = series_array()
    edit = earlier_series_start(600.0, factors=True)
    write_series(tmp_path, stored, SeriesRecipe(half_life=C11, edit=edit))
    scan = open_dicom(tmp_path, WHERE)
    assert scan.frame_start[0] == 0.0
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= 1.01 * quantisation(stored)).all()


def test_a_series_time_that_was_overwritten_later_does_no_harm(tmp_path: Path) -> None:
    stored = series_array()
    date, time = stamp(36_915.0 + 40_000, fake_identity(0).date)
    edit = tags(SeriesDate=date, SeriesTime=time, DecayFactor=None)
    write_series(tmp_path, stored, SeriesRecipe(half_life=C11, edit=edit))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= 1.01 * quantisation(stored)).all()


@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_suv_becomes_activity(tmp_path: Path, correction: str) -> None:
    stored = series_array()
    recipe = SeriesRecipe(half_life=C11, correction=correction, injected=-900.0)
    # 250 MBq in 71.5 kg; at START, what is left of the dose by then.
    left = 0.5 ** (900.0 / C11) if correction == "START" else 1.0

    def as_suv(image: Dataset, frame: int, z: int) -> Dataset:
        image.Units, image.SUVType = "GML", "BW"
        image.RescaleSlope = f"{float(image.RescaleSlope) * 71_500 / (2.5e8 * left):.10g}"
        return image

    write_series(tmp_path, stored, dataclasses.replace(recipe, edit=as_suv))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= 1.01 * quantisation(stored)).all()
    doubled = open_dicom(tmp_path, WHERE, quantity=Quantity(dose_MBq=500.0)).read_slices(ALL)
    assert np.allclose(doubled, 2 * read)
    lighter = open_dicom(tmp_path, WHERE, quantity=Quantity(weight_kg=143.0)).read_slices(ALL)
    assert np.allclose(lighter, read / 2)
    error = refusal(lambda: open_dicom(tmp_path, WHERE, quantity=Quantity(weight_kg=0.0)))
    assert "body weight; got 0 kg; wanted 0.005 to 700 kg" in str(error)


def test_the_caller_overrules_and_completes_the_header(tmp_path: Path) -> None:
    stored = series_array()
    edit = both(
        drug(
            RadionuclideHalfLife=None,
            RadiopharmaceuticalStartDateTime=None,
            RadiopharmaceuticalStartTime=None,
        ),
        tags(DecayFactor=None),
    )
    recipe = SeriesRecipe(half_life=C11, correction="ADMIN", injected=-75.0, edit=edit)
    write_series(tmp_path, stored, recipe)
    scan = open_dicom(tmp_path, WHERE, half_life=C11, injection_time=-75.0)
    assert (scan.half_life, scan.injection_time) == (C11, -75.0)
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= 1.01 * quantisation(stored)).all()


def test_two_radiopharmaceuticals_leave_half_life_and_injection_open(tmp_path: Path) -> None:
    def second(image: Dataset, frame: int, z: int) -> Dataset:
        items = image.RadiopharmaceuticalInformationSequence
        other = Dataset()
        other.RadionuclideHalfLife = C11
        items.append(other)
        return image

    stored = series_array()
    write_series(tmp_path, stored, SeriesRecipe(correction="NONE", edit=second))
    scan = open_dicom(tmp_path, WHERE)
    assert (scan.half_life, scan.injection_time) == (None, None)
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= quantisation(stored)).all()


def test_one_slice_has_the_thickness_of_its_header(tmp_path: Path) -> None:
    write_series(tmp_path, series_array(slices=1), SeriesRecipe())
    scan = open_dicom(tmp_path, WHERE)
    assert scan.size == (1, 6, 5)
    assert scan.voxel_size == (3.0, 2.5, 2.0)


def run_length_encoded(image: Dataset, frame: int, z: int) -> Dataset:
    image.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    return image


def deflated(image: Dataset, frame: int, z: int) -> Dataset:
    image.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    return image


def implicit(image: Dataset, frame: int, z: int) -> Dataset:
    image.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return image


@pytest.mark.parametrize("encode", [run_length_encoded, deflated, implicit])
def test_other_encodings_are_read(tmp_path: Path, encode: Edit) -> None:
    stored = series_array()
    write_series(tmp_path, stored, SeriesRecipe(edit=encode))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= quantisation(stored)).all()


def test_tags_that_only_confirm_may_be_missing(tmp_path: Path) -> None:
    stored = series_array()
    edit = tags(
        ImageIndex=None,
        NumberOfSlices=None,
        NumberOfTimeSlices=None,
        SeriesType=None,
        SeriesDate=None,
        SeriesTime=None,
        CorrectedImage=None,
        SliceThickness=None,
        RescaleIntercept=None,
    )
    write_series(tmp_path, stored, SeriesRecipe(half_life=C11, edit=edit))
    scan = open_dicom(tmp_path, WHERE)
    assert (np.abs(scan.read_slices(ALL) - in_store(stored)) <= quantisation(stored)).all()
    assert scan.injection_time == pytest.approx(-30.0)


def test_reference_times_may_count_from_a_moment_that_no_tag_names(tmp_path: Path) -> None:
    stored = series_array()

    def later(image: Dataset, frame: int, z: int) -> Dataset:
        image.FrameReferenceTime = float(image.FrameReferenceTime) + 5000
        return tags(SeriesDate=None, SeriesTime=None)(image, frame, z)

    write_series(tmp_path, stored, SeriesRecipe(edit=later))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - in_store(stored)) <= quantisation(stored)).all()


def test_an_intercept_is_added(tmp_path: Path) -> None:
    stored = series_array()
    edit = tags(RescaleIntercept=5000)
    write_series(tmp_path, stored, SeriesRecipe(correction="NONE", edit=edit))
    read = open_dicom(tmp_path, WHERE).read_slices(ALL)
    assert (np.abs(read - 5.0 - in_store(stored)) <= 1.01 * quantisation(stored)).all()


def test_reference_times_that_are_starts_are_found_without_acquisition_times(
    tmp_path: Path,
) -> None:
    durations = (60.0,) * 4

    def starts(image: Dataset, frame: int, z: int) -> Dataset:
        del image.AcquisitionDate, image.AcquisitionTime
        image.FrameReferenceTime = 60_000 * frame
        return image

    write_series(tmp_path, series_array(), SeriesRecipe(durations=durations, edit=starts))
    with pytest.raises(InputError, match="puts the first frame before the series; got a start 30"):
        open_dicom(tmp_path, WHERE)


def test_a_folder_that_cannot_be_asked_for_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder cannot be read; got File name") as caught:
        open_dicom(tmp_path / ("Jane" * 100), WHERE)
    assert "Jane" not in str(caught.value)


def test_absurd_sizes_of_images_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, series_array(), SeriesRecipe())
    headers = read_pet_headers(tmp_path, WHERE)
    large = [dataclasses.replace(one, rows=60_000, columns=60_000) for one in headers]
    with pytest.raises(InputError, match="size of a frame; got 60000 x 60000 x 3; wanted at most"):
        series_grid(arrange(large, WHERE))
