"""Images on disk: filled slice by slice through a map, then written as .nii.gz in one stream."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.separation.scan import reserve
from dtsinn.separation.space import Space

LEVEL = 1
"""Of gzip: noise is not made smaller by more (measured: 92.7 % by 1, 92.5 % by 6)."""
MOST_INTEGER = 32767
"""Of a 16-bit voxel."""


class Image:
    """A dynamic image in the making, float32 in kBq/mL, in the file's own axes.

    Only the slices at hand are in memory.

    Args:
        path: Of the raw voxels, which :meth:`write` removes.
        space: The file's grid.
        frames: How many.

    Raises:
        OSError: The disk has no room for it.
    """

    def __init__(self, path: Path, space: Space, frames: int) -> None:
        self._path, self._space, self.frames = path, space, frames
        self._largest = 0.0
        with path.open("wb") as file:
            reserve(file.fileno(), 4 * int(np.prod(space.shape)) * frames)

    def _view(self) -> npt.NDArray[np.float32]:
        """[S, T, Y, X] the file; its pages count as memory for as long as the view is held."""
        shape = (*self._space.shape, self.frames)
        return self._space.view(np.memmap(self._path, np.float32, "r+", shape=shape, order="F"))

    def fill(self, which: slice, images_STYX: npt.NDArray[Any]) -> None:
        """Put slices in their place."""
        self._largest = max(self._largest, float(images_STYX.max()), -float(images_STYX.min()))
        self._view()[which] = images_STYX

    def read(self, which: slice) -> npt.NDArray[np.float32]:
        """Slices [S, T, Y, X], kBq/mL."""
        return np.array(self._view()[which])

    def write(
        self,
        path: Path,
        *,
        unit: float,
        factor_T: npt.NDArray[np.float64],
        whole_numbers: bool,
    ) -> None:
        """Write it as ``path`` and remove what it was made in.

        Args:
            path: A ``.nii.gz`` file.
            unit: kBq/mL of one unit of the file.
            factor_T: By which frames are multiplied.
            whole_numbers: As 16-bit integers with a scale, else as float32.

        Raises:
            OSError: The disk is full.
        """
        slope = 1.0
        if whole_numbers and self._largest:
            slope = self._largest * float(factor_T.max()) / unit / MOST_INTEGER
        dtype = "<i2" if whole_numbers else "<f4"
        plane = self._space.shape[0] * self._space.shape[1]
        with (
            self._path.open("rb") as source,  # in the order of the file that is written
            path.open("wb") as packed,
            gzip.GzipFile("", "wb", LEVEL, packed, mtime=0) as target,
        ):
            target.write(self._space.header_bytes(self.frames, dtype[1:], slope))
            for factor in factor_T / unit / slope:
                for _ in range(self._space.shape[2]):
                    values = np.fromfile(source, np.float32, plane) * factor
                    values = np.rint(values) if whole_numbers else values
                    target.write(values.astype(dtype).tobytes())
        self._path.unlink()
