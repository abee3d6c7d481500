"""A dynamic PET series in DICOM, made from an array, with a fake identity wherever one can hide.

Axis letters: Z slice, T frame, Y row, X column.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dtsinn.core.seeds import generator

PET = "1.2.840.10008.5.1.4.1.1.128"
F18 = 6588.0
LEVELS = 32767
"""Of a signed 16-bit pixel: half a level is the quantisation error, relative to the maximum."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A made-up person, where and by whom they were scanned, and the identifiers of the scan."""

    name: str
    patient_id: str
    birth_date: str
    institution: str
    physician: str
    comment: str
    accession: str
    station: str
    private: str
    uid_root: str
    date: str

    def pieces(self) -> list[str]:
        """Every piece that must not turn up anywhere, in the ways it may be written."""
        family, given = self.name.split("^")
        dates = [self.birth_date, self.date]
        pieces = [family, given, self.patient_id, *dates]
        pieces += [f"{date[:4]}-{date[4:6]}-{date[6:]}" for date in dates]
        pieces += [self.institution, self.physician.split("^")[0], self.comment]
        return [*pieces, self.accession, self.station, self.private, self.uid_root]


def fake_identity(seed: int) -> Identity:
    """An identity of letters and numbers that occur in nothing else."""
    rng = generator(seed, "identity")

    def word(length: int) -> str:
        return "".join(rng.choice(list("BCDFGHJKLMNPQRSTVWXZ"), length)).capitalize()

    def digits(length: int) -> str:
        return "".join(str(digit) for digit in rng.integers(1, 10, length))

    def date(first_year: int) -> str:
        day = dt.date(first_year, 1, 1) + dt.timedelta(days=int(rng.integers(0, 4000)))
        return day.strftime("%Y%m%d")

    return Identity(
        name=f"{word(9)}^{word(7)}",
        patient_id=f"PID{digits(8)}",
        birth_date=date(1931),
        institution=f"{word(8)} Hospital {word(6)}",
        physician=f"{word(8)}^{word(5)}",
        comment=f"seen with {word(9)} about {word(7)}",
        accession=f"A{digits(9)}",
        station=f"{word(6)}PET{digits(4)}",
        private=f"{word(9)} {digits(6)}",
        uid_root=f"1.2.826.0.1.3680043.10.{digits(7)}",
        date=date(2009),
    )


Edit = Callable[[Dataset, int, int], Dataset | None]


def unchanged(image: Dataset, frame: int, z: int) -> Dataset:
    """Leave an image as it is."""
    return image


@dataclass(frozen=True, kw_only=True)
class SeriesRecipe:
    """How a series is made.

    Attributes:
        durations: [T] s.
        half_life: s.
        correction: DecayCorrection.
        injected: Of the radiopharmaceutical, s after the first frame's start.
        clock: Time of day at which the first frame starts, s after midnight.
        spacing: Slices, rows and columns, mm.
        position: LPS of the first stored voxel of the lowest slice, mm.
        orientation: ImageOrientationPatient.
        from_head: Slices are numbered, by ImageIndex, from the head.
        seed: Of the identity, the file names and the order of the files.
        edit: Called with each image, its frame and its slice; None leaves the image out.
    """

    durations: tuple[float, ...] = (60.0, 120.0, 300.0, 600.0)
    half_life: float = F18
    correction: str = "START"
    injected: float = -30.0
    clock: float = 36_915.0
    spacing: tuple[float, float, float] = (3.0, 2.5, 2.0)
    position: tuple[float, float, float] = (-61.0, -83.0, 12.5)
    orientation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    from_head: bool = False
    seed: int = 0
    edit: Edit = field(default=unchanged)

    @property
    def starts(self) -> list[float]:
        """[T] s from the start of the first frame."""
        return [math.fsum(self.durations[:frame]) for frame in range(len(self.durations))]

    def factor(self, frame: int) -> float:
        """By what the scanner multiplies a frame, integrated step by step rather than in closed
        form: the frame's average of decay since the reference, inverted."""
        if self.correction == "NONE":
            return 1.0
        reference = self.injected if self.correction == "ADMIN" else 0.0
        middles = (np.arange(2_000) + 0.5) / 2_000 * self.durations[frame]
        times = self.starts[frame] + middles - reference
        return float(1.0 / np.mean(0.5 ** (times / self.half_life)))


def write_series(
    folder: Path, stored_ZTYX: npt.NDArray[np.floating[Any]], recipe: SeriesRecipe
) -> Identity:
    """Write one file for each frame and slice, under names and in an order that tell nothing.

    Args:
        folder: Made where it is missing.
        stored_ZTYX: [Z, T, Y, X] kBq/mL, frame-averaged, **not** decay-corrected; rows and columns
            as they are stored, slices from the feet to the head.
        recipe: How the series is made.

    Returns:
        The identity that is in every tag and name that may hold one.
    """
    identity = fake_identity(recipe.seed)
    rng = generator(recipe.seed, "files")
    slices, frames = stored_ZTYX.shape[:2]
    names = rng.permutation(slices * frames)
    for number in rng.permutation(slices * frames):
        frame, z = divmod(int(number), slices)
        image = recipe.edit(_image(stored_ZTYX, recipe, identity, frame, z), frame, z)
        if image is None:
            continue
        family = identity.name.split("^")[0]
        path = folder / f"{family}_{names[number] % 3}" / f"{family}.{names[number]:05d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save_as(path, enforce_file_format=True)
    return identity


