"""Headers of classic PET images: of each DICOM file only what an import needs, nothing personal.

Only the tags named here are ever parsed. pydicom's warnings and log can quote values of a header,
so both are held back while it reads, and its errors are replaced.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dtsinn.core.bounds import inflated_size, most_memory, open_file, refuse_more
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import isotope_half_life
from dtsinn.importers.dicom.moment import Moment, day_of, seconds_of, zone_of

PET = "1.2.840.10008.5.1.4.1.1.128"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1")
"""Enhanced PET and legacy converted enhanced PET: many images in one file."""
_IDENTIFYING = ["Modality", "SOPClassUID", "SeriesInstanceUID"]
_TAGS = [
    *_IDENTIFYING,
    *("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "TimezoneOffsetFromUTC"),
    *("SeriesType", "Units", "SUVType", "DecayCorrection", "CorrectedImage", "PatientWeight"),
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "RescaleSlope", "RescaleIntercept"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness"),
    *("ImageIndex", "NumberOfSlices", "NumberOfTimeSlices"),
    *("FrameReferenceTime", "ActualFrameDuration", "DecayFactor"),
    "RadiopharmaceuticalInformationSequence",
]
_START = "RadiopharmaceuticalStartDateTime"


_INFLATED_COPIES = 3
"""Growth of a deflated data set in memory while pydicom reads it (measured)."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Drug:
    """One item of RadiopharmaceuticalInformationSequence.

    Attributes:
        half_life: s, or None.
        nuclide: Half-life of the nuclide that is named, s, or None.
        dose: Bq, or None.
        start: Of the administration, or None.
    """

    half_life: float | None
    nuclide: float | None
    dose: float | None
    start: Moment | None


@dataclass(frozen=True, kw_only=True, repr=False)
class ImageHeader:
    """What one image of a PET series says of itself; None where it does not.

    ``repr`` shows nothing. Times are in s, lengths in mm, weight in kg; codes are in capitals.
    """

    path: Path
    transfer_syntax: str
    sop_class: str
    series: str
    series_start: Moment | None
    acquired: Moment | None
    series_type: str
    units: str
    suv_type: str
    decay_correction: str
    corrections: frozenset[str]
    rows: int
    columns: int
    slope: float | None
    intercept: float
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float | None
    image_index: int | None
    slices: int | None
    frames: int | None
    reference: float | None
    duration: float | None
    decay_factor: float | None
    drugs: tuple[Drug, ...]
    weight: float | None


def read_pet_headers(folder: Path, where: str) -> list[ImageHeader]:
    """The headers of all PET images below ``folder``; other DICOM objects are passed over.

    Files without the DICOM mark, and DICOMDIR, are not read.

    Raises:
        InputError: pydicom is not installed, or a DICOM file is damaged.
    """
    require_pydicom()
    try:
        if not folder.is_dir():
            raise InputError(
                f"{where}: there is no such folder", wanted="a folder, relative to the plan"
            )
        # A link to nothing is a file that should be there.
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    except OSError as error:  # too long a name, no permission: the text holds the path
        raise InputError(f"{where}: the folder cannot be read", got=error.strerror) from None
    paths = [
        path
        for number, path in enumerate(files, 1)
        if _is_dicom(path, f"{where}: file {number} of {len(files)} (by path)")
    ]
    headers = []
    for number, path in enumerate(paths, 1):
        header = _read_header(path, f"{where}: DICOM file {number} of {len(paths)} (by path)")
        if header is not None:
            headers.append(header)
    return headers


