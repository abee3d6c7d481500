"""A dynamic PET series: its images in a grid of frames and slices, and where these lie.

Axis letters: T frame, Z slice (ascending from feet to head). Frames and slices count from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import DAY_S
from dtsinn.importers.dicom.header import ENHANCED, ImageHeader
from dtsinn.importers.dicom.moment import Moment
from dtsinn.importers.files import MOST_VOXELS
from dtsinn.importers.grid import Grid, grid_of

T = TypeVar("T")

SAME_PLACE_MM = 0.02
"""Up to which positions are one: vendors write them with two decimals (uncited)."""
SAME_DIRECTION = 1e-4
"""Up to which the cosines of two images are one: 0.05 mm over 500 mm (uncited)."""
SPACING_SHARE = 0.02
"""Up to which slice distances are equal, as a share of the distance (uncited)."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Series:
    """The images of one series, every frame and slice once.

    Attributes:
        images: [T][Z] headers.
        where: Place in the user's plan, for messages.
    """

    images: tuple[tuple[ImageHeader, ...], ...]
    where: str

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.images)

    @property
    def slices(self) -> int:
        """Number of slices Z."""
        return len(self.images[0])

    @property
    def all(self) -> list[ImageHeader]:
        """All headers, frame by frame."""
        return list(itertools.chain(*self.images))

    @property
    def first(self) -> list[ImageHeader]:
        """[T] of each frame one header, for what a frame's slices share."""
        return [frame[0] for frame in self.images]


def arrange(headers: Sequence[ImageHeader], where: str) -> Series:
    """Sort the images of one series by time and position.

    Neither file names nor InstanceNumber are trusted. ImageIndex, where it numbers the images at
    all, must tell the same frames. A time that is the same in all images tells no frames; times of
    day without dates begin after the longest pause, so that a scan may run past midnight.

    Raises:
        InputError: No series or several, another kind of series, or an image that is missing or
            stands twice.
    """
    _check_kind(headers, where)
    keys = _frame_keys(headers)
    frame_keys = sorted(set(keys))
    _need(headers, "orientation", "ImageOrientationPatient", 6, where)
    position = _need(headers, "position", "ImagePositionPatient", 3, where)
    height_N = position @ _normal(headers[0])
    heights = _distinct(np.sort(height_N))
    grid: dict[tuple[int, int], ImageHeader] = {}
    for header, key, height in zip(headers, keys, height_N, strict=True):
        frame = frame_keys.index(key)
        place = frame, int(np.argmin(np.abs(heights - height)))
        if place in grid:
            raise InputError(
                f"{where}: {image_name(*place)} stands more than once",
                wanted="one image for each frame and slice",
            )
        grid[place] = header
    shape = len(frame_keys), len(heights)
    _check_counts(headers, shape, where)
    missing = [place for place in itertools.product(*map(range, shape)) if place not in grid]
    if missing:
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{where}: {image_name(*missing[0])} is missing{others}",
            wanted=f"{shape[0]} frames of {shape[1]} slices",
        )
    _check_image_index(grid, shape, where)
    images = tuple(tuple(grid[frame, z] for z in range(shape[1])) for frame in range(shape[0]))
    return Series(images=images, where=where)


def require_shared(series: Series, get: Callable[[ImageHeader], T], tag: str) -> T:
    """What all images of a series must say alike.

    Raises:
        InputError: They do not.
    """
    values = {get(header) for header in series.all}
    if len(values) > 1:
        raise InputError(
            f"{series.where}: {tag} differs between the images",
            got=f"{len(values)} values",
            wanted="one",
        )
    return values.pop()


