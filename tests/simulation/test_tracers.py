"""Every shipped tracer, as blood and tissue curves: plausible amounts, uptake in the right order.

Everything is decay-corrected and in SUV: kBq/mL times body weight over injected dose (kg/MBq).
"""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from dtsinn.core.tracer import PARAMETERS, load_tracer, tracer_names
from dtsinn.simulation.anatomy.anatomy import BLOOD, NOTHING
from dtsinn.simulation.anatomy.phantom import PHANTOMS
from dtsinn.simulation.input_function import (
    FloatArray,
    blood_curve,
    parent_fraction,
    plasma_and_blood,
)
from dtsinn.simulation.kinetics import frame_averages, time_grid

NEARLY_STABLE = 1e-7
"""Decay constant that stands for none, 1/s: the models divide by it (0.05 % in 90 min)."""
PEAK_SUV = (7.0, 50.0)
LATE_BLOOD_SUV = (0.3, 1.5)
TISSUE_SUV = (0.05, 40.0)
CSF_SUV = (0.01, 1.0)
"""Ranges in which a PET physicist finds nothing odd (uncited)."""

# (minutes after the injection, region, its SUV over that of, region, is at least)
ORDER = {
    "fdg": [
        (60, "frontal", "white", 2.0),
        (60, "tumour", "white", 2.0),
        (60, "putamen", "cerebellum", 1.3),
        (60, "myocardium", "lung", 5.0),
        (60, "lesion", "muscle", 3.0),
    ],
    "fmz": [
        (30, "occipital", "thalamus", 1.5),
        (30, "frontal", "putamen", 2.0),
        (30, "cerebellum", "white", 2.0),
        (30, "white", "brainstem", 1.0),
        (30, "frontal", "tumour", 3.0),
    ],
    "dtbz": [
        (60, "putamen", "cerebellum", 2.0),
        (60, "caudate", "frontal", 2.0),
        (60, "thalamus", "frontal", 1.1),
        (10, "frontal", "white", 1.5),
    ],
    "mpdx": [
        (60, "thalamus", "cerebellum", 1.5),
        (60, "frontal", "cerebellum", 1.3),
        (60, "putamen", "white", 2.0),
    ],
    "met": [
        (30, "tumour", "frontal", 1.5),
        (30, "frontal", "white", 1.3),
        (30, "liver", "muscle", 3.0),
        (30, "bone", "muscle", 2.0),
    ],
    "ace": [
        (5, "myocardium", "lung", 5.0),
        (5, "myocardium", "liver", 1.2),
        (20, "lesion", "muscle", 2.0),
        (20, "tumour", "frontal", 1.5),
    ],
    "flt": [
        (60, "bone", "lesion", 2.0),
        (60, "bone", "muscle", 10.0),
        (60, "tumour", "frontal", 3.0),
        (60, "liver", "muscle", 5.0),
    ],
    "fdopa": [
        (80, "putamen", "cerebellum", 2.0),
        (80, "caudate", "frontal", 1.5),
        (20, "tumour", "putamen", 1.2),
        (60, "tumour", "white", 2.0),
    ],
    "pib": [
        (60, "white", "cerebellum", 1.2),
        (5, "frontal", "white", 1.5),
        (60, "brainstem", "cerebellum", 1.1),
    ],
    "av45": [
        (60, "white", "frontal", 1.2),
        (5, "frontal", "white", 1.5),
        (60, "brainstem", "cerebellum", 1.1),
    ],
    "raclopride": [
        (60, "putamen", "frontal", 3.0),
        (60, "caudate", "cerebellum", 3.0),
        (60, "thalamus", "frontal", 1.1),
        (60, "frontal", "cerebellum", 1.05),
    ],
    "atsm": [
        (20, "lesion", "muscle", 3.0),
        (20, "tumour", "frontal", 1.5),
        (20, "myocardium", "lung", 3.0),
    ],
    "ptsm": [
        (20, "myocardium", "muscle", 5.0),
        (20, "myocardium", "lung", 10.0),
        (20, "frontal", "white", 1.5),
        (20, "lesion", "muscle", 2.0),
    ],
    "fet": [
        (30, "tumour", "frontal", 1.6),
        (30, "frontal", "white", 1.2),
        (30, "lesion", "lung", 2.0),
    ],
    "nh3": [
        (15, "myocardium", "lung", 10.0),
        (15, "myocardium", "liver", 1.5),
        (15, "frontal", "white", 1.5),
    ],
    "psma": [
        (60, "lesion", "muscle", 10.0),
        (60, "lesion", "liver", 1.1),
        (60, "tumour", "frontal", 3.0),
    ],
    "fapi": [
        (60, "lesion", "liver", 2.0),
        (60, "lesion", "muscle", 5.0),
        (60, "tumour", "frontal", 3.0),
    ],
    "rb82": [
        (5, "myocardium", "lung", 3.0),
        (5, "myocardium", "muscle", 3.0),
        (5, "tumour", "frontal", 2.0),
    ],
}

PARENT = [
    ("fmz", 3, 0.75),
    ("fmz", 20, 0.40),
    ("fmz", 60, 0.20),
    ("dtbz", 30, 0.50),
    ("met", 20, 0.90),
    ("flt", 60, 0.75),
]


