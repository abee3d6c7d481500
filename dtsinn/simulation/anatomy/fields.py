"""Smooth random fields and blurs on regular grids, as products of one matrix per axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dtsinn.simulation.input_function import FloatArray

Float32Array = NDArray[np.float32]

COARSE = 0.8
"""Pixels above this part of a Gaussian's full width do not sample it: the width of a sampled one
is right to 2 % at 0.7, and 17 % short at 0.96 (measured)."""
HEAD_MM = 150.0
"""Half extent of the lattice that carries random fields, mm: more than any head."""


def sigma_of(fwhm: float) -> float:
    """Standard deviation of a Gaussian of full width ``fwhm`` at half maximum."""
    return fwhm / (2.0 * math.sqrt(2.0 * math.log(2.0)))


def pixel_centres(size: int, field_of_view: float) -> FloatArray:
    """[size] centres of pixels over a centred field of view, in its unit, ascending."""
    steps = np.arange(size, dtype=np.float64) + 0.5
    return np.asarray(steps * (field_of_view / size) - field_of_view / 2.0)


def smooth_field(
    rng: np.random.Generator,
    components: int,
    axes: tuple[FloatArray, FloatArray, FloatArray],
    sigma: float,
    reach_mm: float = HEAD_MM,
) -> FloatArray:
    """Gaussian random fields of exactly unit variance everywhere, covariance e^(-d²/(4 sigma²)).

    Args:
        rng: Source of randomness; one call takes the same numbers whatever ``axes`` are.
        components: How many independent fields, C.
        axes: [Z], [Y], [X] coordinates at which the fields are wanted, mm, inside the lattice.
        sigma: Of the smoothing kernel, mm.
        reach_mm: Half extent of the lattice along each axis, mm. It must not depend on pixels or
            slices, so that a subject is the same at every image size.

    Returns:
        [C, Z, Y, X].
    """
    count = 2 * math.ceil(reach_mm / sigma) + 1
    field = rng.standard_normal((components, count, count, count))
    for axis, at in enumerate(axes, start=1):
        lattice = pixel_centres(count, count * sigma)
        weights = _kernel(at, lattice, sigma)
        weights /= np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
        field = np.moveaxis(np.tensordot(field, weights, axes=(axis, 1)), -1, axis)
    return field


def blur_matrix(size: int, pixel: float, fwhm: float) -> Float32Array:
    """[size, size] Gaussian blur along one axis; columns sum to 1, activity stays."""
    matrix = _pixel_kernel(size, pixel, fwhm)
    return np.asarray(matrix / matrix.sum(axis=0, keepdims=True), dtype=np.float32)


def axial_blur_matrix(slices: int, spacing: float, fwhm: float) -> Float32Array:
    """[slices, slices] Gaussian blur across slices; rows sum to 1.

    The body goes on beyond the first and the last slice, so that these keep their activity.
    """
    matrix = _pixel_kernel(slices, spacing, fwhm)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True), dtype=np.float32)


def noise_matrix(size: int, pixel: float, fwhm: float) -> Float32Array:
    """[size, size] Gaussian filter along one axis whose rows have unit norm.

    White noise of unit variance keeps exactly that variance, in the corners too.
    """
    matrix = _pixel_kernel(size, pixel, fwhm)
    norms = np.sqrt(np.square(matrix).sum(axis=1, keepdims=True))
    return np.asarray(matrix / norms, dtype=np.float32)


def _pixel_kernel(size: int, pixel: float, fwhm: float) -> FloatArray:
    """[size, size] Gaussian weights between pixels, of the stated width on coarse grids too.

    Sampled at the centres of pixels, a Gaussian about as narrow as these is all but a single 1.
    There the discrete Gaussian, e^(-v) I_n(v) at a distance of n pixels, has exactly the variance
    v (Lindeberg 1990).
    """
    sigma = sigma_of(fwhm) / pixel
    if pixel > COARSE * fwhm:
        from scipy.special import ive  # here: most grids are fine

        distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        return np.asarray(ive(distance, sigma**2))
    centres = pixel_centres(size, float(size))
    return _kernel(centres, centres, sigma)


def _kernel(at: FloatArray, source: FloatArray, sigma: float) -> FloatArray:
    return np.asarray(np.exp(-np.square((at[:, None] - source[None, :]) / sigma) / 2.0))
