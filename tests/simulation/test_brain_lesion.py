"""The brain-lesion phantom: the brain's own subjects, with tumours in their brain tissue."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.seeds import generator
from dtsinn.simulation.anatomy.brain import load_brain
from dtsinn.simulation.anatomy.brain_lesion import load_brain_lesion

BRAIN, PHANTOM = load_brain(), load_brain_lesion()
NAMES = [region.name for region in PHANTOM.regions]
TUMOUR, NECROSIS = NAMES.index("tumour"), NAMES.index("necrosis")
LEVELS = np.array([-24.0, -2.0, 20.0, 42.0])


def pair(seed: int, levels: np.ndarray = LEVELS, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of one subject without and with lesions."""
    healthy = BRAIN.draw(generator("test", seed), levels, size).fractions
    return healthy, PHANTOM.draw(generator("test", seed), levels, size).fractions


def lesion(fractions: np.ndarray) -> np.ndarray:
    return np.asarray(fractions[:, [TUMOUR, NECROSIS]].sum(axis=1))


def test_all_that_is_not_tumour_is_the_brain_of_the_same_subject() -> None:
    assert PHANTOM.regions[: len(BRAIN.regions)] == BRAIN.regions
    for seed in range(3):
        healthy, ill = pair(seed)
        free = lesion(ill) == 0
        assert 0.5 < free.mean() < 1
        for label in range(len(BRAIN.regions)):
            np.testing.assert_array_equal(ill[:, label][free], healthy[:, label][free])


def test_tumours_take_brain_tissue_and_neither_csf_nor_air() -> None:
    for seed in range(4):
        healthy, ill = pair(seed)
        outside, csf = NAMES.index("outside"), NAMES.index("csf")
        np.testing.assert_array_equal(ill[:, [outside, csf]], healthy[:, [outside, csf]])
        tissue = 1 - healthy[:, outside] - healthy[:, csf]
        assert (lesion(ill) <= tissue + 1e-5).all()
        # Within a tumour all healthy regions keep their proportions.
        ratio = ill[:, 2:TUMOUR].sum(axis=1) + lesion(ill)
        np.testing.assert_allclose(ratio, tissue, atol=1e-5)


@pytest.mark.parametrize("slices", [1, 8])
def test_every_subject_has_a_tumour_in_its_slices(slices: int) -> None:
    for seed in range(8):
        levels = PHANTOM.slice_positions(generator("test", seed, "slices"), slices)
        labels = PHANTOM.draw(generator("test", seed), levels, 64).labels
        pixels = np.isin(labels, (TUMOUR, NECROSIS)).sum()
        # The smallest radius, 6 mm, fills nine pixels of 3.6 mm, if no CSF gets in its way.
        assert pixels >= 4, f"subject {seed}"


def test_slices_that_miss_the_brain_are_left_without_a_tumour() -> None:
    _, ill = pair(0, np.array([120.0]))
    assert lesion(ill).sum() == 0


def test_necrosis_lies_inside_and_takes_up_less() -> None:
    tumour, necrosis = PHANTOM.regions[TUMOUR], PHANTOM.regions[NECROSIS]
    assert necrosis.tissue == tumour.tissue == "tumour"
    assert 0 < necrosis.activity < tumour.activity == 1
    cores = 0
    for seed in range(8):
        _, ill = pair(seed)
        healthy_side = ill[:, NAMES.index("white") : TUMOUR].sum(axis=1) > 0.9
        inner = ill[:, NECROSIS] > 0.9
        cores += int(inner.any())
        # The rim of the smallest necrotic tumour is 6 mm, with its unevenness more than a pixel.
        for axis in (1, 2):
            for step in (-1, 1):
                assert not (np.roll(inner, step, axis=axis) & healthy_side).any()
    assert 1 <= cores < 8


def test_tumours_of_test_subjects_lie_elsewhere() -> None:
    """Dice overlap of tumours on the same levels, best of 12 training subjects."""

    def mask(seed: int) -> np.ndarray:
        return (lesion(pair(seed, size=32)[1]) > 0.5).ravel()

    training = np.array([mask(seed) for seed in range(12)], dtype=np.float32)
    test = np.array([mask(seed) for seed in range(1000, 1004)], dtype=np.float32)
    dice = 2 * (test @ training.T) / (test.sum(1)[:, None] + training.sum(1) + 1e-6)
    assert dice.max(axis=1).mean() < 0.4