def series_grid(series: Series) -> Grid:
    """Where the voxels of a series lie, by the rules of :func:`grid_of`.

    DICOM's patient coordinates are LPS: x to the left, y to the back, z to the head.

    Returns:
        The grid of an array [X, Y, Z, T] of stored columns, stored rows, slices from the feet
        and frames; its axes keep this order.

    Raises:
        InputError: The slices are not axial, not straight above each other or not evenly spaced.
    """
    where, headers = series.where, series.all
    rows = require_shared(series, lambda header: header.rows, "Rows")
    columns = require_shared(series, lambda header: header.columns, "Columns")
    if rows < 1 or columns < 1:
        raise InputError(f"{where}: Rows and Columns", got="none", wanted="the size of a slice")
    if rows * columns * series.slices > MOST_VOXELS:
        raise InputError(
            f"{where}: size of a frame",
            got=f"{rows} x {columns} x {series.slices}",
            wanted=f"at most {MOST_VOXELS} voxels",
        )
    spacing = _need(headers, "spacing", "PixelSpacing", 2, where)
    if spacing.min() <= 0 or np.ptp(spacing, axis=0).max() > SAME_PLACE_MM / max(rows, columns):
        raise InputError(f"{where}: PixelSpacing", wanted="one for all images, above 0 mm")
    directions = _need(headers, "orientation", "ImageOrientationPatient", 6, where)
    if np.ptp(directions, axis=0).max() > SAME_DIRECTION:
        raise InputError(f"{where}: ImageOrientationPatient differs between the images")
    position = _need(headers, "position", "ImagePositionPatient", 3, where)
    normal = _normal(headers[0])
    height = position @ normal
    sideways = np.ptp(position - height[:, None] * normal, axis=0).max()
    if sideways > SAME_PLACE_MM:
        raise InputError(
            f"{where}: slices lie beside each other",
            got=f"{sideways:.2f} mm apart across the axis",
            wanted="slices straight above each other, the same in every frame",
        )
    distance = _slice_distance(height[: series.slices], headers[0].thickness, where)
    lps = np.eye(4)
    lps[:3, 0] = directions[0, :3] * spacing[0, 1]  # along a row, from column to column
    lps[:3, 1] = directions[0, 3:] * spacing[0, 0]
    lps[:3, 2] = normal * distance
    lps[:3, 3] = position[0]
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    grid = grid_of(ras, (columns, rows, series.slices, series.frames), where)
    if list(grid.orientation[:, 0]) != [0, 1, 2]:
        raise InputError(
            f"{where}: slices are not axial",
            wanted="ImageOrientationPatient near 1, 0, 0, 0, 1, 0",
            hint="a reconstruction in axial slices",
        )
    return grid


def _check_kind(headers: Sequence[ImageHeader], where: str) -> None:
    if not headers:
        raise InputError(
            f"{where}: no PET image in the folder",
            wanted="DICOM files of Modality PT (files without the DICM mark are not read)",
        )
    series = len({header.series for header in headers})
    if series > 1:
        raise InputError(
            f"{where}: several PET series in the folder", got=series, wanted="one series a folder"
        )
    if any(header.sop_class in ENHANCED for header in headers):
        raise InputError(
            f"{where}: enhanced multi-frame PET is not supported",
            wanted="classic PET images, one file for each frame and slice",
            hint="an export as classic DICOM",
        )
    known = ("STATIC", "DYNAMIC", "GATED", "WHOLE BODY")
    for kind in sorted({header.series_type for header in headers} - {"", "DYNAMIC"}):
        raise InputError(
            f"{where}: SeriesType",
            got=known_code(kind, known),
            wanted="DYNAMIC",
            hint="another series",
        )


def image_name(frame: int, z: int) -> str:
    """How messages name an image; frames and slices count from 0."""
    return f"frame {frame}, slice {z} from the feet (both from 0)"


def known_code(value: str, known: Sequence[str]) -> str:
    """A code of a header for a message: free text in its place is not repeated."""
    return value if value in known else "nothing" if not value else "an unknown value"


