"""Semi-real mixtures: physics against direct simulation, and pairs that are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol
from dtsinn.importers import semi_real
from dtsinn.importers.scans import IMPORTERS

EARLY = 6
"""Frames of p1 before its second injection."""


def test_mixtures_are_close_to_a_direct_simulation(study, simulated) -> None:
    """Frames of 30 s that begin 7 s before the injection, against the model itself."""
    archive, plan = study
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    for index, subject in enumerate(simulated):
        read = source.read(index)
        truth = subject.direct_SKTYX
        peak_K = truth.max(axis=(0, 2, 3, 4))
        error_K = np.abs(read["tracers"] - truth).max(axis=(0, 2, 3, 4))
        assert (error_K < 0.003 * peak_K).all()
        assert np.array_equal(read["mixture"], read["tracers"].sum(axis=1))
        assert (read["tracers"][:, 1, :EARLY] == 0).all()
        assert (read["tracers"][:, 1, EARLY] > 0).any()


def test_the_study_says_what_it_is(study) -> None:
    archive, plan = study
    plan["subjects"][1]["split"] = "gate"
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    shape = source.shape
    assert shape.tracers == ("fmz", "fdg")
    assert shape.half_life == (1224.0, 6588.0)
    assert shape.protocol == load_protocol("p1")
    assert (shape.size, shape.has_truth) == ((16, 16), True)
    assert shape.voxel_size == pytest.approx((3.0, 2.0))
    assert shape.attributes["labels"] == "single-tracer scans"
    assert shape.attributes["noise"] == {"model": "measured"}
    assert shape.attributes["source_format"] == "nifti"
    way = {"frames": [[185, 30.0]], "first_frame": -7.0, "decay_corrected": True, "scans": 3}
    assert shape.attributes["source_scans"] == {"fmz": [way], "fdg": [way]}
    json.dumps(dict(shape.attributes))
    assert [subject.identity for subject in source.subjects] == [f"person-{n}" for n in range(3)]
    assert [subject.split for subject in source.subjects] == [None, "gate", None]
    assert source.subjects[2].slice_position == pytest.approx([12.0, 16.0, 20.0, 24.0])
    assert source.subjects[2].where == "subjects.2"


@pytest.fixture
def pair(archive, simulated) -> tuple[Any, dict[str, Any], np.ndarray]:
    """One subject's pair, its plan, and what it gives."""
    plan = archive.pairs(simulated[:1])
    return archive, plan, IMPORTERS["nifti"].open(archive.plan(plan)).read(0)["tracers"]


def test_the_clock_of_a_scan_does_not_matter(pair, simulated) -> None:
    archive, plan, wanted = pair
    path = archive.folder / "person-0-fdg.json"
    fields = json.loads(path.read_text())
    fields["FrameTimesStart"] = [start + 3600.0 for start in fields["FrameTimesStart"]]
    fields["InjectionStart"] += 3600.0
    fields["ImageDecayCorrectionTime"] += 3600.0
    path.write_text(json.dumps(fields))
    read = IMPORTERS["nifti"].open(archive.plan(plan)).read(0)["tracers"]
    assert np.allclose(read, wanted, rtol=1e-5)


def test_scans_that_are_not_decay_corrected_give_the_same(pair, simulated) -> None:
    archive, plan, wanted = pair
    fields = json.loads((archive.folder / "person-0-fmz.json").read_text())
    archive.sidecar("person-0-fmz", fields | {"ImageDecayCorrected": False})
    archive.image("person-0-fmz", simulated[0].single_KSTYX[0] * 1000.0)
    read = IMPORTERS["nifti"].open(archive.plan(plan)).read(0)["tracers"]
    assert np.allclose(read, wanted, rtol=1e-5, atol=1e-6)


def test_a_large_scan_is_read_in_parts(pair, monkeypatch) -> None:
    archive, plan, wanted = pair
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    monkeypatch.setattr(semi_real, "BYTES_AT_ONCE", 3 * 8 * 185 * 16 * 16)
    parts: list[slice] = []
    scan = source._pairs[0][0]  # type: ignore[attr-defined]
    original = scan.read_slices

    def spy(part: slice) -> np.ndarray:
        parts.append(part)
        return original(part)

    object.__setattr__(scan, "read_slices", spy)
    assert np.array_equal(source.read(0)["tracers"], wanted)
    assert parts == [slice(0, 3), slice(3, 4)]


def tilt(image) -> None:
    turn = np.deg2rad(1.0)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    first = image.affine[:3, 3].copy()
    affine = matrix @ image.affine
    affine[:3, 3] = first
    image.set_sform(affine, code=2)


Change = Callable[[np.ndarray], np.ndarray]


