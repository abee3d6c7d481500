"""Analytic geometry: how deep points lie inside simple bodies, and which share bodies have of them.

Depths are in mm, positive inside and negative outside; they are exact on the surface and right
to first order near it. Shape suffix: N point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.simulation.input_function import FloatArray

TINY = 1e-9
"""Keeps the centre of a body from dividing by zero."""

Path = tuple[tuple[float, float, float, float], ...]
"""Corners of a tube: x, y, z and radius at each, mm."""


@dataclass(frozen=True, kw_only=True)
class OrientedEllipsoid:
    """An ellipsoid whose first axis points anywhere.

    Attributes:
        centre: x, y, z, mm.
        radii: Along ``axis``; level and at right angles to it; along the third direction, mm.
        axis: Direction of the first radius, of any length, not straight up.
    """

    __pydantic_config__ = STRICT

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    axis: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def local(self, points_3N: FloatArray) -> FloatArray:
        """[3, N] coordinates along the three radii, mm from the centre."""
        along = np.array(self.axis) / np.linalg.norm(self.axis)
        level = np.array([-along[1], along[0], 0.0]) / np.hypot(along[0], along[1])
        frame = np.array([along, level, np.cross(along, level)])
        return np.asarray(frame @ (points_3N - np.array(self.centre)[:, None]))

    def depth(self, points_3N: FloatArray) -> FloatArray:
        """[N] depth of points, mm."""
        return ellipsoid_depth(self.local(points_3N), self.radii)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """An upright body whose axial cross-sections are superellipses |u|^n + |v|^n < 1.

    Attributes:
        z: Levels at which the cross-section is given, ascending, mm; linear in between.
        centre_x: Middle of the cross-section at each level, mm.
        centre_y: See above.
        half_width: Half of its extent along x, mm.
        half_depth: Half of its extent along y, mm.
        exponent: n; 2 is an ellipse, more is closer to a rectangle.
    """

    __pydantic_config__ = STRICT

    z: tuple[float, ...]
    centre_x: tuple[float, ...]
    centre_y: tuple[float, ...]
    half_width: tuple[float, ...]
    half_depth: tuple[float, ...]
    exponent: float

    def __post_init__(self) -> None:
        for name in ("centre_x", "centre_y", "half_width", "half_depth"):
            values = getattr(self, name)
            if len(values) != len(self.z):
                raise InputError(
                    f"outline: {name}", got=f"{len(values)} values", wanted=f"{len(self.z)}, as z"
                )
        if not all(low < high for low, high in zip(self.z, self.z[1:], strict=False)):
            raise InputError("outline: z", got=str(list(self.z)), wanted="ascending levels")

    def depth(self, points_3N: FloatArray) -> FloatArray:
        """[N] depth of points within their axial plane, mm; the end levels go on for ever."""
        x, y, z = points_3N
        cx, cy, width, half_depth = (
            np.interp(z, self.z, values)
            for values in (self.centre_x, self.centre_y, self.half_width, self.half_depth)
        )
        u, v = np.abs(x - cx) / width, np.abs(y - cy) / half_depth
        n = self.exponent
        steep_u, steep_v = u ** (n - 1.0), v ** (n - 1.0)
        power = np.maximum(u * steep_u + v * steep_v, TINY)
        rho = power ** (1.0 / n)
        gradient = np.hypot(steep_u / width, steep_v / half_depth) * rho / power
        return np.asarray((1.0 - rho) / np.maximum(gradient, TINY))


def ellipsoid_depth(local_3N: FloatArray, radii: Sequence[float]) -> FloatArray:
    """[N] depth of points inside an ellipsoid around the origin with its radii along the axes.

    The level ``1 - rho`` over the length of its gradient, times rho: exact for a sphere.
    """
    scale = np.array(radii)[:, None]
    rho = np.sqrt(np.square(local_3N / scale).sum(axis=0))
    steep = np.sqrt(np.square(local_3N / np.square(scale)).sum(axis=0))
    centre = rho < TINY
    ratio = np.divide(rho, steep, out=np.zeros_like(rho), where=~centre)
    return np.where(centre, min(radii), ratio * (1.0 - rho))


def tube_depth(points_3N: FloatArray, path: Path, swelling: float = 1.0) -> FloatArray:
    """[N] depth of points inside a round tube, mm.

    Args:
        points_3N: Points, mm.
        path: Corners of the tube; its radius changes evenly in between.
        swelling: Factor on all radii.
    """
    corners, radii = np.array(path)[:, :3], swelling * np.array(path)[:, 3]
    depth = np.full(points_3N.shape[1], -np.inf)
    for start, step, first, grows in zip(
        corners[:-1], np.diff(corners, axis=0), radii[:-1], np.diff(radii), strict=True
    ):
        offset = points_3N - start[:, None]
        along = np.clip(step @ offset / (step @ step), 0.0, 1.0)
        offset -= step[:, None] * along
        distance = np.sqrt(np.einsum("dn,dn->n", offset, offset))
        np.maximum(depth, first + grows * along - distance, out=depth)
    return depth


def coverage(depth: FloatArray, width: float) -> FloatArray:
    """Share of a cell of ``width`` mm around a point that lies inside, for a straight surface."""
    return np.clip(depth / width + 0.5, 0.0, 1.0)


def paint(coverages: Sequence[FloatArray]) -> list[FloatArray]:
    """Shares of layers, each of which takes its coverage of what those before it have left.

    Returns:
        One array more than came in, the last what nobody took: together they make 1.
    """
    shares = []
    left = np.ones_like(coverages[0])
    for one in coverages:
        shares.append(left * one)
        left = left - shares[-1]
    return [*shares, left]


def spread_levels(
    rng: np.random.Generator,
    lowest: tuple[float, float],
    highest: tuple[float, float],
    slices: int,
) -> FloatArray:
    """[slices] evenly spaced levels, ascending, mm; the ends of their range and offset are random.

    Args:
        rng: Source of randomness.
        lowest: Range from which the lower end is drawn, mm.
        highest: Range from which the upper end is drawn, mm.
        slices: How many.
    """
    low, high = rng.uniform(*lowest), rng.uniform(*highest)
    offset = rng.uniform()
    return np.asarray(low + (np.arange(slices) + offset) * (high - low) / slices)


def block_mean(fine: FloatArray, factor: int) -> FloatArray:
    """[..., Y, X] means of square blocks of [..., Y * factor, X * factor]."""
    *leading, rows, columns = fine.shape
    blocks = fine.reshape(*leading, rows // factor, factor, columns // factor, factor)
    return np.asarray(blocks.mean(axis=(-3, -1)))
