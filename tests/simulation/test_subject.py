"""Subjects: determinism, independence of draws, physiology, refusals."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr
from scipy.ndimage import binary_erosion

from dtsinn.core.config import find_config, from_mapping, read_yaml, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol
from dtsinn.core.tracer import load_tracer
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest, region_names, voxel_size
from dtsinn.simulation.study import simulate_study
from dtsinn.simulation.subject import (
    draw_subject,
    input_time,
    slice_positions,
    tissue_curves,
)

SMALL = StudyRequest(subjects=20, slices=2, size=32)


def digest(request: StudyRequest, index: int) -> str:
    images, subject = render_subject(request, index), draw_subject(request, index)
    arrays: list[Any] = [images.mixture, images.tracers, images.regions, images.slice_position]
    arrays += [subject.kinetics, subject.plasma, subject.blood]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def test_shapes_types_and_units_are_the_contract() -> None:
    request = dataclasses.replace(SMALL, slices=3)
    images, subject = render_subject(request, 0), draw_subject(request, 0)
    assert images.mixture.shape == (3, 18, 32, 32)
    assert images.tracers.shape == (3, 2, 18, 32, 32)
    assert images.regions.shape == (3, 32, 32)
    assert images.mixture.dtype == images.tracers.dtype == np.float32
    assert images.regions.dtype == np.uint8
    assert images.slice_position.dtype == np.float64
    np.testing.assert_array_equal(images.slice_position, slice_positions(request, 0))
    times = input_time(request)
    assert subject.kinetics.shape == (2, len(region_names(request)) - 1, 5)
    assert subject.plasma.shape == subject.blood.shape == (2, times.size)
    assert (np.diff(times) > 0).all()
    assert (times[0], times[-1]) == (0.0, 5400.0)
    assert voxel_size(request) == pytest.approx(230 / 32)
    assert region_names(request)[0] == "outside"


def test_a_subject_is_the_same_whatever_came_before_and_in_any_process() -> None:
    first = digest(SMALL, 3)
    render_subject(SMALL, 1)
    assert digest(SMALL, 3) == first
    assert digest(dataclasses.replace(SMALL, subjects=7), 3) == first
    program = (
        "import runpy, sys\n"
        f"names = runpy.run_path({str(Path(__file__))!r})\n"
        "sys.stdout.write(names['digest'](names['SMALL'], 3))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert other.stdout == first


def test_subjects_seeds_and_purposes_differ() -> None:
    digests = {
        digest(SMALL, 0),
        digest(SMALL, 1),
        digest(dataclasses.replace(SMALL, seed=1), 0),
        digest(dataclasses.replace(SMALL, purpose="suite"), 0),
    }
    assert len(digests) == 4
    one, other = draw_subject(SMALL, 0), draw_subject(SMALL, 1)
    assert one.weight_kg != other.weight_kg
    assert (one.kinetics[one.kinetics > 0] != other.kinetics[one.kinetics > 0]).all()


def test_noise_leaves_the_truth_alone_and_scales_with_its_level() -> None:
    low, high = (
        render_subject(dataclasses.replace(SMALL, noise=level), 2) for level in ("low", "high")
    )
    np.testing.assert_array_equal(low.tracers, high.tracers)
    np.testing.assert_array_equal(low.regions, high.regions)
    truth = low.tracers.sum(axis=1)
    assert (high.mixture - truth).std() == pytest.approx(4 * (low.mixture - truth).std(), rel=0.01)
    assert (high.mixture < 0).any()


def test_a_tracer_is_the_same_in_a_subject_whatever_it_is_paired_with() -> None:
    swapped = dataclasses.replace(SMALL, tracers=("fdg", "fmz"))
    one, other = draw_subject(SMALL, 4), draw_subject(swapped, 4)
    np.testing.assert_array_equal(one.kinetics, other.kinetics[::-1])
    assert one.dose_MBq == other.dose_MBq[::-1]


@pytest.mark.parametrize("protocol", ["p1", "p3"])
def test_nothing_is_there_before_an_injection_and_something_after(protocol: str) -> None:
    request = dataclasses.replace(SMALL, protocol=protocol)
    images, subject = render_subject(request, 0), draw_subject(request, 0)
    times = input_time(request)
    frames = load_protocol(protocol)
    for k, injection in enumerate(frames.injection_time):
        for t, start in enumerate(frames.frame_start):
            amount = images.tracers[:, k, t]
            assert amount.max() > 0 if start >= injection else (amount == 0).all()
        assert (subject.plasma[k, times < injection] == 0).all()
    assert images.tracers.min() >= 0


def test_curves_make_sense() -> None:
    """FMZ binds in cortex and leaves, FDG is trapped: its decay-corrected curve rises."""
    names = region_names(SMALL)[1:]
    protocol = load_protocol("p1")
    middle = np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2
    fdg = load_tracer("fdg")
    for index in range(10):
        curves = tissue_curves(SMALL, index)
        cortex = [names.index(name) for name in ("frontal", "parietal", "temporal", "occipital")]
        white = names.index("white")
        assert (curves[0, cortex, 5] > 1.5 * curves[0, white, 5]).all()
        assert (curves[0, :, -1] < 0.2 * curves[0].max(axis=1)).all()
        corrected = curves[1] * np.exp(fdg.decay_constant * (middle - 1200))
        assert (np.diff(corrected[cortex, 6:]) > 0).all()
        assert 3 < curves[0, cortex].max() < 80  # kBq/mL
        assert 3 < curves[1, cortex].max() < 60


def test_more_dose_per_weight_gives_more_activity() -> None:
    drawn = [draw_subject(SMALL, index) for index in range(20)]
    given = [subject.dose_MBq[1] / subject.weight_kg for subject in drawn]
    seen = [subject.blood[1].max() for subject in drawn]
    assert np.corrcoef(given, seen)[0, 1] > 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tracers": ("fmz", "fgd")}, "fdg"),
        ({"protocol": "p9"}, "p1"),
        ({"phantom": "fish"}, "brain"),
        ({"noise_model": "poisson"}, "image, osem"),
        ({"labels": "noisy"}, "truth, osem"),
        ({"labels": "osem"}, "wanted noise model osem"),
        ({"noise_model": "osem", "scanner": "none"}, "ge-dls"),
        ({"scanner": "none"}, "got noise model image, which has none"),
        ({"scanner": "polygon-2mm"}, "got noise model image, which has none"),
        ({"noise_model": "osem", "noise": "loud"}, "low, mid, high"),
        ({"noise": "loud"}, "low, mid, high"),
        ({"subjects": 0}, "subjects"),
        ({"slices": 0}, "slices"),
        ({"size": 2}, "size"),
        ({"seed": -1}, "seed"),
        ({"purpose": ""}, "purpose"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        from_mapping(StudyRequest, to_mapping(SMALL) | change, "request")
    assert "\n" not in str(caught.value)


def test_a_tracer_without_kinetics_for_a_region_is_refused(tmp_path: Path) -> None:
    mapping = read_yaml(find_config("tracers", "fdg"))
    del mapping["tissues"]["putamen"]
    path = tmp_path / "part.yaml"
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    with pytest.raises(InputError, match="no kinetics for putamen"):
        StudyRequest(tracers=("fmz", str(path)))


def test_a_subject_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="0 to 19"):
        draw_subject(SMALL, 20)


def test_tracers_of_a_users_file_are_called_by_their_name(tmp_path: Path) -> None:
    mapping = read_yaml(find_config("tracers", "fmz")) | {"name": "fmz-mine"}
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(mapping))
    request = StudyRequest(tracers=(str(own), "fdg"), subjects=2, slices=1, size=16)
    header = simulate_study(request, str(tmp_path / "own.zarr"), workers=1).header
    assert header.tracers == ("fmz-mine", "fdg")


def test_one_tracer_twice_is_refused() -> None:
    with pytest.raises(InputError, match="tracers; got fdg twice; wanted two that differ"):
        StudyRequest(tracers=("fdg", "fdg"))


SCANNED = StudyRequest(subjects=2, slices=2, size=32, noise_model="osem")


def test_a_scan_is_near_the_truth_and_less_so_with_fewer_counts() -> None:
    errors = []
    for level in ("low", "high"):
        images = render_subject(dataclasses.replace(SCANNED, noise=level), 0)
        assert images.mixture.dtype == np.float32
        assert (images.mixture >= 0).all()
        late = images.tracers.sum(axis=1)[:, -1]
        body = images.regions > 0
        assert images.mixture[:, -1][body].mean() == pytest.approx(late[body].mean(), rel=0.05)
        errors.append(np.square(images.mixture[:, -1] - late)[body].mean())
    assert errors[1] > 2 * errors[0]


def test_labels_of_scans_of_each_tracer_alone_are_noisy_and_empty_before_injection() -> None:
    scanned = render_subject(dataclasses.replace(SCANNED, labels="osem"), 0)
    truth = render_subject(SCANNED, 0)
    np.testing.assert_array_equal(scanned.mixture, truth.mixture)
    assert scanned.tracers.shape == truth.tracers.shape
    assert (scanned.tracers[:, 1, :6] == 0).all()
    body = truth.regions > 0
    for k in range(2):
        ours, true = scanned.tracers[:, k, -1], truth.tracers[:, k, -1]
        assert not np.allclose(ours[body], true[body], rtol=0.01)
        assert ours[body].mean() == pytest.approx(true[body].mean(), rel=0.1)


def test_blood_follows_the_input_and_nothing_stays_empty() -> None:
    thorax = StudyRequest(subjects=1, slices=1, size=16, phantom="thorax", tracers=("fdg", "fmz"))
    pool = list(region_names(thorax)).index("blood") - 1
    subject, curves = draw_subject(thorax, 0), tissue_curves(thorax, 0)
    np.testing.assert_array_equal(subject.kinetics[:, pool], [[0, 0, 0, 0, 1]] * 2)
    times, protocol = input_time(thorax), load_protocol("p1")
    last = (times >= protocol.frame_start[-1]) & (times <= protocol.end)
    seen = subject.blood[0][last].mean()
    assert curves[0, pool, -1] == pytest.approx(seen, rel=0.01)
    rods = StudyRequest(subjects=1, slices=1, size=16, phantom="cylinder", tracers=("fdg", "fmz"))
    of = dict(zip(region_names(rods)[1:], tissue_curves(rods, 0).swapaxes(0, 1), strict=True))
    assert (of["cold"] == 0).all()
    np.testing.assert_allclose(of["hot"], 4 * of["background"], rtol=1e-12)


def own_tracer(path: Path, **changes: object) -> str:
    """A file of the user's: FDG under another name, and changed."""
    mapping = read_yaml(find_config("tracers", "fdg")) | {"name": "own"} | changes
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return str(path)


