"""Where the voxels of a scan's own file lie, and images written there through the store's axes.

Axes letters: S slice from the feet to the head, T frame, Y row from front to back, X column along
RAS x, as everywhere in dtsinn; F the file's own axes in space.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, io_orientation

from dtsinn.importers.grid import affine_of, shape_of
from dtsinn.importers.scan import Scan

FloatArray = npt.NDArray[np.float64]
_TEXTS = ("descrip", "aux_file", "intent_name", "db_name")
"""Fields of a header that hold free text, and with it a name at times."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Space:
    """The grid of a file.

    Attributes:
        shape: Lengths of the file's three axes in space.
        affine: [4, 4] from voxel to RAS, mm.
        orientation: [3, 2] as nibabel's: axis of RAS, and direction, for each axis of the file.
        header: Of the file, whose fields of space are kept; None where it is no NIfTI.
        placed: Whether the file says where the grid lies: a bare array does not.
    """

    shape: tuple[int, int, int]
    affine: FloatArray
    orientation: npt.NDArray[Any]
    header: Any = None
    placed: bool = True

    def view(self, stored_F: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array [F, F, F, T] of the file as [S, T, Y, X]: the same memory, not a copy."""
        ras_XYST = apply_orientation(stored_F, self.orientation)  # type: ignore[no-untyped-call]
        return np.asarray(ras_XYST.transpose(2, 3, 1, 0)[:, :, ::-1])

    def header_bytes(self, frames: int, dtype: str, slope: float) -> bytes:
        """The NIfTI header of images on this grid, up to the first voxel; little-endian.

        Args:
            frames: How many.
            dtype: Of the voxels.
            slope: Of one stored unit.
        """
        new: Any = nibabel.Nifti1Header
        header = new() if self.header is None else self.header.as_byteswapped("<")
        header.extensions.clear()  # they may hold anything
        for name in _TEXTS:
            if name in header:
                header[name] = b""
        header.set_data_dtype(dtype)
        header.set_data_shape((*self.shape, frames))
        if self.header is None:
            header.set_qform(self.affine, code=1)
            header.set_sform(self.affine, code=1)
        header.set_xyzt_units("mm", "sec")
        header["cal_max"] = header["cal_min"] = 0
        header.set_slope_inter(slope, 0)
        start = int(header["sizeof_hdr"]) + 4  # behind four bytes without extensions
        header.set_data_offset(start)
        text = io.BytesIO()
        header.write_to(text)
        return text.getvalue().ljust(start, b"\x00")


def space_of(scan: Scan) -> Space:
    """The grid of a scan's file; of one without its own a RAS grid."""
    affine = np.array(affine_of(scan))
    return Space(
        shape=shape_of(affine, scan.size),
        affine=affine,
        orientation=io_orientation(affine),  # type: ignore[no-untyped-call]
    )
