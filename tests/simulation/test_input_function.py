"""Input functions: shape, metabolites, scaling with dose over weight."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.input_function import Feng, InputFunction, MeasuredCurve
from dtsinn.core.tracer import load_tracer
from dtsinn.simulation.input_function import (
    blood_curve,
    draw_input,
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
    values = blood_curve(curve, minutes)
    assert values.max() == pytest.approx(36.6, rel=0.01)
    assert 60 * (minutes[values.argmax()] - curve.delay_min) == pytest.approx(34, abs=2)
    assert blood_curve(curve, np.array([60 + curve.delay_min]))[0] == pytest.approx(4.14, rel=0.01)


def test_activity_in_blood_scales_with_dose_over_weight() -> None:
    tracer = load_tracer("fmz")
    light = draw_input(tracer, np.random.default_rng(3), 400.0, 50.0)
    heavy = draw_input(tracer, np.random.default_rng(3), 200.0, 100.0)
    minutes = np.linspace(0, 90, 50)
    np.testing.assert_allclose(
        blood_curve(light, minutes), 4 * blood_curve(heavy, minutes), rtol=1e-12
    )


def test_spread_factors_have_the_stated_variation_and_are_clipped() -> None:
    factors = log_normal(np.random.default_rng(0), 0.15, (20000,))
    assert np.median(factors) == pytest.approx(1.0, abs=0.01)
    assert factors.std() / factors.mean() == pytest.approx(0.15, rel=0.05)  # clipping costs 3 %
    assert factors.max() < 1.5


def changed(**fields: object) -> InputFunction:
    """The input of FDG with other fields."""
    return dataclasses.replace(load_tracer("fdg").input, **fields)


@pytest.mark.parametrize("seconds", [5.0, 30.0, 120.0])
def test_an_infusion_is_the_mean_of_boluses_spread_over_it(seconds: float) -> None:
    bolus, infusion = changed(), changed(infusion_s=seconds)
    minutes = np.linspace(0, 90, 181)
    starts = (np.arange(20000) + 0.5) / 20000 * seconds / 60
    wanted = [blood_curve(bolus, minute - starts).mean() for minute in minutes]
    np.testing.assert_allclose(blood_curve(infusion, minutes), wanted, rtol=1e-4, atol=1e-6)


def test_a_short_infusion_is_a_bolus_and_a_long_one_loses_no_activity() -> None:
    minutes = np.linspace(0, 90, 1801)
    bolus = blood_curve(changed(), minutes)
    np.testing.assert_allclose(blood_curve(changed(infusion_s=0.01), minutes), bolus, atol=0.02)
    feng = Feng(A1=300.0, A2=5.0, A3=5.0, l1=4.0, l2=0.3, l3=0.2)  # gone within the 90 minutes
    areas = [
        np.trapezoid(blood_curve(changed(feng=feng, infusion_s=s), minutes), minutes)
        for s in (0.0, 120.0)
    ]
    assert areas[1] == pytest.approx(areas[0], rel=2e-3)


def test_a_table_follows_its_samples_and_then_its_last_slope() -> None:
    curve = changed()
    since = np.concatenate([np.arange(0, 5, 0.02), np.arange(5, 61, 1.0)])
    values = blood_curve(curve, since + curve.delay_min)
    table = MeasuredCurve(time_min=tuple(since), blood=tuple(values))
    measured = changed(feng=None, table=table)
    minutes = np.linspace(-2, 90, 2000)
    inside = minutes <= 60 + curve.delay_min
    ours, theirs = blood_curve(measured, minutes), blood_curve(curve, minutes)
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=0.01 * theirs.max())
    tail = ours[~inside]
    assert (np.diff(tail) < 0).all()
    np.testing.assert_allclose(np.diff(np.log(tail), 2), 0.0, atol=1e-9)
    assert (ours[minutes <= curve.delay_min] == 0).all()


def test_a_subject_of_a_measured_curve_scales_and_stretches_it() -> None:
    table = MeasuredCurve(time_min=(0.0, 0.5, 2.0, 60.0), blood=(0.0, 40.0, 12.0, 4.0))
    tracer = dataclasses.replace(load_tracer("fdg"), input=changed(feng=None, table=table))
    drawn = draw_input(tracer, np.random.default_rng(1), 250.0, 70.0)
    assert drawn.table is not None
    ratios = np.array(drawn.table.blood[1:]) / np.array(table.blood[1:])
    assert np.ptp(ratios) < 1e-12
    assert ratios[0] != 1.0
    stretched = np.array(drawn.table.time_min[1:]) / np.array(table.time_min[1:])
    assert np.ptp(stretched) < 1e-12


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"feng": None}, "neither feng nor table"),
        ({"table": MeasuredCurve(time_min=(0, 1, 2), blood=(0, 1, 1))}, "both feng and table"),
        ({"infusion_s": -1.0}, "infusion_s"),
        ({"feng": Feng(A1=0.0, A2=0.0, A3=0.0, l1=1.0, l2=1.0, l3=1.0)}, "some activity"),
        (
            {"feng": None, "table": MeasuredCurve(time_min=(0, 1, 2), blood=(0, 0, 0))},
            "nothing but 0",
        ),
        (
            {
                "feng": None,
                "infusion_s": 30.0,
                "table": MeasuredCurve(time_min=(0, 1, 2), blood=(0, 1, 1)),
            },
            "infusion_s beside a table",
        ),
        ({"feng": None, "table": MeasuredCurve(time_min=(0, 1), blood=(0, 1))}, "at least 3"),
        ({"feng": None, "table": MeasuredCurve(time_min=(0, 2, 1), blood=(0, 1, 1))}, "ascending"),
        (
            {"feng": None, "table": MeasuredCurve(time_min=(0, 1, 2), blood=(3, 1, 1))},
            "the arrival",
        ),
        ({"feng": None, "table": MeasuredCurve(time_min=(0, 1, 2), blood=(0, -1, 1))}, "blood"),
    ],
)
def test_numbers_that_make_no_curve_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        changed(**fields).check("input")
