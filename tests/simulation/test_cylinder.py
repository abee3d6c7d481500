"""The cylinder phantom: areas, activities, and refusals of rods that do not fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.anatomy import NOTHING, WATER
from dtsinn.simulation.anatomy.cylinder import load_cylinder

CYLINDER = load_cylinder()
SHAPE = CYLINDER.shape
_, BACKGROUND, HOT, COLD = range(4)


def fractions(seed: int, size: int = 128) -> np.ndarray:
    positions = CYLINDER.slice_positions(np.random.default_rng(seed), 2)
    return CYLINDER.draw(np.random.default_rng(seed), positions, size).fractions


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("label", [HOT, COLD])
def test_every_rod_has_the_area_of_its_diameter(label: int, seed: int) -> None:
    share = fractions(seed)[0, label]
    rods, count = ndimage.label(share > 0, structure=np.ones((3, 3)))
    assert count == len(SHAPE.rod_diameters_mm)
    pixel = SHAPE.field_of_view_mm / 128
    areas = ndimage.sum_labels(share, rods, range(1, count + 1)) * pixel**2
    wanted = np.pi * np.square(SHAPE.rod_diameters_mm) / 4
    np.testing.assert_allclose(np.sort(areas), wanted, rtol=0.02)


def test_rods_and_background_fill_the_cylinder_in_every_slice() -> None:
    share = fractions(0)
    np.testing.assert_array_equal(share[0], share[1])
    area = (1 - share[0, 0]).sum() * (SHAPE.field_of_view_mm / 128) ** 2
    assert area == pytest.approx(np.pi * SHAPE.diameter_mm**2 / 4, rel=1e-3)


def test_hot_rods_have_their_contrast_and_cold_ones_are_water() -> None:
    regions = CYLINDER.regions
    assert regions[HOT].tissue == regions[BACKGROUND].tissue
    assert regions[HOT].activity / regions[BACKGROUND].activity == SHAPE.hot_activity == 4.0
    assert regions[COLD].tissue == NOTHING
    assert {region.attenuation for region in regions[1:]} == {WATER}
    assert not any(region.grey for region in regions)


def test_subjects_are_turned_and_shifted() -> None:
    across = np.arange(64.0)

    def middle(share: np.ndarray) -> np.ndarray:
        return np.array([share.sum(1) @ across, share.sum(0) @ across]) / share.sum()

    drawn = [fractions(seed, 64)[0] for seed in range(8)]
    bodies = np.array([middle(1 - share[0]) for share in drawn])
    towards_hot = np.array([middle(share[HOT]) for share in drawn]) - bodies
    angles = np.rad2deg(np.arctan2(towards_hot[:, 0], towards_hot[:, 1]))
    pixel = SHAPE.field_of_view_mm / 64
    assert 0.3 < bodies.std(axis=0).mean() * pixel / SHAPE.translation_sd_mm < 2
    assert 0.3 < angles.std() / SHAPE.rotation_sd_deg < 2
    # The middle keeps its background, where no rod spills.
    for share, (row, column) in zip(drawn, np.round(bodies).astype(int), strict=True):
        assert (share[BACKGROUND, row - 3 : row + 4, column - 3 : column + 4] == 1).all()


@pytest.mark.parametrize("ring", [35.0, 90.0])
def test_rods_that_overlap_or_leave_the_cylinder_are_refused(ring: float) -> None:
    with pytest.raises(InputError, match=r"ring_radius_mm; .* wanted a ring inside") as refusal:
        dataclasses.replace(SHAPE, ring_radius_mm=ring)
    assert str(ring) in str(refusal.value)
