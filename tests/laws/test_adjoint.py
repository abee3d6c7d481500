"""Laws of the projector: adjoint, linear, exact, and no activity lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dtsinn.simulation.anatomy.fields import pixel_centres
from dtsinn.simulation.scanner.projector import Projector, view_angles

GEOMETRIES = [(64, 3.6, 2.0, 24), (33, 2.0, 3.1, 17), (16, 5.0, 20.0, 6), (1, 4.0, 1.0, 3)]
"""Size, pixel in mm, width of bins in mm, views."""


def projector(geometry: tuple[int, float, float, int], dtype: torch.dtype) -> Projector:
    size, pixel, width, views = geometry
    return Projector(size, pixel, width, view_angles(views), dtype=dtype)


def random(rows: int, columns: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((rows, columns))).to(dtype)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_back_projection_is_the_adjoint_of_projection(geometry, dtype, tolerance) -> None:
    P = projector(geometry, dtype)
    x, y = random(geometry[0] ** 2, 3, dtype, 0), random(P.lines, 3, dtype, 1)
    left, right = (P.forward(x) * y).sum().item(), (x * P.back(y)).sum().item()
    assert left > 0.0
    assert left == pytest.approx(right, rel=tolerance)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_view_keeps_all_activity(geometry) -> None:
    size, pixel, width, views = geometry
    P = projector(geometry, torch.float64)
    image = random(size * size, 2, torch.float64, 5)
    image[0] += 50.0  # the corner that sticks out furthest
    seen = P.forward(image).reshape(views, P.bins, 2).sum(dim=1) * width
    wanted = (image.sum(dim=0) * pixel**2).expand(views, 2)
    torch.testing.assert_close(seen, wanted, rtol=1e-10, atol=0.0)


def test_projection_is_linear() -> None:
    P = projector(GEOMETRIES[0], torch.float64)
    a, b = random(64**2, 1, torch.float64, 2), random(64**2, 1, torch.float64, 3)
    together = P.forward(3.0 * a - 0.5 * b)
    torch.testing.assert_close(together, 3.0 * P.forward(a) - 0.5 * P.forward(b))


def test_a_disc_is_as_long_as_its_chords() -> None:
    size, pixel, width, views, radius = 128, 1.5, 2.0, 15, 70.0
    x0, y0 = 9.0, -6.0  # off centre, so that the sense of angles and axes counts
    fine = pixel_centres(size * 8, size * pixel)
    inside = np.hypot(fine[:, None] - y0, fine[None, :] - x0) < radius
    disc = inside.reshape(size, 8, size, 8).mean(axis=(1, 3))
    angles = view_angles(views)
    P = Projector(size, pixel, width, angles, dtype=torch.float64)
    seen = P.forward(torch.from_numpy(disc).reshape(-1, 1)).reshape(views, P.bins).numpy()
    edges = (np.arange(P.bins + 1) - P.bins / 2) * width
    for view, angle in enumerate(angles):
        s = np.clip((edges - x0 * math.cos(angle) - y0 * math.sin(angle)) / radius, -1.0, 1.0)
        area = radius**2 * (s * np.sqrt(1 - s**2) + np.arcsin(s))  # left of each edge
        chords = np.diff(area) / width
        # Near its rim a pixelated disc is a staircase; the strips there hold little of it.
        assert np.abs(seen[view] - chords).max() < 0.02 * 2 * radius
        deep = np.abs(s[:-1] + s[1:]) / 2 < 0.9
        np.testing.assert_allclose(seen[view][deep], chords[deep], rtol=0.01)


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, math.pi / 2, 2.0, math.pi - 1e-9])
def test_an_element_is_the_area_that_pixel_and_strip_share(angle: float) -> None:
    size, pixel, width = 3, 4.0, 1.5
    P = Projector(size, pixel, width, np.array([angle]), dtype=torch.float64)
    offset = (np.arange(800) + 0.5) / 800 * pixel
    for index in (0, 4, 5):
        row, column = divmod(index, size)
        y, x = np.meshgrid(row * pixel + offset, column * pixel + offset, indexing="ij")
        s = (x - 6.0) * math.cos(angle) + (y - 6.0) * math.sin(angle)
        edges = (np.arange(P.bins + 1) - P.bins / 2) * width
        area = np.histogram(s, edges)[0] * (pixel / 800) ** 2
        image = torch.zeros(size * size, 1, dtype=torch.float64)
        image[index] = 1.0
        np.testing.assert_allclose(P.forward(image)[:, 0] * width, area, atol=0.02)


def test_turning_the_image_turns_the_views() -> None:
    size, views = 20, 8
    P = Projector(size, 3.0, 2.0, view_angles(views), dtype=torch.float64)
    image = np.random.default_rng(4).random((size, size))

    def sinogram(picture: np.ndarray) -> np.ndarray:
        columns = torch.from_numpy(picture.reshape(-1, 1).copy())
        return P.forward(columns).reshape(views, P.bins).numpy()

    # (y, x) -> (x, -y): what a view at angle t saw, one at t + 90 degrees sees now.
    turned = sinogram(np.rot90(image, -1))
    np.testing.assert_allclose(turned[views // 2 :], sinogram(image)[: views // 2], rtol=1e-9)