def test_a_request_means_what_its_files_said_when_it_was_made(tmp_path: Path) -> None:
    name = own_tracer(tmp_path / "own.yaml", dose_MBq=100)
    request = StudyRequest(tracers=("fmz", name), subjects=1, slices=1, size=16)
    weak = tissue_curves(request, 0)[1]
    own_tracer(tmp_path / "own.yaml", dose_MBq=1000)
    there = pickle.loads(pickle.dumps(request))  # as a worker process gets it
    np.testing.assert_array_equal(tissue_curves(there, 0)[1], weak)
    header = simulate_study(request, str(tmp_path / "own.zarr"), workers=1)
    group = zarr.open_group(tmp_path / "own.zarr", mode="r")
    assert group.attrs["tracer_definitions"][1]["dose_MBq"] == 100
    assert header.samples == 1
    again = dataclasses.replace(request)
    np.testing.assert_allclose(tissue_curves(again, 0)[1], 10 * weak, rtol=1e-12)


def test_a_tracer_that_arrives_after_the_scan_is_refused(tmp_path: Path) -> None:
    late = read_yaml(find_config("tracers", "fdg"))["input"] | {"delay_min": 71}
    name = own_tracer(tmp_path / "own.yaml", input=late)
    with pytest.raises(InputError, match="does not arrive within protocol 'p1'"):
        StudyRequest(tracers=("fmz", name))


def test_a_tissue_keeps_a_blood_volume_that_its_file_states(tmp_path: Path) -> None:
    tissues = read_yaml(find_config("tracers", "fdg"))["tissues"]
    tissues["lung"]["vB"] = 0.4
    name = own_tracer(tmp_path / "own.yaml", tissues=tissues)
    request = StudyRequest(tracers=("fmz", name), subjects=20, slices=1, phantom="thorax")
    lung = region_names(request).index("lung") - 1
    drawn = [draw_subject(request, index).kinetics[1, lung, 4] for index in range(20)]
    assert max(drawn) == 0.4
    assert len(set(drawn)) > 5


def test_pure_blood_has_no_spread_between_voxels() -> None:
    request = StudyRequest(phantom="thorax", subjects=1, slices=4, size=96)
    images, curves = render_subject(request, 0), tissue_curves(request, 0)
    blood = region_names(request).index("blood")
    pure = binary_erosion(images.regions == blood, np.ones((1, 3, 3)), iterations=3)
    assert pure.sum() > 5
    seen = images.tracers[:, 0, -1][pure]
    off = np.abs(seen / curves[0, blood - 1, -1] - 1)  # a wall may pass within a blur's reach
    assert np.median(off) < 1e-3  # with a spread it would be about 0.03
