"""A dynamic PET scan as it was reconstructed: one tracer or a mixture, whatever its file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.importers.files import Stamp

Vector = tuple[float, float, float]
Affine = tuple[tuple[float, ...], ...]
"""[4, 4] from voxels of a file to RAS, mm."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan in the words of the store: headers read and checked, images on demand.

    Attributes:
        frame_start: [T] s from the time zero of the scan, contiguous; the first need not be 0.
        frame_duration: [T] s.
        injection_time: s on the same clock, or None where the header does not say; of a mixture,
            what the header says, which knows one injection.
        half_life: s, or None where the header names no radionuclide.
        size: Slices Z, rows Y, columns X.
        voxel_size: Along z, y and x, mm.
        slice_position: [Z] mm, ascending from feet to head.
        origin: x, y, z of the first voxel's centre in the store's orientation, mm, RAS; two
            scans are registered when size, voxel size, origin and axes agree.
        read_slices: From a slice range, [S, T, Y, X] kBq/mL, frame-averaged, **not**
            decay-corrected, in the store's orientation (rows front to back, columns along RAS x).
        axes: Unit vectors, RAS, along columns, against rows (back to front) and along slices:
            x, y and z but for a small tilt of the grid.
        decay_corrected: Whether the images of the file were, before reading undid it; None where
            the importer does not say.
        affine: Of the file's own grid; None where it has none but the store's orientation.
        stamps: Size and time of change of its files.
        given: Body weight in kg and dose in MBq, each None where it is not known.
        administered: Half-life in s and time of injection, s on the scan's clock, of each tracer
            that the header lists, by its order.
    """

    frame_start: tuple[float, ...]
    frame_duration: tuple[float, ...]
    injection_time: float | None
    half_life: float | None
    size: tuple[int, int, int]
    voxel_size: Vector
    slice_position: tuple[float, ...]
    origin: Vector
    read_slices: Callable[[slice], npt.NDArray[np.floating[Any]]]
    axes: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    decay_corrected: bool | None = None
    affine: Affine | None = None
    stamps: tuple[Stamp, ...] = field(default=(), compare=False, repr=False)
    given: tuple[float | None, float | None] = (None, None)
    administered: tuple[tuple[float | None, float | None], ...] = ()
