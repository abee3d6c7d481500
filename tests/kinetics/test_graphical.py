"""Graphical analysis: what is put into a curve comes out, and the lines are scipy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import linregress

from dtsinn.core.protocol import load_protocol
from dtsinn.core.seeds import generator
from dtsinn.kinetics.curves import tracer_frames
from dtsinn.kinetics.graphical import (
    input_means,
    logan,
    patlak,
    reference_logan,
    slope,
    tissue_area,
    uptake_ratio,
)
from tests.kinetics.conftest import Known

ONE_TISSUE = np.array([[0.3, 0.05, 0, 0, 0], [0.32, 0.14, 0, 0, 0], [0.2, 0.24, 0, 0, 0]])
TWO_TISSUES = np.array([[0.13, 0.3, 0.3, 0.085, 0], [0.3, 0.3, 0.12, 0.12, 0]])
TRAPPED = np.array([[0.157, 0.174, 0.118, 0, 0], [0.1, 0.161, 0.047, 0, 0]])


def test_logan_finds_the_volume_of_distribution(known: Known) -> None:
    plasma = input_means(known.time_I, known.plasma_SI, known.frames)
    for kinetics in (ONE_TISSUE, TWO_TISSUES):
        K1, k2, k3, k4, _ = kinetics.T
        bound = np.divide(k3, k4, out=np.zeros_like(k3), where=k4 > 0)
        found = logan(known.corrected(kinetics), plasma, known.frames, 30)
        np.testing.assert_allclose(found, [K1 / k2 * (1 + bound)] * 2, rtol=0.01)


def test_patlak_finds_the_rate_of_trapping(known: Known) -> None:
    plasma = input_means(known.time_I, known.plasma_SI, known.frames)
    K1, k2, k3, _, _ = TRAPPED.T
    curves = known.corrected(TRAPPED)
    found = patlak(curves, plasma, known.frames, 40)
    np.testing.assert_allclose(found, [K1 * k3 / (k2 + k3)] * 2, rtol=0.01)


def test_ratios_are_those_of_the_volumes(known: Known) -> None:
    kinetics = np.array([[0.3, 0.1, 0, 0, 0], [0.3, 0.1, 0, 0, 0], [0.3, 0.06, 0, 0, 0]])
    curves = known.corrected(kinetics)
    ratio = reference_logan(curves, curves[:, 0], known.frames, 30)
    np.testing.assert_allclose(ratio[:, :2], 1.0, rtol=1e-9)
    np.testing.assert_allclose(ratio[:, 2], 0.1 / 0.06, rtol=0.05)  # without the term of k2
    suvr = uptake_ratio(2 * curves, curves[:, 0], known.frames, 30)
    np.testing.assert_allclose(suvr[:, 0], 2.0, rtol=1e-9)


def test_lines_are_those_of_scipy() -> None:
    rng = generator(3, "line")
    x, y = rng.normal(5, 2, (2, 4, 3, 9))
    rows = zip(x.reshape(12, 9), y.reshape(12, 9), strict=True)
    expected = [linregress(a, b).slope for a, b in rows]
    np.testing.assert_allclose(slope(x, y).ravel(), expected, rtol=1e-9)


def test_a_logan_fit_of_noisy_curves_is_that_of_scipy(known: Known) -> None:
    rng = generator(4, "noise")
    curves = known.corrected(ONE_TISSUE)
    curves = curves * rng.normal(1, 0.05, curves.shape)
    plasma = input_means(known.time_I, known.plasma_SI, known.frames)
    found = logan(curves, plasma, known.frames, 20)
    late = known.frames.late(20)
    areas = tissue_area(curves, known.frames)
    for s in range(2):
        for r in range(3):
            below = curves[s, r, late]
            line = linregress(plasma.area_T[s, late] / below, areas[s, r, late] / below)
            assert found[s, r] == pytest.approx(line.slope, rel=1e-6)


def test_averages_of_an_input_are_those_of_fine_sums(known: Known) -> None:
    means = input_means(known.time_I, known.plasma_SI, known.frames)
    fine = np.linspace(0, known.frames.edge_T[-1], 400_001)
    value = np.interp(fine, known.time_I, known.plasma_SI[0])
    value *= np.exp(np.log(2) / known.frames.half_life * fine)
    step = fine[1]
    running = np.concatenate([[0], np.cumsum((value[1:] + value[:-1]) / 2 * step)])
    for t, (start, end) in enumerate(itertools.pairwise(known.frames.edge_T)):
        inside = (fine >= start - step / 2) & (fine <= end + step / 2)
        assert means.plasma_T[0, t] == pytest.approx(value[inside].mean(), rel=5e-3, abs=1e-3)
        assert means.area_T[0, t] == pytest.approx(running[inside].mean(), rel=5e-3, abs=1e-2)


def test_a_frame_that_contains_the_injection_begins_with_it() -> None:
    protocol = load_protocol("p1")
    shifted = tracer_frames(
        type(protocol)(
            name="late",
            description="",
            source="",
            frame_start=protocol.frame_start,
            frame_duration=protocol.frame_duration,
            injection_time=(0.0, 1260.0),
        ),
        1,
        1e12,
    )
    assert shifted.first == 6
    assert shifted.duration_T[0] == 90.0  # of 150 s
    assert shifted.correction_T[0] == pytest.approx(150 / 90)
    assert shifted.correction_T[1] == pytest.approx(1.0)
