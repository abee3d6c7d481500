"""Lesions: sizes, surfaces, where they start, and refusals of what cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.anatomy import OUTSIDE, Region
from dtsinn.simulation.anatomy.lesions import REACH, Lesion, LesionNumbers, Site, draw_lesions
from dtsinn.simulation.anatomy.lesions import draw_with_lesions as draw

FIELD = 200.0
REGIONS = (OUTSIDE, Region(name="left", tissue="left"), Region(name="right", tissue="right"))
NUMBERS = LesionNumbers(
    count=(2, 4),
    elongation_sd=0.15,
    irregularity=0.16,
    irregularity_length=0.6,
    rim=0.5,
    core_radius_mm=12.0,
    hosts=("left", "right"),
    sites=(Site(regions=("left",), probability=1.0, radius_mm=(6.0, 18.0)),),
    cell_mm=10.0,
    cell_levels_mm=(-60.0, 60.0, 12.0),
)
LEVELS = np.array([-30.0, 5.0, 40.0])


def box(levels: np.ndarray, size: int) -> np.ndarray:
    """Fractions of a box of 160 mm, half left and half right; nothing beyond 70 mm of height."""
    across = (np.arange(size) + 0.5) * FIELD / size - FIELD / 2
    inside = (np.abs(across) < 80)[:, None] & (np.abs(across) < 80)
    inside = inside & (np.abs(levels) < 70)[:, None, None]
    left = inside & (across < 0)
    return np.stack([~inside, left, inside & ~left], axis=1).astype(np.float32)


def healthy(rng: np.random.Generator, levels: np.ndarray, size: int) -> np.ndarray:
    rng.random(3)
    return box(levels, size)


def lesions(seed: int, numbers: LesionNumbers = NUMBERS, levels: np.ndarray = LEVELS):
    return draw_lesions(np.random.default_rng(seed), box, numbers, REGIONS, levels, FIELD)


def volume(lesion: Lesion) -> float:
    step = lesion.radius / 8
    axis = np.arange(-REACH * lesion.radius, REACH * lesion.radius, step)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
    return float((lesion.depth(grid + lesion.centre[:, None]) > 0).sum() * step**3)


def test_lesions_have_the_stated_number_size_and_site() -> None:
    drawn = [lesions(seed) for seed in range(60)]
    assert {len(some) for some in drawn} == {2, 3, 4}
    every = [lesion for some in drawn for lesion in some]
    radii = np.array([lesion.radius for lesion in every])
    assert 6 <= radii.min() < 7
    assert 17 < radii.max() <= 18
    centres = np.array([lesion.centre for lesion in every])
    assert centres[:, 0].min() > -80
    assert centres[:, 0].max() < 0
    assert np.ptp(centres[:, 1]) > 120
    assert np.ptp(centres[:, 2]) > 90


def test_the_first_lesion_is_centred_on_a_slice() -> None:
    first = {float(lesions(seed)[0].centre[2]) for seed in range(40)}
    assert first == set(LEVELS.tolist())
    others = [float(lesions(seed)[1].centre[2]) for seed in range(40)]
    assert not set(others) & set(LEVELS.tolist())


def test_a_slice_without_the_site_takes_a_lesion_from_another_site() -> None:
    sites = (
        Site(regions=("outside",), probability=1.0, radius_mm=(6.0, 8.0)),
        Site(regions=("left",), probability=0.0, radius_mm=(6.0, 8.0)),
    )
    numbers = dataclasses.replace(NUMBERS, sites=sites, cell_mm=100.0)

    def only_left(levels: np.ndarray, cells: int) -> np.ndarray:
        share = np.zeros((levels.size, 3, cells, cells), dtype=np.float32)
        beyond = np.abs(levels) > 50
        share[beyond, 0] = share[~beyond, 1] = 1
        return share

    rng, levels = np.random.default_rng(0), np.array([0.0])
    first, second, *_ = draw_lesions(rng, only_left, numbers, REGIONS, levels, FIELD)
    assert first.centre[2] == 0
    assert abs(second.centre[2]) > 50


def test_volumes_are_those_of_spheres_but_surfaces_are_uneven() -> None:
    every = [lesion for seed in range(6) for lesion in lesions(seed)]
    ratio = np.array([volume(one) / (4 / 3 * np.pi * one.radius**3) for one in every])
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)
    assert ratio.std() > 0.05
    for lesion in every:
        assert lesion.depth(lesion.centre[:, None]) > 0
        directions = np.random.default_rng(0).normal(size=(3, 400))
        directions /= np.linalg.norm(directions, axis=0)
        far = lesion.centre[:, None] + REACH * lesion.radius * directions
        assert lesion.depth(far).max() < 0
        near = lesion.depth(lesion.centre[:, None] + lesion.radius * directions)
        assert near.std() > 0.08 * lesion.radius


def test_areas_in_a_slice_follow_the_lesion_and_leave_the_rest_alone() -> None:
    rng = np.random.default_rng(5)
    fractions = draw(rng, healthy, NUMBERS, REGIONS, LEVELS, 100, FIELD)
    np.testing.assert_allclose(fractions.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(fractions[:, 0], box(LEVELS, 100)[:, 0])
    replay = np.random.default_rng(5)
    replay.random(3)
    drawn = draw_lesions(replay, box, NUMBERS, REGIONS, LEVELS, FIELD)
    across = (np.arange(400) + 0.5) * FIELD / 400 - FIELD / 2
    for share, level in zip(fractions, LEVELS, strict=True):
        y, x = np.meshgrid(-across, across, indexing="ij")
        points = np.stack([x, y, np.full_like(x, level)]).reshape(3, -1)
        inside = np.max([lesion.depth(points) for lesion in drawn], axis=0) > 0
        inside &= (np.abs(points[:2]) < 80).all(axis=0)
        area = inside.sum() * (FIELD / 400) ** 2
        assert share[3:].sum() * (FIELD / 100) ** 2 == pytest.approx(area, rel=0.02, abs=2)


def test_a_region_that_the_phantom_lacks_is_refused() -> None:
    numbers = dataclasses.replace(NUMBERS, hosts=("left", "rihgt"))
    with pytest.raises(
        InputError, match="no such region; got 'rihgt'; wanted one of outside, left"
    ):
        draw(np.random.default_rng(0), healthy, numbers, REGIONS, LEVELS, 16, FIELD)


def test_a_site_that_fills_no_cell_is_refused() -> None:
    numbers = dataclasses.replace(NUMBERS, cell_mm=150.0)
    with pytest.raises(InputError, match="no cell of 150 mm filled by left; wanted regions"):
        lesions(0, numbers)


@pytest.mark.parametrize("numbers", [{"irregularity": 0.5}, {"elongation_sd": 0.5}])
def test_surfaces_that_leave_their_box_or_lose_their_centre_are_refused(
    numbers: dict[str, float],
) -> None:
    with pytest.raises(InputError, match=r"elongation_sd and irregularity; .* try smaller ones"):
        dataclasses.replace(NUMBERS, **numbers)
