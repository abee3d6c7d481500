"""Dynamic PET in DICOM that is doubtful: refused in one line, without the person it shows."""

from __future__ import annotations

import logging
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from dtsinn.core.errors import InputError
from dtsinn.importers.dicom.scan import open_dicom
from dtsinn.importers.scan import Scan

from .dicom_edits import (
    ALL,
    C11,
    WHERE,
    as_ct,
    assert_silent_on,
    both,
    drug,
    earlier_series_start,
    file_of,
    left_out,
    only,
    refusal,
    tags,
)
from .dicom_series import Edit, SeriesRecipe, fake_identity, series_array, stamp, write_series


def person(seed: int = 0) -> str:
    return fake_identity(seed).name


def invalid(tag: str, value: str) -> Edit:
    """An edit that writes what the tag's type forbids."""

    def edit(image: Dataset, frame: int, z: int) -> Dataset:
        with disable_value_validation():
            image[tag] = pydicom.DataElement(tag, "LO", value)
            image[tag].VR = pydicom.datadict.dictionary_VR(tag)
        return image

    return edit


def shifted(frame: int, seconds: float) -> Edit:
    """Acquisition of one frame and all later ones starts later than the one before ends."""

    def edit(image: Dataset, at_frame: int, z: int) -> Dataset:
        if at_frame >= frame:
            recipe = SeriesRecipe()
            late = recipe.clock + recipe.starts[at_frame] + seconds
            image.AcquisitionDate, image.AcquisitionTime = stamp(late, fake_identity(0).date)
            image.FrameReferenceTime = float(image.FrameReferenceTime) + 1000 * seconds
        return image

    return edit


def moved(x: float, z_mm: float) -> Edit:
    def edit(image: Dataset, frame: int, z: int) -> Dataset:
        place = [float(value) for value in image.ImagePositionPatient]
        image.ImagePositionPatient = [place[0] + x, place[1], place[2] + z_mm]
        return image

    return edit


def enhanced(image: Dataset, frame: int, z: int) -> Dataset:
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.130"
    return image


def scaled_factor(image: Dataset, frame: int, z: int) -> Dataset:
    image.DecayFactor = f"{float(image.DecayFactor) * 1.02:.8g}"
    return image


def swapped_index(image: Dataset, frame: int, z: int) -> Dataset:
    image.ImageIndex = (3 - frame) * 3 + z + 1
    return image


def encoded_as(image: Dataset, syntax: pydicom.uid.UID) -> Dataset:
    image.file_meta.TransferSyntaxUID = syntax
    if syntax.is_transfer_syntax:
        image.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8no such decoder\xff\xd9"])
    return image


def jpeg_ls(image: Dataset, frame: int, z: int) -> Dataset:
    return encoded_as(image, pydicom.uid.JPEGLSLossless)


def as_uid(image: Dataset, frame: int, z: int) -> Dataset:
    image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{z % 2}"
    return image


NO_TIME = {"RadiopharmaceuticalStartDateTime": None, "RadiopharmaceuticalStartTime": None}
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
TILTED = (1.0, 0.0, 0.0, 0.0, float(np.cos(0.3)), float(np.sin(0.3)))
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
NONE = {"correction": "NONE"}
ADMIN = {"correction": "ADMIN"}

