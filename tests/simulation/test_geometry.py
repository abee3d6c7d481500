"""Analytic geometry: depths against distances, areas against formulas, shares against unity."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.geometry import (
    OrientedEllipsoid,
    Outline,
    block_mean,
    coverage,
    ellipsoid_depth,
    paint,
    spread_levels,
    tube_depth,
)

FLAT = {"z": (-10.0, 10.0), "centre_x": (3.0, 5.0), "centre_y": (-2.0, -2.0)}


def outline(**changes: object) -> Outline:
    numbers = FLAT | {"half_width": (60.0, 40.0), "half_depth": (30.0, 30.0), "exponent": 2.5}
    return Outline(**(numbers | changes))  # type: ignore[arg-type]


def grid(half: float, count: int) -> np.ndarray:
    axis = (np.arange(count) + 0.5) * (2 * half / count) - half
    return np.stack(np.meshgrid(axis, axis, indexing="ij")).reshape(2, -1)


def test_the_depth_in_a_sphere_is_the_distance_to_its_surface() -> None:
    points = np.random.default_rng(0).normal(0, 8, (3, 500))
    depth = ellipsoid_depth(points, (10, 10, 10))
    np.testing.assert_allclose(depth, 10 - np.linalg.norm(points, axis=0), atol=1e-9)
    assert ellipsoid_depth(np.zeros((3, 1)), (3, 4, 5)) == 3


def test_the_depth_near_an_ellipsoid_is_right_to_first_order() -> None:
    radii = np.array([30.0, 12.0, 20.0])
    direction = np.random.default_rng(1).normal(size=(3, 200))
    surface = radii[:, None] * direction / np.linalg.norm(direction, axis=0)
    normal = surface / radii[:, None] ** 2
    normal /= np.linalg.norm(normal, axis=0)
    for step in (-0.5, 0.5):
        depth = ellipsoid_depth(surface + step * normal, radii.tolist())
        np.testing.assert_allclose(depth, -step, atol=0.06)


def test_an_oriented_ellipsoid_reaches_as_far_as_its_radii_along_its_axis() -> None:
    body = OrientedEllipsoid(centre=(1, 2, 3), radii=(40, 10, 20), axis=(-1, 1, 0.5))
    axis = np.array([-1, 1, 0.5]) / 1.5
    level = np.array([-1, -1, 0]) / math.sqrt(2)
    for direction, radius in ((axis, 40), (level, 10), (np.cross(axis, level), 20)):
        tips = np.array([[1, 2, 3]]).T + np.outer(direction, [radius, -radius])
        np.testing.assert_allclose(body.depth(tips), 0, atol=1e-9)


def test_a_tube_has_its_radius_everywhere_and_swells() -> None:
    path = ((0.0, 0.0, 0.0, 4.0), (0.0, 0.0, 10.0, 4.0), (30.0, 0.0, 10.0, 8.0))
    points = np.array([[0, 0, 5], [3, 0, 5], [15, 2, 10], [0, 0, -6], [30, 9, 10]], dtype=float).T
    np.testing.assert_allclose(tube_depth(points, path), [4, 1, 4, -2, -1])
    np.testing.assert_allclose(tube_depth(points, path, 2.0)[:2], [8, 5])


def test_an_outline_has_the_area_of_its_superellipse_and_widens_between_its_levels() -> None:
    flat = grid(80, 400)
    for z, width in ((-10.0, 60.0), (0.0, 50.0), (50.0, 40.0)):
        points = np.vstack([flat, np.full((1, flat.shape[1]), z)])
        area = coverage(outline().depth(points), 0.4).sum() * 0.4**2
        n = 2.5
        shape = math.gamma(1 + 1 / n) ** 2 / math.gamma(1 + 2 / n)
        assert area == pytest.approx(4 * width * 30 * shape, rel=2e-3)


def test_layers_make_one_and_the_first_goes_first() -> None:
    rng = np.random.default_rng(2)
    shares = paint([rng.random(50) for _ in range(4)])
    assert len(shares) == 5
    np.testing.assert_allclose(np.sum(shares, axis=0), 1.0)
    first, second, left = paint([np.array([1.0, 0.25]), np.array([1.0, 0.5])])
    np.testing.assert_allclose(first, [1, 0.25])
    np.testing.assert_allclose(second, [0, 0.375])
    np.testing.assert_allclose(left, [0, 0.375])


def test_levels_are_even_and_stay_in_their_range() -> None:
    levels = spread_levels(np.random.default_rng(3), (-50.0, -40.0), (30.0, 60.0), 7)
    assert np.ptp(np.diff(levels)) == pytest.approx(0, abs=1e-9)
    assert levels[0] > -50
    assert levels[-1] < 60


def test_block_means_keep_the_mean() -> None:
    fine = np.random.default_rng(4).random((2, 6, 6))
    coarse = block_mean(fine, 3)
    assert coarse.shape == (2, 2, 2)
    assert coarse[1, 0, 1] == pytest.approx(fine[1, :3, 3:].mean())


def test_an_outline_with_a_missing_value_is_refused() -> None:
    with pytest.raises(InputError, match="outline: half_width; got 1 values; wanted 2, as z"):
        outline(half_width=(60.0,))


def test_an_outline_whose_levels_fall_is_refused() -> None:
    with pytest.raises(InputError, match=r"outline: z; got \[10.0, -10.0\]; wanted ascending"):
        outline(z=(10.0, -10.0))