def require_pydicom() -> None:
    """Refuse in one line where the optional pydicom is absent.

    Raises:
        InputError: It is absent.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise InputError(
            "reading DICOM needs pydicom", hint="pip install 'dtsinn[dicom]'"
        ) from None


@contextlib.contextmanager
def silent_pydicom() -> Iterator[None]:
    """Keep pydicom from checking, warning and logging: it would quote the header."""
    import pydicom.pixels  # noqa: F401 (has loggers of its own)
    from pydicom.config import disable_value_validation

    def drop(record: logging.LogRecord) -> bool:
        return False

    # A filter holds for the records of its own logger alone, so every child gets it too.
    names = [name for name in logging.root.manager.loggerDict if name.startswith("pydicom")]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


def read_tags(file: BinaryIO, tags: list[str], where: str, *, pixels: bool) -> Any:
    """Those tags of a DICOM file, as a pydicom data set.

    pydicom inflates a deflated data set whole, whatever comes of it: its size is counted first.

    Args:
        file: At its start; afterwards behind what was read.
        tags: What is parsed.
        where: What the file is, for messages.
        pixels: Whether reading goes on to the pixels.

    Raises:
        InputError: The file would need more memory than is allowed.
        Exception: What pydicom raises on foreign bytes.
    """
    from pydicom.filereader import _read_file_meta_info, dcmread, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    read_preamble(file, force=False)
    if _read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        held = os.fstat(file.fileno()).st_size
        size = inflated_size(file, most_memory(held) // _INFLATED_COPIES, -zlib.MAX_WBITS)
        refuse_more(where, _INFLATED_COPIES * size, held)
    file.seek(0)
    return dcmread(file, stop_before_pixels=not pixels, specific_tags=list(tags))


def _is_dicom(path: Path, where: str) -> bool:
    if path.name.upper() == "DICOMDIR":
        return False
    try:
        with open_file(path) as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise InputError(f"{where} cannot be read", got=error.strerror) from None


def _read_header(path: Path, where: str) -> ImageHeader | None:
    """The header of a PET image, or None of another object."""
    with silent_pydicom():
        try:
            with open_file(path) as file:
                data = read_tags(file, _TAGS, where, pixels=False)
                rest = os.fstat(file.fileno()).st_size - file.tell()
            promised = str(data.file_meta.get("MediaStorageSOPClassUID", ""))
            is_pet = _text(data, "Modality") == "PT"
            sop_class = _text(data, "SOPClassUID")
            is_short = rest < _least_pixel_bytes(data)
        except InputError:
            raise
        except Exception:  # foreign bytes: whatever the reader trips over
            raise _damage_error(where) from None
        # pydicom takes a file that ends inside its header for one that says no more.
        if not (promised or sop_class):
            raise _damage_error(where)
        if promised in (PET, *ENHANCED) and (is_short or not is_pet or sop_class != promised):
            raise InputError(f"{where} is cut short or damaged", hint="copy it again")
        if not is_pet or sop_class not in (PET, *ENHANCED):
            return None
        return _parse(path, data, where)


def _parse(path: Path, data: Any, where: str) -> ImageHeader:
    def number(tag: str) -> float | None:
        return _number(data, tag, where)

    def whole(tag: str) -> int | None:
        value = _number(data, tag, where)
        return None if value is None else int(value)

    milliseconds = [number("FrameReferenceTime"), number("ActualFrameDuration")]
    reference, duration = (None if ms is None else ms / 1000 for ms in milliseconds)
    return ImageHeader(
        path=path,
        transfer_syntax=str(getattr(data.file_meta, "TransferSyntaxUID", "")),
        sop_class=_text(data, "SOPClassUID"),
        series=_text(data, "SeriesInstanceUID"),
        series_start=_moment(data, "SeriesDate", "SeriesTime", where),
        acquired=_moment(data, "AcquisitionDate", "AcquisitionTime", where),
        series_type=_text(data, "SeriesType").split("\\")[0],
        units=_text(data, "Units"),
        suv_type=_text(data, "SUVType"),
        decay_correction=_text(data, "DecayCorrection"),
        corrections=frozenset(_text(data, "CorrectedImage").split("\\")),
        rows=whole("Rows") or 0,
        columns=whole("Columns") or 0,
        slope=number("RescaleSlope"),
        intercept=number("RescaleIntercept") or 0.0,
        orientation=_numbers(data, "ImageOrientationPatient", where),
        position=_numbers(data, "ImagePositionPatient", where),
        spacing=_numbers(data, "PixelSpacing", where),
        thickness=number("SliceThickness"),
        image_index=whole("ImageIndex"),
        slices=whole("NumberOfSlices"),
        frames=whole("NumberOfTimeSlices"),
        reference=reference,
        duration=duration,
        decay_factor=number("DecayFactor"),
        drugs=tuple(
            Drug(
                half_life=_number(item, "RadionuclideHalfLife", where),
                nuclide=_nuclide(item),
                dose=_number(item, "RadionuclideTotalDose", where),
                start=_administration(item, _text(data, "TimezoneOffsetFromUTC"), where),
            )
            for item in data.get("RadiopharmaceuticalInformationSequence") or ()
        ),
        weight=number("PatientWeight"),
    )


def _least_pixel_bytes(data: Any) -> int:
    """How many bytes must follow the header, as far as it tells: tag, length and pixels."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    syntax = data.file_meta.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian or not syntax.is_transfer_syntax:
        return 0
    tag = 8 if syntax.is_implicit_VR else 12
    if syntax.is_encapsulated:
        return tag
    values = [data.get(name) or 0 for name in ("Rows", "Columns", "BitsAllocated")]
    return tag + math.prod(values) // 8