@pytest.mark.parametrize(
    ("change", "image", "message"),
    [
        (
            lambda images: images[:, :, :, :-1],
            {},
            r"subjects\.0\.second: size differs from that of subjects\.0\.first; got 4 x 16 x 15 "
            "slices, rows and columns; wanted 4 x 16 x 16; try registering",
        ),
        (lambda images: images[1:], {}, "size differs .* got 3 x 16 x 16"),
        (
            lambda images: images,
            {"voxel": (4.0, 3.1, 2.0)},
            r"subjects\.0\.second: voxel size differs .* got 4 x 3.1 x 2 mm",
        ),
        (
            lambda images: images,
            {"origin": (-20.0, -35.0, 12.5)},
            r"subjects\.0\.second is not registered to subjects\.0\.first; got .* 0.5 mm apart",
        ),
        (lambda images: images, {"edit": tilt}, "is not registered .* mm apart"),
    ],
)
def test_pairs_that_are_not_on_one_grid_are_refused(
    archive, simulated, change: Change, image: dict[str, Any], message: str
) -> None:
    plan = archive.pairs(simulated[:1])
    archive.single("person-0-fdg", "fdg", change(simulated[0].single_KSTYX[1]), **image)
    with pytest.raises(InputError, match=message):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_rounding_in_headers_does_not_part_a_pair(archive, simulated) -> None:
    plan = archive.pairs(simulated[:1])
    archive.single(
        "person-0-fdg", "fdg", simulated[0].single_KSTYX[1], origin=(-20.003, -35.0, 12.0)
    )
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.has_truth


@pytest.mark.parametrize(
    ("image", "rows", "message"),
    [
        (
            {},
            15,
            r"subjects\.1\.first: size differs from that of subjects\.0\.first; got 15 x 16 rows",
        ),
        ({"voxel": (4.0, 3.0, 2.2)}, 16, r"subjects\.1\.first: voxel size differs"),
    ],
)
def test_subjects_of_another_grid_are_refused(archive, simulated, image, rows, message) -> None:
    plan = archive.pairs(simulated[:2])
    for k, tracer in enumerate(["fmz", "fdg"]):
        images = simulated[1].single_KSTYX[k][:, :, :rows]
        archive.single(f"person-1-{tracer}", tracer, images, **image)
    with pytest.raises(InputError, match=message):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_subjects_may_differ_in_slices_and_position(archive, simulated) -> None:
    plan = archive.pairs(simulated[:2])
    for k, tracer in enumerate(["fmz", "fdg"]):
        images = simulated[1].single_KSTYX[k][1:]
        archive.single(f"person-1-{tracer}", tracer, images, origin=(-21.0, -30.0, 16.0))
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    assert source.subjects[1].slice_position == pytest.approx([16.0, 20.0, 24.0])
    assert np.allclose(source.read(1)["tracers"][0], _third(source, archive, simulated), atol=1e-4)


def _third(source, archive, simulated) -> np.ndarray:
    plan = archive.pairs(simulated[1:2], ["whole"])
    return IMPORTERS["nifti"].open(archive.plan(plan, "whole.yaml")).read(0)["tracers"][1]


def test_a_swapped_pair_is_found_by_its_nuclides(archive, simulated) -> None:
    plan = archive.pairs(simulated[:1])
    entry = plan["subjects"][0]
    entry["first"], entry["second"] = entry["second"], entry["first"]
    with pytest.raises(
        InputError, match=r"subjects\.0\.first: half-life; got 6588 s; wanted 1224 s, that of fmz"
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_a_scan_that_is_too_short_names_tracer_and_time(archive, simulated) -> None:
    plan = archive.pairs(simulated[:1])
    fields = {"FrameTimesStart": [30.0 * n for n in range(100)], "FrameDuration": [30.0] * 100}
    archive.single("person-0-fmz", "fmz", simulated[0].single_KSTYX[0])
    archive.image("person-0-fmz", simulated[0].single_KSTYX[0][:, :100])
    path = archive.folder / "person-0-fmz.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(
        InputError,
        match=r"subjects\.0\.first, fmz: the scan does not cover .* -7 to 2993 s after the inje"
        ".*wanted 0 to 5400 s; try a protocol without 2993 to 5400 s",
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_an_injection_at_an_unknown_time_is_refused_and_may_stand_in_the_plan(pair) -> None:
    archive, plan, wanted = pair
    path = archive.folder / "person-0-fdg.json"
    fields = json.loads(path.read_text())
    del fields["InjectionStart"]
    path.write_text(json.dumps(fields))
    with pytest.raises(
        InputError, match=r"subjects\.0\.second: nothing says when .*try injection_time: SECONDS"
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))
    plan["subjects"][0]["second"]["injection_time"] = 7.0
    assert np.array_equal(IMPORTERS["nifti"].open(archive.plan(plan)).read(0)["tracers"], wanted)


def test_a_foreign_tracer_needs_a_name_and_a_half_life(pair) -> None:
    archive, plan, wanted = pair
    plan["tracers"][0] = {"name": "pk11195", "half_life": 1224.0}
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    assert source.shape.tracers == ("pk11195", "fdg")
    assert np.array_equal(source.read(0)["tracers"], wanted)


def test_a_scan_of_one_long_frame_is_refused(archive, simulated) -> None:
    plan = archive.pairs(simulated[:1])
    fields = {"FrameTimesStart": [0.0], "FrameDuration": [5550.0]}
    path = archive.folder / "person-0-fmz.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    archive.image("person-0-fmz", simulated[0].single_KSTYX[0][:, :1])
    with pytest.raises(InputError, match=r"subjects\.0\.first, fmz: the scan has one frame"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_plan_and_files_are_in_the_fingerprint(pair) -> None:
    archive, plan, _ = pair
    prints = [IMPORTERS["nifti"].open(archive.plan(plan)).fingerprint for _ in range(2)]
    plan["subjects"][0]["first"]["half_life"] = 1218.0
    prints.append(IMPORTERS["nifti"].open(archive.plan(plan)).fingerprint)
    path = archive.folder / "person-0-fdg.nii.gz"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
    prints.append(IMPORTERS["nifti"].open(archive.plan(plan)).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
