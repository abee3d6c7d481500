"""Dynamic PET series in DICOM: headers checked when opened, images read by slices.

Messages tell frames and slices, and the place in the user's plan. No name, identifier, date, free
text or file name of a header enters them, or the scan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import open_file, refuse_more
from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import check_half_life, check_times, check_voxels, usable_dose
from dtsinn.importers.activity import merge_given
from dtsinn.importers.decay import refuse_other_nuclide
from dtsinn.importers.dicom.activity import Injected, Quantity, header_dose, is_corrected, scaling
from dtsinn.importers.dicom.clock import (
    header_half_life,
    injection_on,
    read_administrations,
    series_clock,
)
from dtsinn.importers.dicom.header import ImageHeader, read_pet_headers, read_tags, silent_pydicom
from dtsinn.importers.dicom.series import Series, arrange, image_name, require_shared, series_grid
from dtsinn.importers.files import BYTES_OF_NUMBER, read_stamps, refuse_passing
from dtsinn.importers.grid import Grid
from dtsinn.importers.scan import Scan

_PIXEL_TAGS = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
]


def open_dicom(
    folder: Path,
    where: str,
    *,
    half_life: float | None = None,
    longest_half_life: float | None = None,
    injection_time: float | None = None,
    quantity: Quantity | None = None,
    accepted: frozenset[str] = frozenset(),
    by_slices: bool = False,
) -> Scan:
    """Open the one dynamic PET series below a folder.

    Only headers are read. Time zero of the scan is the start of its first frame.

    Args:
        folder: Searched with all its subfolders; other modalities in it are passed over.
        where: Its place in the user's plan, for messages.
        half_life: With which the scanner decay-corrected, s; wins over the header.
        longest_half_life: Of the tracers in the scan, s; by default that half-life.
        injection_time: s from the start of the first frame; wins over the header.
        quantity: Body weight and dose, for images in SUV; wins over the header.
        accepted: What the user's plan says yes to of what is unusual.
        by_slices: It is never read whole, so that a slice alone has to fit into memory.

    Returns:
        The scan; ``half_life`` and ``injection_time`` are None where neither the caller nor the
        header says them.

    Raises:
        InputError: There is no such series or several, an image is missing, stands twice or is
            damaged, or the header contradicts itself or is not what dtsinn reads.
    """
    series = arrange(read_pet_headers(folder, where), where)
    _check_decoder(series)
    grid = series_grid(series)
    check_voxels(f"{where}: voxel size", grid.voxel_size, accepted)
    files = read_stamps((header.path for header in series.all), where)
    voxels = math.prod(grid.size[1:] if by_slices else grid.size) * grid.frames
    refuse_more(where, voxels * BYTES_OF_NUMBER, sum(size for size, _ in files))
    used = header_half_life(series) if half_life is None else half_life
    if used is not None:
        check_half_life(f"{where}: half-life", used, accepted)
    if half_life is None:
        _refuse_other_nuclides(series)
    clock = series_clock(series, used)
    longest = longest_half_life or used
    check_times(where, clock.frames.duration, accepted=accepted, half_life=longest)
    injection = injection_time
    if injection is None:
        injection = injection_on(clock, series, used)
    planned = quantity or Quantity()
    weight_kg, dose_MBq = merge_given(
        (planned.weight_kg, planned.dose_MBq), header_dose(series), accepted, where
    )
    injected = Injected(
        half_life=used,
        time=injection,
        weight_kg=weight_kg,
        dose_MBq=dose_MBq,
        accepted=accepted,
    )
    slope_TZ, intercept_TZ = scaling(series, clock, injected)
    return Scan(
        frame_start=clock.frames.start,
        frame_duration=clock.frames.duration,
        injection_time=injection,
        half_life=used,
        size=grid.size,
        voxel_size=grid.voxel_size,
        slice_position=grid.slice_position,
        origin=grid.origin,
        axes=grid.axes,
        decay_corrected=is_corrected(series),
        read_slices=_Reader(series, grid, slope_TZ, intercept_TZ),
        stamps=files,
        given=usable_dose(weight_kg, dose_MBq, accepted),
        administered=read_administrations(series, clock),
    )


def _refuse_other_nuclides(series: Series) -> None:
    """Refuse a radiopharmaceutical whose half-life is not that of the nuclide that it names."""
    for drug in require_shared(series, lambda header: header.drugs, "radiopharmaceutical"):
        if drug.half_life is not None and drug.nuclide is not None:
            refuse_other_nuclide(series.where, drug.half_life, [drug.nuclide])


@dataclass(frozen=True, repr=False)
class _Reader:
    """Reads slices of a series; its repr shows no file."""

    series: Series
    grid: Grid
    slope_TZ: npt.NDArray[np.float64]
    intercept_TZ: npt.NDArray[np.float64]

    def __call__(self, which: slice) -> npt.NDArray[np.floating[Any]]:
        """[S, T, Y, X] kBq/mL of a range of slices, ascending from the feet."""
        slices = range(self.series.slices)[which]
        _, Y, X = self.grid.size
        images_STYX = np.empty((len(slices), self.series.frames, Y, X), dtype=np.float32)
        # Along RAS x, and from the front (high y) to the back.
        turn_x = int(self.grid.orientation[0, 1])
        turn_y = -int(self.grid.orientation[1, 1])
        for number, z in enumerate(slices):
            for frame in range(self.series.frames):
                stored_YX = self._read_stored(frame, z)[::turn_y, ::turn_x]
                images_STYX[number, frame] = (
                    stored_YX * self.slope_TZ[frame, z] + self.intercept_TZ[frame, z]
                )
        return images_STYX

    def _read_stored(self, frame: int, z: int) -> npt.NDArray[Any]:
        header = self.series.images[frame][z]
        what = f"{self.series.where}: {image_name(frame, z)}"
        with silent_pydicom():
            try:
                with open_file(header.path) as file:
                    data = read_tags(file, _PIXEL_TAGS, what, pixels=True)
                _check_pixels(data, header, what)
                stored = data.pixel_array
            except InputError:
                raise
            except Exception as error:  # foreign bytes: whatever the reader trips over
                refuse_passing(what, error)
                raise InputError(f"{what} is damaged", hint="copy it again") from None
        return np.asarray(stored, dtype=np.float64)


def _check_pixels(data: Any, header: ImageHeader, what: str) -> None:
    """Refuse pixels of another size than the header gave at first, before they are made."""
    size = [data.get("NumberOfFrames") or 1, data.get("Rows"), data.get("Columns")]
    size.append(data.get("SamplesPerPixel") or 1)
    if size != [1, header.rows, header.columns, 1]:
        raise InputError(
            f"{what}: pixels",
            got=" x ".join(str(number) for number in size if number != 1),
            wanted=f"{header.rows} x {header.columns}",
        )


def _check_decoder(series: Series) -> None:
    """Refuse at once what could not be decompressed later."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = require_shared(series, lambda header: header.transfer_syntax, "TransferSyntaxUID")
    try:
        available = get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        available = False
    if not available:
        raise InputError(
            f"{series.where}: the images are compressed in a way that no installed decoder reads",
            wanted="uncompressed DICOM",
            hint="an uncompressed export, or pip install pylibjpeg[all]",
        )