def _text(data: Any, tag: str) -> str:
    """The value in capitals, several joined by backslashes as they are stored."""
    value = data.get(tag)
    if value is None:
        return ""
    parts = [value] if isinstance(value, str) else value
    return "\\".join(str(part).strip() for part in parts).upper()


def _numbers(data: Any, tag: str, where: str) -> tuple[float, ...]:
    try:
        value = data.get(tag)
        if value is None or value == "":
            return ()
        parts = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
        numbers = tuple(float(part) for part in parts)
    except Exception:
        raise _unreadable(where, tag) from None
    if not all(math.isfinite(number) for number in numbers):
        raise _unreadable(where, tag)
    return numbers


def _number(data: Any, tag: str, where: str) -> float | None:
    numbers = _numbers(data, tag, where)
    if len(numbers) > 1:
        raise _unreadable(where, tag)
    return numbers[0] if numbers else None


def _moment(data: Any, date_tag: str, time_tag: str, where: str) -> Moment | None:
    """Date and time of two tags: DA is YYYYMMDD, TM is HHMMSS.FFFFFF, from the right optional."""
    date, time = _text(data, date_tag), _text(data, time_tag)
    if not time:
        return None
    return Moment(
        day=day_of(date, f"{where}: {date_tag}") if date else None,
        seconds=seconds_of(time, f"{where}: {time_tag}"),
    )


def _nuclide(item: Any) -> float | None:
    """Half-life of the nuclide in RadionuclideCodeSequence, such as ``^18^Fluorine``, s."""
    codes = list(item.get("RadionuclideCodeSequence") or [])
    return isotope_half_life(_text(codes[0], "CodeMeaning")) if len(codes) == 1 else None


def _administration(item: Any, zone: str, where: str) -> Moment | None:
    """RadiopharmaceuticalStartDateTime, or the older RadiopharmaceuticalStartTime.

    An offset from UTC behind a DT counts where TimezoneOffsetFromUTC, ``zone``, says that of the
    other times; without it, all local times of one scan are taken to share it.
    """
    text = _text(item, _START)
    stamp = re.split(r"[+-]", text)[0]
    if len(stamp) > 8:
        what = f"{where}: {_START}"
        start = Moment(day=day_of(stamp[:8], what), seconds=seconds_of(stamp[8:], what))
        if zone and stamp != text:
            start = start.later(zone_of(zone, where) - zone_of(text.removeprefix(stamp), what))
        return start
    time = _text(item, "RadiopharmaceuticalStartTime")
    if not time:
        return None
    return Moment(day=None, seconds=seconds_of(time, f"{where}: RadiopharmaceuticalStartTime"))


def _damage_error(where: str) -> InputError:
    return InputError(f"{where} is damaged", hint="copy it again")


def _unreadable(where: str, tag: str) -> InputError:
    return InputError(f"{where}: {tag} cannot be read")
