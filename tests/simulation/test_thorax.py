"""The thorax phantom: anatomy that a radiologist would expect, and sizes as stated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dtsinn.simulation.anatomy.anatomy import BLOOD, NOTHING, WATER
from dtsinn.simulation.anatomy.fields import pixel_centres
from dtsinn.simulation.anatomy.thorax import ThoraxPhantom, load_thorax

PHANTOM = load_thorax()
SHAPE = PHANTOM.shape
NAMES = [region.name for region in PHANTOM.regions]
SIZE = 64
PIXEL = SHAPE.field_of_view_mm / SIZE
X = pixel_centres(SIZE, SHAPE.field_of_view_mm)
LEVELS = np.linspace(-80.0, 98.0, 11)


def organs(seed: int, levels: np.ndarray = LEVELS) -> dict[str, np.ndarray]:
    """[S, Y, X] fractions by name of region."""
    fractions = PHANTOM.draw(np.random.default_rng(seed), levels, SIZE).fractions
    return dict(zip(NAMES, np.moveaxis(fractions, 1, 0), strict=True))


SUBJECTS = [organs(seed) for seed in range(8)]


def middle(share: np.ndarray) -> tuple[float, float]:
    """Centre of mass: x to the right of the patient, and y to the front, mm."""
    plane = share.reshape(-1, SIZE, SIZE).sum(axis=0)
    return float(plane.sum(0) @ X / plane.sum()), float(plane.sum(1) @ -X / plane.sum())


def area_cm2(share: np.ndarray) -> np.ndarray:
    """Of every slice."""
    return np.asarray(share.sum(axis=(1, 2)) * PIXEL**2 / 100)


def undeformed() -> ThoraxPhantom:
    """The typical chest."""
    still = {
        field.name: 0.0
        for field in dataclasses.fields(SHAPE)
        if "_sd" in field.name and field.type == "float"
    }
    spreads = {
        field.name: 0.0
        for field in dataclasses.fields(SHAPE.organs)
        if "_sd" in field.name and field.type == "float"
    }
    lesions = dataclasses.replace(SHAPE.lesions, hosts=())
    typical = dataclasses.replace(SHAPE.organs, **spreads)
    return ThoraxPhantom(shape=dataclasses.replace(SHAPE, organs=typical, lesions=lesions, **still))


@pytest.mark.parametrize("seed", range(8))
def test_organs_lie_where_anatomy_has_them(seed: int) -> None:
    """Columns run from the patient's left to the right, rows from front to back."""
    organ = SUBJECTS[seed]
    heart_x, heart_y = middle(organ["myocardium"])
    assert heart_x < -10, "the heart lies left of the midline"
    lung = organ["lung"].sum(axis=(0, 1))
    for side in (heart_x > X, heart_x < X):
        assert lung[side].sum() > 0.25 * lung.sum(), "a lung on either side of the heart"
    liver_x, _ = middle(organ["liver"])
    assert liver_x > 20, "the liver lies on the right"
    spine = organ["bone"].copy()
    spine[:, :, np.abs(X) > 20] = spine[:, heart_y < -X] = 0  # without ribs and breastbone
    spine_x, spine_y = middle(spine)
    assert abs(spine_x) < 10
    assert spine_y < heart_y - 60, "the spine lies behind the heart"
    airway_x, airway_y = middle(organ["airway"])
    assert abs(airway_x) < 20
    assert spine_y < airway_y < heart_y


def test_the_heart_takes_its_place_from_the_left_lung() -> None:
    shares = [organ["lung"][..., X > 0].sum() / organ["lung"].sum() for organ in SUBJECTS]
    assert 0.5 < np.mean(shares) < 0.6


@pytest.mark.parametrize("seed", range(8))
def test_organs_begin_and_end_at_their_levels(seed: int) -> None:
    organ = SUBJECTS[seed]
    low, high = LEVELS < -20, LEVELS > 10
    assert area_cm2(organ["liver"])[high].sum() == 0
    assert area_cm2(organ["liver"])[low].max() > 20
    assert area_cm2(organ["myocardium"])[LEVELS > 50].sum() == 0
    lung = area_cm2(organ["lung"])
    assert lung.argmax() not in (0, LEVELS.size - 1), "lungs taper to apex and diaphragm"
    assert lung[-1] < 0.7 * lung.max()
    assert (area_cm2(organ["airway"])[LEVELS > 35] > 1).all(), "a windpipe above its fork"
    assert area_cm2(organ["airway"])[LEVELS < -40].sum() == 0
    assert (area_cm2(organ["bone"]) > 10).all(), "ribs and spine in every slice"
    assert (area_cm2(organ["blood"]) > 2).all(), "the aorta or its branches in every slice"


def test_the_ventricle_is_a_shell_around_blood() -> None:
    """Walking from the middle of the left ventricle, one meets muscle before lung."""
    chest = undeformed()
    heart = SHAPE.organs.heart.left_ventricle
    anatomy = chest.draw(np.random.default_rng(0), np.array([heart.centre[2]]), 128)
    labels = anatomy.labels[0]
    x = pixel_centres(128, SHAPE.field_of_view_mm)
    column = np.abs(x - heart.centre[0]).argmin()
    row = np.abs(-x - heart.centre[1] + SHAPE.centre_mm[1]).argmin()
    for step in (-1, 1):  # across the ventricle, from front-right to back-left
        walk = [NAMES[labels[row + step * k, column - step * k]] for k in range(18)]
        seen = list(dict.fromkeys(walk))
        assert seen[:2] == ["blood", "myocardium"], walk