REFUSED: dict[str, tuple[dict[str, Any], Edit, str]] = {
    "an image is missing": (
        {},
        only(2, 1, left_out),
        r"frame 2, slice 1 from the feet \(both from 0\) is missing; wanted 4 frames of 3 slices",
    ),
    "several images are missing": ({}, both(only(1, 1, left_out), only(2, 0, left_out)), "1 more"),
    "a frame is missing": (
        {},
        only(3, None, left_out),
        r"frames of the series; got 3 in the folder; wanted 4 \(NumberOfTimeSlices\)",
    ),
    "a slice is missing": (
        {},
        only(None, 1, left_out),
        r"slices of the series; got 2 in the folder; wanted 3 \(NumberOfSlices\)",
    ),
    "ImageIndex of another order": ({}, swapped_index, "times and ImageIndex disagree on frame 0"),
    "several series": ({}, as_uid, "several PET series in the folder; got 2; wanted one series"),
    "enhanced PET": ({}, enhanced, "enhanced multi-frame PET is not supported"),
    "a gated series": ({}, tags(SeriesType=["GATED", "IMAGE"]), "SeriesType; got GATED"),
    "free text as series type": ({}, tags(SeriesType=person()), "SeriesType; got an unknown value"),
    "coronal slices": ({"orientation": CORONAL}, tags(), "slices are not axial"),
    "a steep tilt": (
        {"orientation": TILTED},
        tags(),
        "slices are not axial; got axes tilted",
    ),
    "rows along y": ({"orientation": TURNED}, tags(), "slices are not axial"),
    "directions of no length": (
        {},
        tags(ImageOrientationPatient=[0] * 6),
        "affine; got a singular",
    ),
    "directions that differ": (
        {},
        only(1, 1, tags(ImageOrientationPatient=[1, 0, 0, 0, 0.9998, 0.02])),
        "ImageOrientationPatient differs between the images",
    ),
    "no directions": (
        {},
        only(0, None, tags(ImageOrientationPatient=None)),
        "ImageOrientationPatient is missing; got 3 of 12 images without it",
    ),
    "no positions": ({}, tags(ImagePositionPatient=None), "ImagePositionPatient is missing"),
    "a slice beside the others": (
        {},
        only(None, 2, moved(1.5, 0)),
        "slices lie beside each other; got 1.50 mm apart",
    ),
    "uneven slices": (
        {},
        only(None, 2, moved(0, 1.0)),
        "slices 1 and 2 from the feet are not evenly spaced; got 4.00 mm|0 and 1 .* got 3.00 mm",
    ),
    "pixels of two sizes": (
        {},
        only(1, 1, tags(PixelSpacing=[2.6, 2.0])),
        "PixelSpacing; wanted one for all images",
    ),
    "no rows": ({}, tags(Rows=0), "Rows and Columns; got none"),
    "slices of two sizes": ({}, only(1, 1, tags(Rows=5)), "Rows differs between the images; got 2"),
    "no slope": (
        {},
        only(1, 2, tags(RescaleSlope=None)),
        "RescaleSlope of frame 1, slice 2 from the feet .*; got none; wanted a number above 0",
    ),
    "slope 0": ({}, tags(RescaleSlope=0), "RescaleSlope of frame 0, slice 0 .*; got 0; wanted"),
    "counts": ({}, tags(Units="CNTS"), "Units; got CNTS; wanted BQML"),
    "two units": ({}, only(1, None, tags(Units="CNTS")), "Units differs between the images"),
    "free text as unit": ({}, tags(Units=person()), "Units; got an unknown value; wanted BQML"),
    "no unit": ({}, tags(Units=None), "Units; got nothing; wanted BQML"),
    "SUV without weight": (
        {},
        tags(Units="GML", PatientWeight=None),
        "SUV without body weight and dose; .* try weight_kg and dose_MBq in the plan",
    ),
    "SUV with a dose in MBq": (
        {},
        both(tags(Units="GML"), drug(RadionuclideTotalDose=250)),
        "dose; got 0.00025 MBq; wanted 0.1 to 10000 MBq",
    ),
    "SUV of another kind": ({}, tags(Units="GML", SUVType="LBM"), "SUVType; got LBM; wanted BW"),
    "SUV without a correction": (
        NONE,
        tags(Units="GML"),
        "SUV cannot be undone; got no decay correction",
    ),
    "SUV without an injection": (
        {},
        both(tags(Units="GML"), drug(**NO_TIME)),
        "SUV cannot be undone; got no time of injection",
    ),
    "no decay correction said": (
        {},
        tags(DecayCorrection=None),
        "DecayCorrection; got nothing; wanted NONE, START or ADMIN",
    ),
    "another decay correction": (
        {},
        tags(DecayCorrection=person()),
        "DecayCorrection; got an unknown value; wanted NONE, START or ADMIN",
    ),
    "DECY but NONE": (
        NONE,
        tags(CorrectedImage=["ATTN", "DECY"]),
        "DecayCorrection and CorrectedImage contradict each other; got NONE and DECY",
    ),
    "START but not DECY": (
        {},
        tags(CorrectedImage=["ATTN"]),
        "DecayCorrection and CorrectedImage contradict each other; got START and no DECY",
    ),
    "NONE but factors": (
        NONE,
        tags(DecayFactor="1.2"),
        "DecayCorrection and DecayFactor contradict each other; got NONE and factors",
    ),
    "a factor that does not fit": (
        {},
        only(2, 1, scaled_factor),
        r"DecayFactor of frame 2, slice 1 from the feet .*; got 1\.0\d+; wanted 1\.0\d+, as Decay",
    ),
    "ADMIN in fact": (
        {"injected": -900.0},
        tags(DecayCorrection="ADMIN"),
        "DecayFactor of frame .* as DecayCorrection ADMIN and the frames give for a half-life",
    ),
    "two starts": (
        {"half_life": C11},
        earlier_series_start(600.0, factors=False),
        "decay-corrected to the start, of which there are two; got a series time 600 s before",
    ),
    "ADMIN without a time": (
        ADMIN,
        drug(**NO_TIME),
        "decay-corrected to the injection, whose time is not known",
    ),
    "no half-life": (
        {},
        drug(RadionuclideHalfLife=None),
        "nothing says with which half-life .* try half_life: SECONDS in the plan",
    ),
    "a half-life of 0": (
        {},
        drug(RadionuclideHalfLife=0),
        "half-life; got 0; wanted seconds",
    ),
    "an injection after the scan": (
        {"injected": 1080.0},
        tags(),
        "given after the scan; got 1080 s after the start of the first frame; wanted below 1080 s",
    ),
    "reference times that disagree": (
        {},
        only(3, None, tags(FrameReferenceTime=480_000)),
        r"FrameReferenceTime and AcquisitionTime disagree in frame 3; got -29\d\.\d s between",
    ),
    "all reference times late": (
        {},
        lambda image, frame, z: tags(FrameReferenceTime=float(image.FrameReferenceTime) + 120_000)(
            image, frame, z
        ),
        r"FrameReferenceTime and AcquisitionTime disagree in frame 0; got \+120\.0 s",
    ),
    "acquisition times that do not move, alone": (
        {},
        lambda image, frame, z: tags(AcquisitionTime=image.SeriesTime, FrameReferenceTime=None)(
            image, frame, z
        ),
        "all frames have one AcquisitionTime, and no FrameReferenceTime; wanted Acq",
    ),
    "a gap": ({}, shifted(2, 5.0), "frames 1 and 2 have a gap between them; got an end at 180 s"),
    "an overlap": ({}, shifted(2, -5.0), "frames 1 and 2 overlap; got an end at 180 s"),
    "no durations": (
        {},
        only(1, None, tags(ActualFrameDuration=None)),
        "ActualFrameDuration of frame 1; got none",
    ),
    "two durations in a frame": (
        {},
        only(1, 1, tags(ActualFrameDuration=130_000)),
        "ActualFrameDuration of frame 1; got several values",
    ),
    "a duration of 0": ({}, tags(ActualFrameDuration=0), "ActualFrameDuration of frame 0; got 0 s"),
    "no times": (
        {},
        tags(AcquisitionTime=None, FrameReferenceTime=None),
        "the frames have no times; wanted AcquisitionTime or FrameReferenceTime",
    ),
    "acquisition times here and there": (
        {},
        only(1, None, tags(AcquisitionTime=None)),
        "AcquisitionTime is missing in some frames; wanted all or none",
    ),
    "dates here and there": (
        {},
        only(1, None, tags(AcquisitionDate=None)),
        "AcquisitionDate is missing in some frames; wanted all or none",
    ),
    "reference times here and there": (
        {},
        only(0, None, tags(FrameReferenceTime=None)),
        "FrameReferenceTime is missing in some frames; wanted all or none",
    ),
    "a name as time": (
        {},
        invalid("AcquisitionTime", person()),
        r"DICOM file 1 of 12 \(by path\): AcquisitionTime is no time of day",
    ),
    "a time of 25 hours": ({}, invalid("AcquisitionTime", "250000"), "is no time of day"),
    "a name as date": ({}, invalid("AcquisitionDate", person()), "AcquisitionDate is no date"),
    "a name as number": ({}, invalid("DecayFactor", person()), "DecayFactor cannot be read"),
    "an infinite number": ({}, invalid("RescaleSlope", "inf"), "RescaleSlope cannot be read"),
    "two numbers for one": (
        {},
        invalid("SliceThickness", "3\\4"),
        "SliceThickness cannot be read",
    ),
    "a film": (
        {},
        lambda image, frame, z: encoded_as(image, pydicom.uid.MPEG2MPML),
        "compressed in a way that no installed decoder reads; wanted uncompressed DICOM",
    ),
    "an encoding of one's own": (
        {},
        lambda image, frame, z: encoded_as(image, pydicom.uid.UID("1.2.3.4")),
        "compressed in a way that no installed decoder reads",
    ),
    "one slice of no thickness": (
        {"durations": (60.0,)},
        both(
            only(None, 1, left_out),
            only(None, 2, left_out),
            tags(SliceThickness=None, NumberOfSlices=None),
        ),
        "SliceThickness is missing; wanted mm, of the one slice",
    ),
    "one frame of no time": (
        {"durations": (60.0,)},
        tags(AcquisitionTime=None, FrameReferenceTime=None),
        "the frames have no times; wanted AcquisitionTime or FrameReferenceTime",
    ),
    "a compression without decoder": ({}, jpeg_ls, "compressed in a way that no installed decoder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_line_without_the_person(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings, edit, message = REFUSED[case]
    with disable_value_validation():
        recipe = SeriesRecipe(edit=edit, **settings)
        array = series_array(frames=len(recipe.durations))
        identity = write_series(tmp_path, array, recipe)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="pydicom")
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        error = refusal(lambda: open_dicom(tmp_path, WHERE))
    with pytest.raises(InputError, match=message):
        raise error
    assert str(error).startswith(WHERE)
    assert "\n" not in str(error)
    printed = capfd.readouterr()
    assert_silent_on(
        identity,
        str(error),
        "".join(traceback.format_exception(error)),
        caplog.text,
        printed.out,
        printed.err,
        *(str(warning.message) for warning in warned),
    )


def open_fully(folder: Path) -> Scan:
    scan = open_dicom(folder, WHERE)
    scan.read_slices(ALL)
    return scan


def test_nothing_of_the_person_is_in_a_scan_a_log_or_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # Values that break the rules of their type make pydicom quote them.
    odd = both(
        invalid("PatientBirthDate", person()),
        invalid("DecayFactor", "1.000000000000000000000"),
        invalid("StudyTime", person()),
        tags(DecayCorrection="NONE", CorrectedImage=["ATTN"]),
    )
    recipe = SeriesRecipe(correction="NONE", edit=odd)
    identity = write_series(tmp_path, series_array(), recipe)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="pydicom")
    caplog.clear()
    loud = file_of(tmp_path, 0, 0)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        str(pydicom.dcmread(loud))
    heard = caplog.text + "".join(str(warning.message) for warning in warned)
    assert any(piece.lower() in heard.lower() for piece in identity.pieces()), (
        "pydicom tells on its own, so that there is something to hold back"
    )
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scan = open_fully(tmp_path)
    printed = capfd.readouterr()
    assert not warned
    reader = scan.read_slices
    assert_silent_on(
        identity, repr(scan), repr(reader), str(reader), caplog.text, printed.out, printed.err
    )
    assert logging.getLogger("pydicom").filters == []


