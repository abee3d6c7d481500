"""Compartment fits: noise-free curves give their kinetics back, noisy ones scipy's minimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from dtsinn.core.seeds import generator
from dtsinn.kinetics.compartments import ModelInput, fit_compartments
from tests.kinetics.conftest import Known

ONE = np.array([[0.31, 0.055, 0, 0, 0.05], [0.32, 0.14, 0, 0, 0.03]])
TWO = np.array([[0.13, 0.35, 0.30, 0.085, 0.05], [0.157, 0.174, 0.118, 0.01, 0.05]])


def given(known: Known) -> ModelInput:
    return ModelInput(
        time_I=known.time_I,
        plasma_I=known.plasma_SI,
        blood_I=known.blood_SI,
        frames=known.frames,
    )


@pytest.mark.parametrize("kinetics", [ONE, TWO])
def test_noise_free_curves_give_their_kinetics_back(known: Known, kinetics: np.ndarray) -> None:
    curves = known.curves(kinetics)
    weights = known.frames.duration_T
    tissues = 1 if kinetics is ONE else 2
    fit = fit_compartments(curves, weights, given(known), tissues=tissues)
    for r, (K1, k2, k3, k4, vB) in enumerate(kinetics):
        for name, value in (("K1", K1), ("k2", k2), ("k3", k3), ("k4", k4), ("vB", vB)):
            np.testing.assert_allclose(getattr(fit, name)[:, r], value, rtol=0.01, atol=1e-6)
        volume = K1 / k2 * (1 + (k3 / k4 if k4 else 0))
        np.testing.assert_allclose(fit.V_T[:, r], volume, rtol=0.01)


@pytest.mark.parametrize("kinetics", [ONE, TWO])
def test_a_fit_of_noisy_curves_is_that_of_scipy(known: Known, kinetics: np.ndarray) -> None:
    curves = known.curves(kinetics)
    rng = generator(5, "compartments")
    noisy = curves * rng.normal(1, 0.01, curves.shape)
    weights = known.frames.duration_T / np.maximum(curves.mean(axis=(0, 1)), 0.1)
    tissues = 1 if kinetics is ONE else 2
    fit = fit_compartments(noisy, weights, given(known), tissues=tissues)
    free = [0, 1, 4] if tissues == 1 else [0, 1, 2, 3, 4]

    def rest(values: np.ndarray, subject: int, region: int) -> np.ndarray:
        full = np.zeros((1, 5))
        full[0, free] = values
        return np.sqrt(weights) * (known.curves(full)[subject, 0] - noisy[subject, region])

    for subject, region in ((0, 0), (1, 1)):
        start = kinetics[region, free]
        found = least_squares(
            rest, start, args=(subject, region), xtol=1e-15, ftol=1e-15, gtol=1e-15, x_scale=start
        )
        ours = [getattr(fit, name)[subject, region] for name in ("K1", "k2", "k3", "k4", "vB")]
        assert fit.sum_of_squares[subject, region] <= 2 * found.cost * (1 + 1e-9)
        np.testing.assert_allclose(np.array(ours)[free], found.x, rtol=1e-6)
