"""Populations: who the subjects are, what is recorded of them, and that ``uniform`` stays."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from dtsinn.core.config import find_config, from_mapping, read_yaml, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.input_function import MeasuredCurve
from dtsinn.core.tracer import PARAMETERS, load_tracer
from dtsinn.data.check import check_store
from dtsinn.data.store import open_store
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.input_function import blood_curve
from dtsinn.simulation.kinetics import frame_averages
from dtsinn.simulation.population import load_population, reshape_input
from dtsinn.simulation.request import KINETICS, StudyRequest, region_names
from dtsinn.simulation.study import simulate_study
from dtsinn.simulation.subject import (
    curve_changes,
    draw_subject,
    input_time,
    subject_group,
    tissue_curves,
)

VARIED = StudyRequest(subjects=200, slices=2, size=32, population="varied")
UNIFORM = dataclasses.replace(VARIED, population="uniform")
GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
NAMES = region_names(VARIED)[1:]


def first_of(group: str, request: StudyRequest = VARIED) -> int:
    """Number of the first subject of a group."""
    return next(
        index for index in range(request.subjects) if subject_group(request, index)[0].name == group
    )


def test_the_uniform_population_is_what_older_versions_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of 0.1.0, made again: the same attributes, and values to a machine's rounding."""
    old = open_store(str(GOLDEN / "store.zarr"))
    monkeypatch.chdir(GOLDEN / "inputs")
    request = from_mapping(StudyRequest, old.group.attrs["request"], "request")
    assert (request.population, request.motion, request.slice_spacing) == ("uniform", 0.0, None)
    simulate_study(request, str(tmp_path / "new.zarr"), workers=1)
    new = open_store(str(tmp_path / "new.zarr"))
    assert old.header.population == new.header.population == "uniform"
    made = {"digest", "generator_version"}
    assert set(new.arrays) == set(old.arrays)
    assert {k: v for k, v in new.group.attrs.items() if k not in made} == {
        k: v for k, v in old.group.attrs.items() if k not in made
    }
    for name, array in old.arrays.items():
        before, now = np.asarray(array[...]), np.asarray(new.arrays[name][...])
        if before.dtype.kind == "f":
            np.testing.assert_allclose(now, before, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(now, before, err_msg=name)


def test_a_store_tells_the_groups_of_its_subjects(tmp_path: Path) -> None:
    request = dataclasses.replace(VARIED, subjects=24, slices=2, size=16)
    simulate_study(request, str(tmp_path / "varied.zarr"), workers=1)
    check_store(str(tmp_path / "varied.zarr"))
    store = open_store(str(tmp_path / "varied.zarr"))
    assert store.header.population == "varied"
    kept = store.group.attrs["population_definition"]
    assert kept == to_mapping(load_population("varied"))
    for subject, group in zip(store.subject_N, store.values("group"), strict=True):
        assert group == subject_group(request, int(subject.rpartition("-")[2]))[0].name
    tumour = store.header.region_names.index("tumour")
    for split in ("train", "gate"):
        for samples in store.subjects(split):
            group = store.values("group")[samples.index_N[0]]
            ill = group in ("high-grade-tumour", "low-grade-tumour", "infarct")
            assert samples.regions_NYX is not None
            assert ill or not (samples.regions_NYX >= tumour).any()


def test_groups_are_those_of_the_tracers_and_the_anatomy() -> None:
    counts = Counter(subject_group(VARIED, index)[0].name for index in range(200))
    shares = {g.name: g.share for g in load_population("varied").groups}
    whole = sum(shares[name] for name in counts)
    assert set(counts) == {
        "control",
        "alzheimer",
        "high-grade-tumour",
        "low-grade-tumour",
        "infarct",
    }
    for name, count in counts.items():
        assert count / 200 == pytest.approx(shares[name] / whole, abs=0.1)

    def groups(**change: object) -> set[str]:
        request = from_mapping(StudyRequest, to_mapping(VARIED) | change, "request")
        return {group.name for group in request.parts.groups}

    amyloid = groups(tracers=["pib", "fmz"])
    assert {"control", "alzheimer", "amyloid-positive", "infarct"} <= amyloid
    assert groups(phantom="thorax") == {"malignant", "inflammatory", "benign"}
    lesions = {"high-grade-tumour", "low-grade-tumour", "infarct"}
    assert groups(phantom="brain-lesion") == lesions
    assert groups(phantom="cylinder") == {"control"}
    uniform = {"population": "uniform"}
    assert groups(**uniform) == groups(**uniform, phantom="brain-lesion") == {"control"}


def test_patients_have_the_kinetics_of_their_disease_and_others_do_not() -> None:
    patient, control = first_of("alzheimer"), first_of("control")
    severity = subject_group(VARIED, patient)[1]
    changed = draw_subject(VARIED, patient).kinetics
    healthy = draw_subject(UNIFORM, patient).kinetics
    row = {name: NAMES.index(name) for name in NAMES}
    k3 = PARAMETERS.index("k3")
    ratio = changed[1, : healthy.shape[1]] / np.maximum(healthy[1], 1e-12)
    assert ratio[row["parietal"], k3] == pytest.approx(0.60**severity)
    assert ratio[row["parietal"], k3] < ratio[row["occipital"], k3] < 1
    assert ratio[row["cerebellum"], k3] == pytest.approx(1)
    same = draw_subject(VARIED, control).kinetics[:, : healthy.shape[1]]
    np.testing.assert_array_equal(same, draw_subject(UNIFORM, control).kinetics)


def test_lesions_differ_in_kind_and_only_their_groups_have_them() -> None:
    tumour = NAMES.index("tumour")
    uptake = {}
    for group in ("high-grade-tumour", "low-grade-tumour", "infarct"):
        drawn = [i for i in range(200) if subject_group(VARIED, i)[0].name == group][:8]
        curves = np.array([tissue_curves(VARIED, index)[1, :, -1] for index in drawn])
        uptake[group] = np.mean(curves[:, tumour] / curves[:, NAMES.index("frontal")])
        assert (render_subject(VARIED, drawn[0]).regions > tumour).any()
    assert uptake["high-grade-tumour"] > 1.2 * uptake["low-grade-tumour"]
    assert uptake["low-grade-tumour"] > 1.2 * uptake["infarct"]
    assert (render_subject(VARIED, first_of("control")).regions <= tumour).all()


def test_doses_and_inputs_differ_over_their_ranges() -> None:
    typical = load_tracer("fdg").dose_MBq
    doses = np.array([draw_subject(VARIED, index).dose_MBq for index in range(100)])
    factors = doses[:, 1] / typical
    assert factors.min() < 0.75
    assert factors.max() > 1.35
    assert abs(np.corrcoef(doses.T)[0, 1]) < 0.3  # the two are given apart
    shape = load_population("varied").input
    assert shape is not None
    minutes = np.linspace(0.0, 60.0, 1201)
    for name in ("fdg", "fmz", "av45"):
        ratios = []
        for seed in range(60):
            curve = reshape_input(shape, load_tracer(name).input, np.random.default_rng(seed))
            blood = blood_curve(curve, minutes)
            assert (blood >= 0).all()
            ratios.append(blood.max() / blood[600])
        spread = np.std(np.log(ratios))
        assert 0.2 < spread < 0.6, f"{name}: 0.30 by PBR28 scans, and infusions of other lengths"


def test_a_measured_input_keeps_its_times_and_changes_its_shape() -> None:
    shape = load_population("varied").input
    assert shape is not None
    table = MeasuredCurve(time_min=(0.0, 0.5, 10.0, 60.0), blood=(0.0, 100.0, 20.0, 8.0))
    curve = dataclasses.replace(load_tracer("fdg").input, feng=None, table=table)
    other = reshape_input(shape, curve, np.random.default_rng(1))
    assert other.table is not None
    other.check("input")
    factors = np.array(other.table.blood[1:]) / np.array(table.blood[1:])
    assert other.table.time_min == table.time_min
    assert np.ptp(factors) > 0.01


def test_voxels_of_a_region_differ_in_the_shape_of_their_curves() -> None:
    """Curves by the linear rule are those of compartments with other constants, to 1 %."""
    index, cv = first_of("control"), 0.05
    subject = draw_subject(VARIED, index)
    base = tissue_curves(VARIED, index)
    changes = curve_changes(VARIED, index, cv)
    assert [list(one) for one in changes] == [["k2"], ["k2", "k3", "k4"]]
    region, k2 = NAMES.index("temporal"), PARAMETERS.index("k2")
    other = subject.kinetics.copy()
    other[0, region, k2] *= np.exp(1.5 * cv)
    times = np.unique(np.concatenate([input_time(VARIED), np.arange(0.0, 5400.5, 0.5)]))
    protocol = VARIED.parts.protocol
    plasma, blood = (
        np.interp(times, input_time(VARIED), one[0]) for one in (subject.plasma, subject.blood)
    )
    decay, edges = load_tracer("fmz").decay_constant, np.array(protocol.frame_edges)
    sampled, moved = (
        frame_averages(kinetics, times, plasma, blood, decay, edges)[region]
        for kinetics in (subject.kinetics[0], other[0])
    )
    exact = base[0, region] * moved / sampled  # the stored input is sampled: its error cancels
    linear = base[0, region] + 1.5 * changes[0]["k2"][region]
    assert np.abs(linear - exact).max() < 0.002 * exact.max()
    assert np.abs(base[0, region] - exact).max() > 0.01 * exact.max()


def test_voxels_differ_and_stay_above_zero() -> None:
    images, same = (render_subject(one, first_of("control")) for one in (VARIED, UNIFORM))
    assert images.tracers.min() >= 0
    inside = images.regions == NAMES.index("white") + 1
    late, before = (one.tracers[:, :, -1] / one.tracers[:, :, 10] for one in (images, same))
    for k in range(2):  # in shape, not in height alone: what anatomy does is the same in both
        ratio = (late / before)[:, k][inside]
        assert 0.004 < ratio.std() / ratio.mean() < 0.08


def test_a_request_may_ask_for_another_dose_other_kinetics_and_a_wrong_input() -> None:
    base = draw_subject(UNIFORM, 3)
    double = draw_subject(dataclasses.replace(UNIFORM, dose=2.0), 3)
    assert double.dose_MBq == pytest.approx([2 * dose for dose in base.dose_MBq])
    np.testing.assert_allclose(double.plasma, 2 * base.plasma, rtol=1e-9)
    np.testing.assert_array_equal(double.kinetics, base.kinetics)
    other = draw_subject(dataclasses.replace(UNIFORM, kinetics=KINETICS[1]), 3)
    frontal = NAMES.index("frontal")
    np.testing.assert_allclose(other.kinetics[:, frontal, 0], 1.3 * base.kinetics[:, frontal, 0])
    wrong = dataclasses.replace(UNIFORM, input_mismatch=0.2)
    stored = draw_subject(wrong, 3)
    np.testing.assert_array_equal(tissue_curves(wrong, 3), tissue_curves(UNIFORM, 3))
    assert np.abs(stored.plasma / np.maximum(base.plasma, 1e-9) - 1)[0, 100:].max() > 0.02


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"population": "rats"}, "no such population; got 'rats'; wanted one of uniform, varied"),
        ({"motion": -1.0}, "motion; got -1.0; wanted a number from 0 to 50"),
        ({"dose": 0.0}, "dose; got 0.0"),
        ({"kinetics": "odd"}, "no such kinetics; got 'odd'; wanted one of typical, other"),
        ({"input_mismatch": 2.0}, "input mismatch; got 2.0"),
        ({"slice_spacing": 0.0}, "slice spacing; got 0.0"),
        ({"slice_spacing": 9.0, "slices": 40}, "got 40 slices at 9 mm; wanted at most 240 mm"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        from_mapping(StudyRequest, to_mapping(VARIED) | change, "request")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("voxel", [0.05, 0.02], "voxel; got 0.05 to 0.02; wanted the smaller number first"),
        ("dose", [0.0, 1.0], "dose; got 0.0; wanted a number above 0"),
        ("groups", [], "groups; got []; wanted at least one"),
    ],
)
def test_a_wrong_population_is_refused_in_one_line(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    path = tmp_path / "mine.yaml"
    content = read_yaml(find_config("populations", "varied")) | {"name": "mine"}
    path.write_text(yaml.safe_dump(content))
    assert load_population(str(path)).name == "mine"
    path.write_text(yaml.safe_dump(content | {key: value}))
    with pytest.raises(InputError) as caught:
        load_population(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_population_is_called_by_its_name_in_the_store(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    content = read_yaml(find_config("populations", "uniform")) | {"name": "mine"}
    path.write_text(yaml.safe_dump(content))
    request = StudyRequest(subjects=1, slices=1, size=16, population=str(path))
    header = simulate_study(request, str(tmp_path / "s.zarr"), workers=1).header
    assert header.population == "mine"