def test_a_second_copy_of_an_image_is_refused(tmp_path: Path) -> None:
    identity = write_series(tmp_path, series_array(), SeriesRecipe())
    shutil.copy(file_of(tmp_path, 1, 2), tmp_path / "copy.dcm")
    error = refusal(lambda: open_dicom(tmp_path, WHERE))
    assert "frame 1, slice 2 from the feet (both from 0) stands more than once" in str(error)
    assert_silent_on(identity, str(error))


def test_missing_folders_and_folders_without_pet_are_refused(tmp_path: Path) -> None:
    gone = tmp_path / "Person"
    error = str(refusal(lambda: open_dicom(gone, WHERE)))
    assert error == f"{WHERE}: there is no such folder; wanted a folder, relative to the plan"
    gone.mkdir()
    (gone / "notes.txt").write_text("nothing")
    assert "no PET image in the folder" in str(refusal(lambda: open_dicom(gone, WHERE)))
    write_series(gone, series_array(), SeriesRecipe(edit=as_ct))
    error = str(refusal(lambda: open_dicom(gone, WHERE)))
    assert "no PET image in the folder" in error
    assert "Person" not in error


@pytest.mark.parametrize("keep", [-7, 700, 300, 140, 132])
def test_a_file_that_is_cut_short_is_refused_when_it_is_opened(tmp_path: Path, keep: int) -> None:
    identity = write_series(tmp_path, series_array(), SeriesRecipe())
    path = sorted(path for path in tmp_path.rglob("*") if path.is_file())[4]
    path.write_bytes(path.read_bytes()[:keep])
    error = str(refusal(lambda: open_dicom(tmp_path, WHERE)))
    assert error.startswith(f"{WHERE}: DICOM file 5 of 12 (by path) is ")
    assert "damaged" in error
    assert_silent_on(identity, error)


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    identity = write_series(tmp_path, series_array(), SeriesRecipe())
    path = file_of(tmp_path, 0, 0)
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    error = str(refusal(lambda: open_dicom(tmp_path, WHERE)))
    assert "of 12 (by path) cannot be read; got No such file" in error
    assert_silent_on(identity, error)


def test_an_image_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    identity = write_series(tmp_path, series_array(), SeriesRecipe())
    scan = open_dicom(tmp_path, WHERE)
    path = file_of(tmp_path, 2, 1)
    image = pydicom.dcmread(path)
    image.Rows, image.Columns = 5, 6
    image.save_as(path)
    error = str(refusal(lambda: scan.read_slices(ALL)))
    assert "frame 2, slice 1 from the feet (both from 0): pixels; got 5 x 6; wanted 6 x 5" in error
    image.Rows, image.Columns = 6, 5
    image.save_as(path)
    path.write_bytes(path.read_bytes()[:-9])
    error += str(refusal(lambda: scan.read_slices(slice(1, 2))))
    assert "is damaged" in error
    assert_silent_on(identity, error)


def test_without_pydicom_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refusal(lambda: open_dicom(tmp_path, WHERE))
    assert str(error) == "reading DICOM needs pydicom; try pip install 'dtsinn[dicom]'"
