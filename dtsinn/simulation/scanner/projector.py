"""Parallel-beam projector of square images: a sparse system matrix and its exact transpose.

Shape letters: P pixel (row by row), V view, L line of response (view by view, bin by bin),
C column: images or frames side by side.
"""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import torch
from scipy import sparse

from dtsinn.simulation.anatomy.fields import blur_matrix, pixel_centres
from dtsinn.simulation.input_function import FloatArray

NEGLIGIBLE = 1e-8
"""Weight of a Gaussian relative to its top below which it changes no float32 sum."""

ROUNDING = 1e-12
"""Share of a pixel below which it misses an LOR: differences of areas leave such crumbs."""


class SparseMatrix:
    """A constant matrix in compressed rows, to multiply dense columns by.

    On a CPU every element of a product is summed in the order of the row: it depends neither on
    the number of threads nor on the other columns.
    """

    def __init__(self, matrix: sparse.csr_array, device: str, dtype: torch.dtype) -> None:
        rows = sparse.csr_array(matrix)
        with warnings.catch_warnings():  # only the interface is beta: the product is tested
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            self._matrix = torch.sparse_csr_tensor(
                torch.from_numpy(rows.indptr.astype(np.int32)),
                torch.from_numpy(rows.indices.astype(np.int32)),
                torch.from_numpy(rows.data).to(dtype),
                size=rows.shape,
                device=device,
                check_invariants=False,  # torch wants a word on it; scipy has kept them
            )

    def __matmul__(self, columns: torch.Tensor) -> torch.Tensor:
        return self._matrix @ columns


class Projector:
    """Projects images along parallel LORs and back again.

    An element of the matrix is the area that a pixel shares with the strip of an LOR over the
    strip's width, mm: the line integral averaged over the bin, exactly. The bins of a view are
    centred and reach over the image's diagonal, so that no activity is lost.

    Args:
        size: Pixels along each edge of the image.
        pixel_mm: Edge of a pixel.
        bin_width_mm: Distance of neighbouring LORs.
        angles_V: Directions of the views, rad; the bins of view 0 count along x.
        device: As torch names it.
        dtype: Of images and projections.
    """

    def __init__(
        self,
        size: int,
        pixel_mm: float,
        bin_width_mm: float,
        angles_V: FloatArray,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.bins = covering_bins(size, pixel_mm, bin_width_mm)
        self.lines = len(angles_V) * self.bins
        views = [_view(size, pixel_mm, bin_width_mm, self.bins, angle) for angle in angles_V]
        matrix = sparse.csr_array(sparse.vstack(views, format="csr"))
        self._forward = SparseMatrix(matrix, device, dtype)
        # The transpose is kept in compressed rows too: columns are slow to multiply by.
        self._back = SparseMatrix(sparse.csr_array(matrix.T.tocsr()), device, dtype)

    def forward(self, image_PC: torch.Tensor) -> torch.Tensor:
        """[L, C] integrals along the LORs, in the image's unit times mm."""
        return self._forward @ image_PC

    def back(self, sinogram_LC: torch.Tensor) -> torch.Tensor:
        """[P, C] the transpose of :meth:`forward`."""
        return self._back @ sinogram_LC


def view_angles(angles: int) -> FloatArray:
    """[V] directions of evenly spaced views over 180 degrees, rad, ascending from 0."""
    return np.asarray(np.arange(angles) * (math.pi / angles))


def covering_bins(size: int, pixel_mm: float, bin_width_mm: float) -> int:
    """The odd number of centred bins that reach over the diagonal of a square image."""
    half = size * pixel_mm / math.sqrt(2.0)
    return 2 * max(math.ceil(half / bin_width_mm - 0.5), 0) + 1


@functools.lru_cache(maxsize=16)
def gaussian(size: int, pixel_mm: float, fwhm_mm: float, device: str) -> SparseMatrix:
    """[size, size] Gaussian filter along one axis, without weights that float32 cannot see."""
    matrix = blur_matrix(size, pixel_mm, fwhm_mm)
    visible = matrix > NEGLIGIBLE * matrix.max()
    return SparseMatrix(sparse.csr_array(matrix * visible), device, torch.float32)


def _view(
    size: int, pixel_mm: float, bin_width_mm: float, bins: int, angle: float
) -> sparse.csr_array:
    """[bins, P] one view: how the trapezoids that pixels cast fall upon the bins."""
    cos, sin = math.cos(angle), math.sin(angle)
    centres = pixel_centres(size, size * pixel_mm)
    position = (centres[:, None] * sin + centres[None, :] * cos).ravel()
    wide = pixel_mm * max(abs(cos), abs(sin))
    narrow = pixel_mm * min(abs(cos), abs(sin))
    half = (wide + narrow) / 2.0
    first = np.floor((position - half) / bin_width_mm + bins / 2.0).astype(np.int64)
    touched = math.ceil(2.0 * half / bin_width_mm) + 1
    edges = (first[:, None] + np.arange(touched + 1) - bins / 2.0) * bin_width_mm
    share = np.diff(_trapezoid_below(edges - position[:, None], wide, narrow), axis=1)
    row = first[:, None] + np.arange(touched)
    column = np.broadcast_to(np.arange(size * size)[:, None], row.shape)
    hit = share > ROUNDING
    weights = share[hit] * (pixel_mm**2 / bin_width_mm)
    return sparse.csr_array((weights, (row[hit], column[hit])), shape=(bins, size * size))


def _trapezoid_below(at: FloatArray, wide: float, narrow: float) -> FloatArray:
    """Share of a trapezoid's area left of ``at``: a box of one width convolved with another."""
    return (_ramp(at + wide / 2.0, narrow) - _ramp(at - wide / 2.0, narrow)) / wide


def _ramp(at: FloatArray, width: float) -> FloatArray:
    """Integral from -inf of the share of a centred box that lies left; stays exact at width 0."""
    inside = np.clip(at, -width / 2.0, width / 2.0) + width / 2.0
    bend = inside * inside / (2.0 * width) if width > 0.0 else 0.0
    return np.asarray(bend + np.maximum(at - width / 2.0, 0.0))