def _frame_keys(headers: Sequence[ImageHeader]) -> list[tuple[float, float]]:
    """[N] what orders frames: FrameReferenceTime, then the moment of the acquisition."""
    references = [-np.inf if h.reference is None else h.reference for h in headers]
    elapsed = time_line([header.acquired for header in headers])
    keys = list(zip(references, elapsed, strict=True))
    indices = [header.image_index or 0 for header in headers]
    slices = headers[0].slices or 0
    numbered = sorted(indices) == list(range(1, len(headers) + 1))
    if len(set(keys)) == 1 and numbered and slices > 0 and len(headers) % slices == 0:
        return [(float((index - 1) // slices), 0.0) for index in indices]
    return keys


def time_line(moments: Sequence[Moment | None]) -> list[float]:
    """[N] s that order moments; -1 for none.

    Days count where all are said and they are not all one: a date may have been left as it was
    when a scan ran past midnight. Else the times of day begin after their longest pause.
    """
    known = [moment for moment in moments if moment is not None]
    if len({moment.day for moment in known} - {None}) > 1 and all(
        moment.day is not None for moment in known
    ):
        first = min(moment.day or 0 for moment in known)
        return [
            -1.0 if one is None else one.seconds + DAY_S * ((one.day or 0) - first)
            for one in moments
        ]
    times = sorted({moment.seconds for moment in known})
    pauses = np.diff([*times, times[0] + DAY_S]) if times else np.zeros(1)
    begin = times[(int(np.argmax(pauses)) + 1) % len(times)] if times else 0.0
    return [-1.0 if one is None else (one.seconds - begin) % DAY_S for one in moments]


def _need(
    headers: Sequence[ImageHeader], name: str, tag: str, length: int, where: str
) -> npt.NDArray[np.float64]:
    """[N, length] values of a tag that no image may lack."""
    values = [getattr(header, name) for header in headers]
    lacking = sum(len(value) != length for value in values)
    if lacking:
        raise InputError(
            f"{where}: {tag} is missing",
            got=f"{lacking} of {len(headers)} images without it",
            wanted=f"{length} numbers in each",
        )
    return np.array(values, dtype=np.float64)


def _distinct(ascending: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    starts = [ascending[0]]
    for value in ascending[1:]:
        if value - starts[-1] > SAME_PLACE_MM:
            starts.append(value)
    return np.array(starts)


def _check_counts(headers: Sequence[ImageHeader], shape: tuple[int, int], where: str) -> None:
    said_frames = {header.frames for header in headers if header.frames is not None}
    said_slices = {header.slices for header in headers if header.slices is not None}
    for tag, said, found, what in (
        ("NumberOfTimeSlices", said_frames, shape[0], "frames"),
        ("NumberOfSlices", said_slices, shape[1], "slices"),
    ):
        if said - {found}:
            wanted = " or ".join(str(count) for count in sorted(said - {found}))
            raise InputError(
                f"{where}: {what} of the series",
                got=f"{found} in the folder",
                wanted=f"{wanted} ({tag})",
                hint="copying the whole series",
            )


def _check_image_index(
    grid: dict[tuple[int, int], ImageHeader], shape: tuple[int, int], where: str
) -> None:
    """ImageIndex = frame x slices + slice + 1 (DICOM PS3.3 C.8.9.4.1.9)."""
    indices = {place: header.image_index for place, header in grid.items()}
    if sorted(index or 0 for index in indices.values()) != list(range(1, len(grid) + 1)):
        return  # some vendors leave it out, or number otherwise
    for (frame, z), index in sorted(indices.items()):
        said = ((index or 0) - 1) // shape[1]
        if said != frame:
            raise InputError(
                f"{where}: times and ImageIndex disagree on {image_name(frame, z)}",
                got=f"frame {said} by ImageIndex",
                wanted="one order of the frames",
            )


def _normal(header: ImageHeader) -> npt.NDArray[np.float64]:
    """Unit vector in LPS across the slices, towards the head."""
    across = np.cross(header.orientation[:3], header.orientation[3:])
    length = np.linalg.norm(across)
    if not np.isfinite(length) or length < 0.5:  # of unit vectors at right angles it is 1
        return np.array([0.0, 0.0, 1.0])  # grid_of refuses such directions
    return np.asarray(across / length * (1 if across[2] >= 0 else -1))


def _slice_distance(heights: npt.NDArray[np.float64], thickness: float | None, where: str) -> float:
    if len(heights) == 1:
        if thickness is None or thickness <= 0:
            raise InputError(f"{where}: SliceThickness is missing", wanted="mm, of the one slice")
        return thickness
    steps = np.diff(heights)
    typical = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - typical) > SPACING_SHARE * typical + SAME_PLACE_MM)
    if len(wrong):
        z = int(wrong[0])
        raise InputError(
            f"{where}: slices {z} and {z + 1} from the feet are not evenly spaced",
            got=f"{steps[z]:.2f} mm",
            wanted=f"{typical:.2f} mm, as between most slices",
            hint="copying the whole series",
        )
    return float((heights[-1] - heights[0]) / (len(heights) - 1))
