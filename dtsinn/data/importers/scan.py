"""A dynamic PET scan as it was reconstructed: one tracer or a mixture, whatever its file format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan in the words of the store: headers read and checked, images on demand.

    Attributes:
        frame_start: [T] s from the time zero of the scan, contiguous; the first need not be 0.
        frame_duration: [T] s.
        injection_time: s on the same clock, or None where the header does not say.
        half_life: s, or None where the header names no radionuclide.
        size: Slices Z, rows Y, columns X.
        voxel_size: Along z, y and x, mm.
        slice_position: [Z] mm, ascending from feet to head.
        origin: x, y, z of the first voxel's centre in the store's orientation, mm, RAS; two
            scans are registered when size, voxel size and origin agree.
        read_slices: From a slice range, [S, T, Y, X] kBq/mL, frame-averaged, **not**
            decay-corrected, in the store's orientation (rows front to back, columns along RAS x).
    """

    frame_start: tuple[float, ...]
    frame_duration: tuple[float, ...]
    injection_time: float | None
    half_life: float | None
    size: tuple[int, int, int]
    voxel_size: tuple[float, float, float]
    slice_position: tuple[float, ...]
    origin: tuple[float, float, float]
    read_slices: Callable[[slice], npt.NDArray[np.floating[Any]]]
