"""Grids of NIfTI and DICOM images: where voxels lie once the axes are the store's.

RAS means x to the right, y to the front, z to the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import inv_ornt_aff, io_orientation

from dtsinn.core.errors import InputError
from dtsinn.importers.scan import Affine, Scan, Vector

MOST_TILT_DEG = 10.0
"""Angle up to which the axes of a grid count as left-right, front-back and feet-head (uncited).

Heads lie in scanners tilted by more; the slices of a steeper grid are not axial."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the voxels of a file lie, in the store's orientation; as in :class:`.scan.Scan`."""

    orientation: npt.NDArray[Any]
    """[3, 2] as nibabel's: axis of RAS, and direction, for each axis of the file."""
    frames: int
    size: tuple[int, int, int]
    voxel_size: Vector
    slice_position: tuple[float, ...]
    origin: Vector
    axes: tuple[Vector, Vector, Vector]


def grid_of(affine: FloatArray, shape: tuple[int, ...], where: str) -> Grid:
    """The grid of a file whose first three axes are any three in space.

    Args:
        affine: [4, 4] from voxel to RAS, mm.
        shape: Of the file's array; the fourth axis is time.
        where: Place of the image in the plan, for messages.

    Raises:
        InputError: The axes are not at right angles, or not axial within :data:`MOST_TILT_DEG`.
    """
    orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)  # type: ignore[no-untyped-call]
    if not np.isfinite(orientation).all():
        raise InputError(f"{where}: affine", got="a singular matrix", wanted="three axes in space")
    # To which size and position the file's grid comes when its axes are sorted to x, y, z.
    sizes = [0, 0, 0]
    for axis, count in zip(orientation[:, 0].astype(int), shape[:3], strict=True):
        sizes[axis] = count
    ras = affine @ inv_ornt_aff(orientation, shape[:3])  # type: ignore[no-untyped-call]
    length = np.linalg.norm(ras[:3, :3], axis=0)
    axes = ras[:3, :3] / length
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise InputError(f"{where}: affine", got="axes that are not at right angles")
    tilt = math.degrees(math.acos(min(float(axes.diagonal().min()), 1.0)))
    if tilt > MOST_TILT_DEG:
        raise InputError(
            f"{where}: slices are not axial",
            got=f"axes tilted by {tilt:.1f} degrees",
            wanted=f"at most {MOST_TILT_DEG:g} degrees",
            hint="resampling it to an axial grid",
        )
    X, Y, Z = sizes
    middle = [ras @ [(X - 1) / 2, (Y - 1) / 2, k, 1.0] for k in range(Z)]
    return Grid(
        orientation=orientation,
        frames=shape[3],
        size=(Z, Y, X),
        voxel_size=(float(length[2]), float(length[1]), float(length[0])),
        slice_position=tuple(float(centre[2]) for centre in middle),
        origin=_vector(ras @ [0.0, Y - 1.0, 0.0, 1.0]),
        axes=(_vector(axes[:, 0]), _vector(axes[:, 1]), _vector(axes[:, 2])),
    )


def affine_of(scan: Scan) -> Affine:
    """The affine of a scan's file; of one in the store's orientation that of a RAS file.

    Rows of the store run from front to back, so that the second axis of that file is turned.
    """
    if scan.affine is not None:
        return scan.affine
    z, y, x = scan.voxel_size
    right, front, head = (np.array(axis) for axis in scan.axes)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([right * x, front * y, head * z], axis=1)
    affine[:3, 3] = np.array(scan.origin) - front * y * (scan.size[1] - 1)
    return tuple(map(tuple, affine.tolist()))


def shape_of(affine: FloatArray, size: tuple[int, int, int]) -> tuple[int, int, int]:
    """Lengths of the three axes of a file, whose slices, rows and columns are ``size``."""
    sizes = size[::-1]
    first, second, third = io_orientation(affine)[:, 0].astype(int)  # type: ignore[no-untyped-call]
    return sizes[first], sizes[second], sizes[third]


def _vector(values: FloatArray) -> Vector:
    return (float(values[0]), float(values[1]), float(values[2]))