def suv_scale(name: str) -> float:
    """Turns kBq/mL of a tracer's typical input function into SUV."""
    curve = load_tracer(name).input
    return curve.reference_weight_kg / curve.reference_dose_MBq


@functools.cache
def tissue_suv(name: str) -> dict[str, FloatArray]:
    """[90] SUV in every tissue, averaged over each minute after the injection."""
    tracer = load_tracer(name)
    edges = np.arange(0.0, 5401.0, 60.0)
    times = time_grid(edges[-1], np.array([*edges, 60 * tracer.input.delay_min]))
    plasma, blood = plasma_and_blood(tracer.input, NEARLY_STABLE, 0.0, times)
    rows = np.array([[getattr(row, p) for p in PARAMETERS] for row in tracer.tissues.values()])
    curves = frame_averages(rows, times, plasma, blood, NEARLY_STABLE, edges) * suv_scale(name)
    return dict(zip(tracer.tissues, curves, strict=True))


@pytest.mark.parametrize("name", tracer_names())
def test_blood_rises_once_after_the_arrival_and_then_falls(name: str) -> None:
    curve = load_tracer(name).input
    since = np.arange(-120.0, 5400.0, 1.0) / 60
    blood = blood_curve(curve, since + curve.delay_min)
    assert (blood >= 0).all()
    assert blood[since <= 0].max() == 0
    assert (blood[since > 0] > 0).all()
    peak = blood.argmax()
    assert 0.25 <= since[peak] <= 3.0
    assert (np.diff(blood[: peak + 1]) >= 0).all()
    assert (np.diff(blood[peak:]) < 0).all()


@pytest.mark.parametrize("name", tracer_names())
def test_blood_is_plausible_early_and_late(name: str) -> None:
    suv = blood_curve(load_tracer(name).input, np.arange(0.0, 60.01, 1 / 60)) * suv_scale(name)
    assert PEAK_SUV[0] <= suv.max() <= PEAK_SUV[1]
    assert LATE_BLOOD_SUV[0] <= suv[-1] <= LATE_BLOOD_SUV[1]


@pytest.mark.parametrize("name", tracer_names())
def test_every_tissue_takes_up_a_plausible_amount(name: str) -> None:
    for region, suv in tissue_suv(name).items():
        lowest, highest = CSF_SUV if region == "csf" else TISSUE_SUV
        assert suv.max() <= highest, region
        assert suv[5:60].min() >= lowest, region


def test_every_tracer_has_an_expected_order() -> None:
    assert sorted(ORDER) == tracer_names()


@pytest.mark.parametrize(
    ("name", "minute", "high", "low", "ratio"),
    [(name, *row) for name, rows in ORDER.items() for row in rows],
)
def test_tissues_take_up_a_tracer_in_the_expected_order(
    name: str, minute: int, high: str, low: str, ratio: float
) -> None:
    suv = tissue_suv(name)
    assert suv[high][minute - 1] > ratio * suv[low][minute - 1]


@pytest.mark.parametrize("name", ["pib", "av45"])
def test_the_cortex_of_an_amyloid_tracer_is_that_of_a_healthy_control(name: str) -> None:
    suv = tissue_suv(name)
    ratio = suv["frontal"][50:70].mean() / suv["cerebellum"][50:70].mean()
    assert 1.0 < ratio < 1.25


def test_acetate_leaves_the_myocardium_and_fdg_stays() -> None:
    assert tissue_suv("ace")["myocardium"][40] < 0.3 * tissue_suv("ace")["myocardium"].max()
    assert (np.diff(tissue_suv("fdg")["myocardium"][10:]) > 0).all()


@pytest.mark.parametrize("name", ["flt", "psma", "fapi", "rb82"])
def test_the_blood_brain_barrier_keeps_some_tracers_out(name: str) -> None:
    tracer, suv = load_tracer(name), tissue_suv(name)
    blood = blood_curve(tracer.input, np.arange(0.5, 90.0)) * suv_scale(name)
    for region in ("white", "frontal", "hippocampus", "putamen", "cerebellum", "brainstem"):
        assert (suv[region][5:60] < 0.3 * blood[5:60]).all()


@pytest.mark.parametrize(("name", "minute", "fraction"), PARENT)
def test_the_parent_fraction_is_the_stated_one(name: str, minute: float, fraction: float) -> None:
    parent = load_tracer(name).input.parent
    assert parent_fraction(parent, np.array([minute]))[0] == pytest.approx(fraction, abs=0.025)


@pytest.mark.parametrize("name", [n for n in tracer_names() if load_tracer(n).input.parent])
def test_the_parent_fraction_is_the_one_that_its_source_states(name: str) -> None:
    parent = load_tracer(name).input.parent
    assert parent is not None
    stated = re.findall(r"(0\.\d+) at (\d+\.?\d*)", parent.source)
    assert stated
    for fraction, minute in stated:
        now = parent_fraction(parent, np.array([float(minute)]))[0]
        assert now == pytest.approx(float(fraction), abs=0.006), minute


@pytest.mark.parametrize("name", tracer_names())
def test_every_phantom_has_only_tissues_that_the_tracer_describes(name: str) -> None:
    known = {BLOOD, NOTHING, *load_tracer(name).tissues}
    for phantom, load in PHANTOMS.items():
        wanted = {region.tissue for region in load().regions}
        assert wanted <= known, phantom
