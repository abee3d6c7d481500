"""Rigid motion between the frames of a scan, in images without noise.

Shape letters: S slice, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import numpy as np

from dtsinn.simulation.anatomy.fields import Float32Array
from dtsinn.simulation.input_function import FloatArray, clipped_normal

AXES = 3
"""x, y and z."""


def draw_poses(
    rng: np.random.Generator, middle_T: FloatArray, end_s: float, sd: float
) -> FloatArray:
    """[T, 6] a subject's pose in each frame: rotation about x, y, z, degrees, and shift, mm.

    It drifts as a random walk in time from the pose in which it lay down, and lies still within a
    frame (a model; uncited).

    Args:
        rng: Source of randomness.
        middle_T: Middle of each frame, s.
        end_s: End of the scan, s.
        sd: Standard deviation of each number at the end, degrees and mm.
    """
    steps = np.sqrt(np.diff(middle_T, prepend=0.0) / end_s)
    walk = np.cumsum(steps[:, None] * clipped_normal(rng, (middle_T.size, 2 * AXES)), axis=0)
    return np.asarray(sd * walk)


def move_images(
    truth_SKTYX: Float32Array, poses: FloatArray, pixel_mm: float, slice_mm: float | None
) -> Float32Array:
    """Images of a subject that lies in another pose in each frame.

    Cubic splines between pixels; beyond the image its edge goes on, and what splines undershoot is
    cut at 0. A stack of contiguous slices moves in all directions. Slices that lie apart know
    nothing of what lies between them: each moves in its own plane, along x and y and about z.

    Args:
        truth_SKTYX: kBq/mL, without noise.
        poses: [T, 6] as :func:`draw_poses` gives them.
        pixel_mm: Edge of a pixel.
        slice_mm: Distance of contiguous slices; None where they lie apart.
    """
    from scipy.ndimage import map_coordinates  # here: most subjects lie still

    slices, size = len(truth_SKTYX), truth_SKTYX.shape[-1]
    depth = 1 if slice_mm is None else slices
    spacing = np.array([slice_mm or pixel_mm, pixel_mm, pixel_mm])
    # Pixels by z, y, x from the middle of the stack, about which it turns, in mm.
    shape = (depth, size, size)
    middle = (np.array(shape)[:, None] - 1.0) / 2.0
    grid_3N = (np.indices(shape).reshape(AXES, -1) - middle) * spacing[:, None]
    moved = np.empty_like(truth_SKTYX)
    for frame, pose in enumerate(poses):
        turn, shift = pose[:AXES].copy(), pose[AXES:].copy()
        if slice_mm is None:
            turn[:2] = shift[2] = 0.0
        back_3N = _rotation(turn).T @ (grid_3N - shift[::-1, None])
        index = (back_3N / spacing[:, None] + middle).reshape(AXES, *shape)
        for tracer in range(truth_SKTYX.shape[1]):
            for start in range(0, slices, depth):
                place = np.s_[start : start + depth, tracer, frame]
                moved[place] = map_coordinates(truth_SKTYX[place], index, order=3, mode="nearest")
    return np.maximum(moved, 0.0)


def _rotation(degrees: FloatArray) -> FloatArray:
    """[3, 3] rotation of z, y, x coordinates about x, then y, then z."""
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[np.cos(x), np.sin(x), 0], [-np.sin(x), np.cos(x), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[1, 0, 0], [0, np.cos(z), np.sin(z)], [0, -np.sin(z), np.cos(z)]])
    return np.asarray(about_z @ about_y @ about_x)
