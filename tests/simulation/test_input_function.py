"""Input functions: shape, metabolites, scaling with dose over weight."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.tracer import load_tracer
from dtsinn.simulation.input_function import (
    draw_input,
    feng,
    log_normal,
    parent_fraction,
    plasma_and_blood,
)


def test_the_parent_fraction_of_fmz_is_the_stated_one() -> None:
    parent = load_tracer("fmz").input.parent
    fractions = parent_fraction(parent, np.array([-1.0, 0.0, 3.0, 20.0, 60.0]))
    np.testing.assert_allclose(fractions, [1.0, 1.0, 0.75, 0.40, 0.22], atol=0.005)


def test_blood_holds_the_metabolites_that_plasma_lacks() -> None:
    times = np.linspace(0, 5400, 500)
    for name in ("fmz", "fdg"):
        tracer = load_tracer(name)
        plasma, blood = plasma_and_blood(tracer.input, tracer.decay_constant, 1200.0, times)
        arrival = 1200 + 60 * tracer.input.delay_min
        assert (plasma[times <= arrival] == 0).all()
        assert (blood[times > arrival] > 0).all()
        lost = blood[times > arrival] - plasma[times > arrival]
        assert (lost > 0).all() if name == "fmz" else (lost == 0).all()


def test_the_feng_curve_of_fdg_has_the_published_peak() -> None:
    """36.6 kBq/mL 34 s after the arrival, 4.14 kBq/mL an hour after it."""
    curve = load_tracer("fdg").input
    minutes = np.linspace(0, 70, 70 * 120 + 1)
    values = feng(curve, minutes)
    assert values.max() == pytest.approx(36.6, rel=0.01)
    assert 60 * (minutes[values.argmax()] - curve.delay_min) == pytest.approx(34, abs=2)
    assert feng(curve, np.array([60 + curve.delay_min]))[0] == pytest.approx(4.14, rel=0.01)


def test_activity_in_blood_scales_with_dose_over_weight() -> None:
    tracer = load_tracer("fmz")
    light = draw_input(tracer, np.random.default_rng(3), 400.0, 50.0)
    heavy = draw_input(tracer, np.random.default_rng(3), 200.0, 100.0)
    minutes = np.linspace(0, 90, 50)
    np.testing.assert_allclose(feng(light, minutes), 4 * feng(heavy, minutes), rtol=1e-12)


def test_spread_factors_have_the_stated_variation_and_are_clipped() -> None:
    factors = log_normal(np.random.default_rng(0), 0.15, (20000,))
    assert np.median(factors) == pytest.approx(1.0, abs=0.01)
    assert factors.std() / factors.mean() == pytest.approx(0.15, rel=0.05)  # clipping costs 3 %
    assert factors.max() < 1.5
