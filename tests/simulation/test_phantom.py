"""Phantoms: the brain's regions, its deformations, and how much subjects differ."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracer import load_tracer
from dtsinn.simulation.anatomy.anatomy import (
    BLOOD,
    NOTHING,
    Deformation,
    Phantom,
    deform_points,
    draw_affine,
    kernel_sigma,
)
from dtsinn.simulation.anatomy.brain import load_brain
from dtsinn.simulation.anatomy.brain_atlas import Structure
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.testing import check_phantom

BRAIN = load_brain()


def draw(seed: int, positions: np.ndarray, size: int = 64):
    return BRAIN.draw(np.random.default_rng(seed), positions, size)


def names(phantom: Phantom) -> list[str]:
    return [region.name for region in phantom.regions]


@pytest.mark.parametrize("name", PHANTOMS)
def test_every_phantom_keeps_its_contract(name: str) -> None:
    check_phantom(PHANTOMS[name]())


@pytest.mark.parametrize("name", PHANTOMS)
def test_shipped_tracers_know_every_tissue_of_a_phantom(name: str) -> None:
    tissues = {region.tissue for region in PHANTOMS[name]().regions} - {NOTHING, BLOOD}
    for tracer in ("fmz", "fdg"):
        assert tissues <= set(load_tracer(tracer).tissues)


@pytest.mark.parametrize("name", PHANTOMS)
def test_every_region_occurs_over_a_few_subjects_and_nothing_touches_the_border(name: str) -> None:
    phantom = PHANTOMS[name]()
    seen: set[int] = set()
    for seed in range(6):
        positions = phantom.slice_positions(np.random.default_rng(seed), 8)
        anatomy = phantom.draw(np.random.default_rng(seed), positions, 64)
        seen |= set(np.unique(anatomy.labels).tolist())
        air = anatomy.fractions[:, 0]
        for edge in (air[:, 0], air[:, -1], air[..., 0], air[..., -1]):
            assert (edge == 1).all()
    assert seen == set(range(len(phantom.regions)))


@pytest.mark.parametrize("name", PHANTOMS)
def test_the_size_of_the_image_leaves_the_subject_alone(name: str) -> None:
    phantom = PHANTOMS[name]()
    positions = phantom.slice_positions(np.random.default_rng(2), 2)
    coarse, fine = (
        phantom.draw(np.random.default_rng(2), positions, size).fractions for size in (64, 128)
    )
    binned = fine.reshape(2, -1, 64, 2, 64, 2).mean(axis=(3, 5))
    # Twice as many points fall on each pixel: shares agree but for the sampling.
    assert np.abs(binned - coarse).mean() < 0.01
    stranger = phantom.draw(np.random.default_rng(3), positions, 64).fractions
    assert np.abs(binned - coarse).mean() < 0.5 * np.abs(stranger - coarse).mean()


def test_structures_lie_where_anatomy_has_them() -> None:
    """Front to back in a slice through the striatum; cerebellum below, parietal cortex above."""
    low, middle, high = draw(1, np.array([-34.0, 6.0, 44.0])).fractions
    rows = np.arange(64)

    def row(name: str) -> float:
        share = middle[names(BRAIN).index(name)].sum(axis=1)
        return float((share * rows).sum() / share.sum())

    assert row("frontal") < row("putamen") < row("thalamus") < row("occipital")
    cerebellum, parietal = names(BRAIN).index("cerebellum"), names(BRAIN).index("parietal")
    assert low[cerebellum].sum() > 100
    assert high[cerebellum].sum() < 1
    assert high[parietal].sum() > 50
    assert low[parietal].sum() < 1


def test_displacements_have_the_stated_size_and_length_and_rarely_fold() -> None:
    shape = BRAIN.shape
    assert shape.displacement_sd_mm >= 4.0
    axis = np.arange(-80.0, 81.0, 4.0)
    fields = []
    for seed in range(12):
        still = Deformation(
            matrix=np.eye(3),
            shift=np.zeros(3),
            displacement_sd=shape.displacement_sd_mm,
            displacement_sigma=kernel_sigma(shape.displacement_length_mm),
        )
        points = deform_points(np.random.default_rng(seed), still, (axis, axis, axis))
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)[..., ::-1]
        fields.append(points - grid)
    u = np.array(fields)
    assert u.std(axis=(0, 1, 2, 3)) == pytest.approx([shape.displacement_sd_mm] * 3, rel=0.1)
    assert u.std() >= 4.0
    lag = round(shape.displacement_length_mm / 4.0)
    correlation = (u[:, :, :, lag:] * u[:, :, :, :-lag]).mean() / np.square(u).mean()
    assert correlation == pytest.approx(np.exp(-0.5), abs=0.06)
    # Axes of the array are z, y, x; components are x, y, z.
    gradient = np.stack([np.gradient(u, 4.0, axis=a) for a in (3, 2, 1)], axis=-1)
    folded = np.linalg.det(np.eye(3) + gradient) <= 0
    assert folded.mean() < 2e-3


def test_an_affine_without_spread_is_the_identity() -> None:
    np.testing.assert_array_equal(draw_affine(np.random.default_rng(0), 0, 0, 0), np.eye(3))


def test_grey_matter_of_test_subjects_is_not_that_of_any_training_subject() -> None:
    """Dice overlap on the same levels, best of 40 training subjects: the anatomy is new."""
    positions = np.array([-20.0, 0.0, 20.0, 40.0])
    grey = [label for label, region in enumerate(BRAIN.regions) if region.grey]

    def mask(seed: int) -> np.ndarray:
        return np.isin(draw(seed, positions).labels, grey).ravel()

    training = np.array([mask(seed) for seed in range(40)], dtype=np.float32)
    test = np.array([mask(seed) for seed in range(1000, 1008)], dtype=np.float32)
    dice = 2 * (test @ training.T) / (test.sum(1)[:, None] + training.sum(1))
    nearest = dice.max(axis=1)
    assert 0.55 < nearest.mean() < 0.75, f"Dice to the nearest training subject: {nearest}"
    assert nearest.max() < 0.80


def test_an_unknown_structure_is_refused() -> None:
    with pytest.raises(InputError, match="putamen"):
        Structure(region="pallidum", centre=(0, 0, 0), radii=(1, 1, 1), grey=0.5)