def series_array(
    slices: int = 3, frames: int = 4, rows: int = 6, columns: int = 5, seed: int = 0
) -> npt.NDArray[np.float64]:
    """[Z, T, Y, X] kBq/mL, all different, some below 0 as in a noisy reconstruction."""
    rng = generator(seed, "array")
    return (
        rng.normal(8.0, 6.0, (slices, frames, rows, columns))
        * np.linspace(1, 3, frames)[:, None, None]
    )


def stamp(seconds: float, first_day: str) -> tuple[str, str]:
    """DA and TM of a moment, s after the midnight that begins ``first_day``."""
    moment = dt.datetime.strptime(first_day, "%Y%m%d") + dt.timedelta(seconds=seconds)
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def _image(
    stored_ZTYX: npt.NDArray[np.floating[Any]],
    recipe: SeriesRecipe,
    identity: Identity,
    frame: int,
    z: int,
) -> FileDataset:
    slices, frames, rows, columns = stored_ZTYX.shape
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = PET
    meta.MediaStorageSOPInstanceUID = f"{identity.uid_root}.3.{frame + 1}.{z + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _add_identity(image, identity, meta.MediaStorageSOPInstanceUID)
    _add_times(image, recipe, identity, frame)
    image.SOPClassUID, image.Modality = PET, "PT"
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.SeriesType = ["DYNAMIC", "IMAGE"]
    image.Units, image.CountsSource = "BQML", "EMISSION"
    image.DecayCorrection = recipe.correction
    image.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT"]
    if recipe.correction != "NONE":
        image.CorrectedImage = ["DECY", "ATTN"]
        image.DecayFactor = f"{recipe.factor(frame):.8g}"
    image.NumberOfSlices, image.NumberOfTimeSlices = slices, frames
    image.ImageIndex = frame * slices + (slices - 1 - z if recipe.from_head else z) + 1
    image.InstanceNumber = int(generator(recipe.seed, "instance", frame, z).integers(1, 9999))
    across = np.cross(recipe.orientation[:3], recipe.orientation[3:])
    up = across if across[2] >= 0 else -across
    place = np.array(recipe.position) + z * recipe.spacing[0] * up
    image.ImagePositionPatient = [f"{value:.10g}" for value in place]
    image.ImageOrientationPatient = list(recipe.orientation)
    image.PixelSpacing = list(recipe.spacing[1:])
    image.SliceThickness = recipe.spacing[0]
    values_YX = stored_ZTYX[z, frame] * 1000.0 * recipe.factor(frame)
    slope = float(f"{max(float(np.abs(values_YX).max()), 1e-6) / LEVELS:.10g}")
    image.RescaleSlope, image.RescaleIntercept = f"{slope:.10g}", 0
    image.Rows, image.Columns, image.SamplesPerPixel = rows, columns, 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = 1
    image.PixelData = np.round(values_YX / slope).clip(-LEVELS, LEVELS).astype("<i2").tobytes()
    return image


def _add_times(image: Dataset, recipe: SeriesRecipe, identity: Identity, frame: int) -> None:
    start, duration = recipe.starts[frame], recipe.durations[frame]
    image.StudyDate, image.StudyTime = stamp(recipe.clock - 600, identity.date)
    image.SeriesDate, image.SeriesTime = stamp(recipe.clock, identity.date)
    image.AcquisitionDate, image.AcquisitionTime = stamp(recipe.clock + start, identity.date)
    image.ContentDate, image.ContentTime = stamp(recipe.clock + 9000, identity.date)
    image.ActualFrameDuration = round(duration * 1000)
    # Of activity that only decays, when it equals the average: found by bisection.
    rate = math.log(2) / recipe.half_life
    average = float(np.mean(np.exp(-rate * (np.arange(2_000) + 0.5) / 2_000 * duration)))
    image.FrameReferenceTime = f"{1000 * (start - math.log(average) / rate):.10g}"
    drug = Dataset()
    drug.Radiopharmaceutical = "FDG"
    drug.RadionuclideHalfLife = recipe.half_life
    drug.RadionuclideTotalDose = 2.5e8
    date, time = stamp(recipe.clock + recipe.injected, identity.date)
    drug.RadiopharmaceuticalStartTime = time
    drug.RadiopharmaceuticalStartDateTime = date + time
    image.RadiopharmaceuticalInformationSequence = [drug]


def _add_identity(image: Dataset, identity: Identity, instance: str) -> None:
    image.PatientName = identity.name
    image.PatientID = identity.patient_id
    image.OtherPatientNames = identity.name
    image.PatientBirthDate = identity.birth_date
    image.PatientSex, image.PatientAge, image.PatientWeight = "F", "077Y", 71.5
    image.PatientAddress = identity.comment
    image.PatientComments = identity.comment
    image.ImageComments = identity.comment
    image.StudyDescription = identity.comment
    image.SeriesDescription = identity.comment
    image.ProtocolName = identity.comment
    image.InstitutionName = identity.institution
    image.InstitutionAddress = identity.institution
    image.ReferringPhysicianName = identity.physician
    image.OperatorsName = identity.physician
    image.AccessionNumber = identity.accession
    image.StationName = identity.station
    image.DeviceSerialNumber = identity.station
    image.StudyInstanceUID = f"{identity.uid_root}.1"
    image.SeriesInstanceUID = f"{identity.uid_root}.2"
    image.FrameOfReferenceUID = f"{identity.uid_root}.4"
    image.SOPInstanceUID = instance
    block = image.private_block(0x0009, identity.private, create=True)
    block.add_new(0x01, "LO", identity.name)
    block.add_new(0x02, "LO", identity.private)