def test_areas_of_the_typical_chest_are_the_analytic_ones() -> None:
    level = np.array([-12.0])
    share = undeformed().draw(np.random.default_rng(0), level, 128).fractions[0]
    pixel = SHAPE.field_of_view_mm / 128
    # The skin: a superellipse |u|^n + |v|^n = 1.
    body = SHAPE.organs.body
    width = np.interp(level, body.z, body.half_width)[0]
    depth = np.interp(level, body.z, body.half_depth)[0]
    n = body.exponent
    wanted = 4 * width * depth * math.gamma(1 + 1 / n) ** 2 / math.gamma(1 + 2 / n)
    assert (1 - share[0]).sum() * pixel**2 == pytest.approx(wanted, rel=5e-3)
    # The descending aorta: a nearly upright tube.
    x = pixel_centres(128, SHAPE.field_of_view_mm)
    y = -x + SHAPE.centre_mm[1]
    box = np.ix_((y > -55) & (y < -24), (x > -46) & (x < -15))
    aorta = share[NAMES.index("blood")][box].sum() * pixel**2
    lower, upper = SHAPE.organs.vessels["aorta"][8], SHAPE.organs.vessels["aorta"][7]
    radius = np.interp(level[0], [lower[2], upper[2]], [lower[3], upper[3]])
    tilt = math.hypot(upper[0] - lower[0], upper[1] - lower[1]) / (upper[2] - lower[2])
    assert aorta == pytest.approx(math.pi * radius**2 * math.hypot(1, tilt), rel=0.02)


def test_volumes_are_those_of_adults() -> None:
    levels = np.arange(-120.0, 131.0, 14.0)
    litres: dict[str, list[float]] = {name: [] for name in ("lung", "myocardium")}
    for seed in range(6):
        organ = organs(100 + seed, levels)
        for name, values in litres.items():
            values.append(area_cm2(organ[name]).sum() * 1.4 / 1000)
    assert 2.5 < np.min(litres["lung"]) < np.max(litres["lung"]) < 5.5
    assert np.std(litres["lung"]) > 0.15
    assert 0.1 < np.min(litres["myocardium"]) < np.max(litres["myocardium"]) < 0.35


def test_lesions_spare_heart_vessels_liver_and_bone() -> None:
    healthy = dataclasses.replace(SHAPE, lesions=dataclasses.replace(SHAPE.lesions, hosts=()))
    hosts = {"lung", "mediastinum", "muscle"}
    for seed in range(4):
        without = ThoraxPhantom(shape=healthy).draw(np.random.default_rng(seed), LEVELS, SIZE)
        lost = without.fractions - np.moveaxis(np.array(list(SUBJECTS[seed].values())), 0, 1)
        for label, name in enumerate(NAMES[:-2]):
            assert (lost[:, label] >= 0).all()
            assert (lost[:, label].max() > 0) <= (name in hosts)
        assert lost[:, NAMES.index("lesion") :].min() < -0.9


def test_every_subject_has_a_lesion_in_its_slices() -> None:
    for seed in range(8):
        levels = PHANTOM.slice_positions(np.random.default_rng([seed, 1]), 2)
        fractions = PHANTOM.draw(np.random.default_rng(seed), levels, SIZE).fractions
        share = fractions[:, [NAMES.index("lesion"), NAMES.index("necrosis")]].sum()
        # The smallest radius is 6 mm: at least a third of its circle lies in lung or fat.
        assert share * PIXEL**2 > math.pi * 6.0**2 / 3, f"subject {seed}"


def test_regions_carry_their_tissue_and_attenuation() -> None:
    region = {one.name: one for one in PHANTOM.regions}
    assert region["blood"].tissue == BLOOD
    assert region["airway"].tissue == NOTHING
    assert region["airway"].attenuation == 0
    assert region["lung"].attenuation < WATER / 2 < WATER < region["bone"].attenuation
    assert region["muscle"].attenuation == region["liver"].attenuation == WATER
    assert not any(one.grey for one in PHANTOM.regions)


def test_test_subjects_are_not_alike_any_training_subject() -> None:
    """Dice overlap of heart, vessels, liver, bone on the same levels, best of 16."""
    wanted = [NAMES.index(name) for name in ("blood", "myocardium", "liver", "bone", "airway")]
    levels = LEVELS[1::3]

    def mask(seed: int) -> np.ndarray:
        labels = PHANTOM.draw(np.random.default_rng(seed), levels, SIZE).labels
        return np.isin(labels, wanted).ravel()

    training = np.array([mask(seed) for seed in range(16)], dtype=np.float32)
    test = np.array([mask(seed) for seed in range(1000, 1004)], dtype=np.float32)
    dice = 2 * (test @ training.T) / (test.sum(1)[:, None] + training.sum(1))
    nearest = dice.max(axis=1)
    assert 0.4 < nearest.mean() < 0.75, f"Dice to the nearest training subject: {nearest}"
    assert nearest.max() < 0.82
