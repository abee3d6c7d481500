"""Measured mixtures: frames and injections of the scans make the protocol, or must follow one."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol
from dtsinn.importers.scans import IMPORTERS

P1 = load_protocol("p1")
FIELDS: dict[str, Any] = {
    "TimeZero": "09:00:00",
    "FrameTimesStart": [30.0 + start for start in P1.frame_start],
    "FrameDuration": list(P1.frame_duration),
    "ImageDecayCorrected": False,
    "Units": "kBq/mL",
}
"""A scan that begins 30 s after the zero of its clock."""


@pytest.fixture
def mixtures(archive, simulated):
    """Three measured mixtures and their plan, which names no protocol."""
    for number, subject in enumerate(simulated):
        archive.sidecar(f"m{number}", FIELDS)
        archive.image(f"m{number}", subject.direct_SKTYX.sum(axis=1))
    subjects = [
        {
            "id": f"person {number}",
            "mixture": {"image": f"m{number}.nii.gz", "injection_time": [30.0, 1230.0]},
        }
        for number in range(3)
    ]
    return archive, {"tracers": ["fmz", "fdg"], "subjects": subjects}


def test_a_mixture_brings_its_own_protocol(mixtures, simulated) -> None:
    archive, plan = mixtures
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    assert source.shape.protocol.name == "measured"
    assert source.shape.protocol.frame_edges == P1.frame_edges
    assert source.shape.protocol.injection_time == (0.0, 1200.0)
    assert not source.shape.has_truth
    assert source.shape.attributes["origin"] == "measured"
    assert source.shape.attributes["source_scans"]["mixture"][0]["scans"] == 3
    read = source.read(1)
    assert list(read) == ["mixture"]
    assert np.allclose(read["mixture"], simulated[1].direct_SKTYX.sum(axis=1))


def test_a_protocol_gives_name_and_injections(mixtures) -> None:
    archive, plan = mixtures
    plan["protocol"] = "p1"
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.protocol == P1
    for subject in plan["subjects"]:
        del subject["mixture"]["injection_time"]
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.protocol == P1


def changed(plan: dict[str, Any], number: int, **settings: Any) -> dict[str, Any]:
    plan["subjects"][number]["mixture"] |= settings
    return plan


def test_injections_that_nothing_tells_are_refused(mixtures) -> None:
    archive, plan = mixtures
    del plan["subjects"][2]["mixture"]["injection_time"]
    with pytest.raises(InputError, match=r"subjects\.2\.mixture: nothing says when the tracers"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_injections_that_differ_are_refused(mixtures) -> None:
    archive, plan = mixtures
    changed(plan, 1, injection_time=[30.0, 1230.5])
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.protocol.injection_time == (
        0.0,
        1200.0,
    )
    changed(plan, 1, injection_time=[30.0, 1300.0])
    with pytest.raises(
        InputError,
        match=r"subjects\.1\.mixture: injections differ from those of subjects\.0\.mixture; "
        "got 0 and 1270 s after the start; wanted 0 and 1200 s",
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))
    plan["protocol"] = "p1"
    with pytest.raises(InputError, match="injections differ from those of the protocol"):
        IMPORTERS["nifti"].open(archive.plan(plan))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 1230.0], r"subjects\.0\.mixture: injection; got -30 s; wanted inside the scan"),
        ([1230.0, 30.0], r"subjects\.0\.mixture: injections; .*wanted ascending times"),
        ([30.0, 9000.0], r"subjects\.0\.mixture: injection; got 8970 s"),
    ],
)
def test_injections_outside_the_scan_are_refused(mixtures, times, message: str) -> None:
    archive, plan = mixtures
    with pytest.raises(InputError, match=message):
        IMPORTERS["nifti"].open(archive.plan(changed(plan, 0, injection_time=times)))


def test_frames_that_differ_are_refused(mixtures, simulated) -> None:
    archive, plan = mixtures
    durations = [*FIELDS["FrameDuration"][:-1], 480.0]
    archive.sidecar("m1", FIELDS | {"FrameDuration": durations})
    with pytest.raises(
        InputError,
        match=r"subjects\.1\.mixture: frames differ from those of subjects\.0\.mixture; got an edge"
        " at 5280 s after the start; wanted 5400 s",
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))
    archive.sidecar("m1", {key: v[:-1] if isinstance(v, list) else v for key, v in FIELDS.items()})
    archive.image("m1", simulated[1].direct_SKTYX.sum(axis=1)[:, :-1])
    with pytest.raises(InputError, match="got 17 frames; wanted 18"):
        IMPORTERS["nifti"].open(archive.plan(plan))
    plan["protocol"] = "p3"
    with pytest.raises(InputError, match=r"subjects\.0\.mixture: frames differ .* the protocol"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_another_grid_is_refused(mixtures, simulated) -> None:
    archive, plan = mixtures
    archive.image("m2", simulated[2].direct_SKTYX.sum(axis=1), voxel=(4.0, 3.0, 2.5))
    with pytest.raises(InputError, match=r"subjects\.2\.mixture: voxel size differs from that of"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_one_half_life_does_not_undo_the_correction_of_a_mixture_unasked(
    mixtures, simulated
) -> None:
    archive, plan = mixtures
    archive.sidecar("m0", FIELDS | {"ImageDecayCorrected": True, "ImageDecayCorrectionTime": 30})
    with pytest.raises(InputError, match="nothing says with which half-life"):
        IMPORTERS["nifti"].open(archive.plan(plan))
    source = IMPORTERS["nifti"].open(archive.plan(changed(plan, 0, half_life=6588.0)))
    imported = source.read(0)["mixture"].sum(axis=(0, 2, 3))
    stored = simulated[0].direct_SKTYX.sum(axis=(0, 1, 3, 4))
    for frame, (start, end) in enumerate(itertools.pairwise(P1.frame_edges)):
        time = start + (end - start) * (np.arange(2000) + 0.5) / 2000
        left = np.mean(np.exp2(-time / 6588.0))
        assert imported[frame] == pytest.approx(stored[frame] * left, rel=1e-4)


def test_an_injection_that_the_header_tells_otherwise_is_refused(mixtures) -> None:
    archive, plan = mixtures
    for told in (30.5, 0.0, 1230.0, 1290.0):
        archive.sidecar("m1", FIELDS | {"InjectionStart": told})
        IMPORTERS["nifti"].open(archive.plan(plan))
    archive.sidecar("m1", FIELDS | {"InjectionStart": 330.0})
    message = (
        r"subjects\.1\.mixture: the header and the plan disagree on when a tracer was injected; "
        "got 300 s after the first frame's start by the header; wanted 0 s or 1200 s; .*, or unu"
    )
    with pytest.raises(InputError, match=message):
        IMPORTERS["nifti"].open(archive.plan(plan))
    answered = changed(copy.deepcopy(plan), 1, unusual_times="yes")
    IMPORTERS["nifti"].open(archive.plan(answered))
    plan["protocol"] = "p1"
    del plan["subjects"][1]["mixture"]["injection_time"]
    with pytest.raises(InputError, match=message):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_frames_that_jitter_still_follow_the_protocol(mixtures) -> None:
    archive, plan = mixtures
    starts = [start + 0.01 * (number % 2) for number, start in enumerate(FIELDS["FrameTimesStart"])]
    archive.sidecar("m1", FIELDS | {"FrameTimesStart": starts})
    plan["protocol"] = "p1"
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.protocol == P1


def test_injections_in_minutes_are_asked_for(mixtures) -> None:
    archive, plan = mixtures
    for number in range(3):
        changed(plan, number, injection_time=[30.0, 50.0])
    with pytest.raises(
        InputError,
        match=r"subjects\.0\.mixture: injections; got 20 s between them; .* not minutes, or unus",
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))
    for number in range(3):
        changed(plan, number, unusual_times="yes")
    shape = IMPORTERS["nifti"].open(archive.plan(plan)).shape
    assert shape.protocol.injection_time == (0.0, 20.0)
    assert shape.remarks == (
        "subjects.0.mixture: fdg is injected at 20 s, inside frame 0 from 0 to 150 s, which holds "
        "the time before and after",
    )


@pytest.mark.parametrize(
    ("injected", "inside"), [(1200.5, False), (1201.5, True), (1290.0, True), (1349.5, False)]
)
def test_an_injection_inside_a_frame_is_said(mixtures, injected: float, inside: bool) -> None:
    archive, plan = mixtures
    for number in range(3):
        changed(plan, number, injection_time=[30.0, 30.0 + injected])
    remarks = IMPORTERS["nifti"].open(archive.plan(plan)).shape.remarks
    assert ["fdg is injected at" in remark for remark in remarks] == [True] * inside


def listed(*nuclides: str, at: Any = None) -> dict[str, Any]:
    """A sidecar that lists nuclides, and when they were injected."""
    names = list(nuclides) if len(nuclides) > 1 else nuclides[0]
    return FIELDS | {"TracerRadionuclide": names} | ({} if at is None else {"InjectionStart": at})


@pytest.mark.parametrize(
    "fields",
    [
        listed("F18", "C11"),
        listed("F18", "C11", at=[30.0, 1230.0]),
        listed("C11", "F18", at=[1230.0, 30.0]),
    ],
)
def test_nuclides_in_the_other_order_are_refused(mixtures, fields) -> None:
    archive, plan = mixtures
    archive.sidecar("m2", fields)
    with pytest.raises(
        InputError,
        match=r"subjects\.2\.mixture: the header lists the tracers' nuclides in the other order; "
        r"got that of fdg first; .*try tracers: \[fdg, fmz\] in the plan",
    ):
        IMPORTERS["nifti"].open(archive.plan(plan))
    plan["tracers"] = ["fdg", "fmz"]
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.remarks == ()


@pytest.mark.parametrize(
    ("fields", "remark"),
    [
        (listed("C11", "F18", at=[30.0, 1230.0]), ""),
        (listed("C11", at=30.0), ""),
        (listed("F18", at=1230.0), ""),
        (listed("F18"), ""),
        (listed("F18", at=30.0), "the nuclide of fdg at 0.0 s, when the plan has fmz injected"),
        (listed("C11", at=1230.0), "the nuclide of fmz at 1200.0 s, when the plan has fdg"),
        (listed("Ga68", at=30.0), "the header names a nuclide that is neither tracer's"),
    ],
)
def test_a_nuclide_at_the_other_injection_is_said(mixtures, fields, remark: str) -> None:
    archive, plan = mixtures
    for name in ("m1", "m2"):
        archive.sidecar(name, fields)
    remarks = IMPORTERS["nifti"].open(archive.plan(plan)).shape.remarks
    assert len(remarks) == bool(remark)
    for line in remarks:
        assert line.startswith("subjects.1.mixture and 1 more: ")
        assert remark in line


def test_the_second_of_two_listed_injections_is_held_against_the_plan(mixtures) -> None:
    archive, plan = mixtures
    archive.sidecar("m1", listed("C11", "F18", at=[30.0, 330.0]))
    with pytest.raises(InputError, match=r"disagree on when a tracer .* got 300 s after the first"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_a_short_mixture_is_in_seconds_where_both_nuclides_are_short_lived(
    mixtures, simulated
) -> None:
    archive, plan = mixtures
    for number in range(3):
        frames = {
            "FrameTimesStart": [30.0 + 15.0 * frame for frame in range(18)],
            "FrameDuration": [15.0] * 18,
        }
        archive.sidecar(f"m{number}", FIELDS | frames)
        changed(plan, number, injection_time=[30.0, 150.0])
    water, ammonia = ({"name": "water", "half_life": 123}, {"name": "nh3", "half_life": 599})
    plan["tracers"] = [water, ammonia]
    assert IMPORTERS["nifti"].open(archive.plan(plan)).shape.protocol.injection_time == (0.0, 120.0)
    plan["tracers"] = [water, "fdg"]
    with pytest.raises(InputError, match=r"not minutes, or unusual_times: yes in the plan"):
        IMPORTERS["nifti"].open(archive.plan(plan))


def test_other_frames_are_brought_to_the_protocol_where_the_plan_says_so(
    mixtures, simulated
) -> None:
    """A scan of halves of p1's frames: joined, they are what they were."""
    archive, plan = mixtures
    halves = [half for seconds in P1.frame_duration for half in [seconds / 2] * 2]
    starts = [30.0 + start for start in itertools.accumulate([0.0, *halves[:-1]])]
    archive.sidecar("m1", FIELDS | {"FrameTimesStart": starts, "FrameDuration": halves})
    images = simulated[1].direct_SKTYX.sum(axis=1)
    archive.image("m1", np.repeat(images, 2, axis=1))
    plan["protocol"] = "p1"
    with pytest.raises(InputError, match=r"got 36 frames; wanted 18; try resample: yes in the"):
        IMPORTERS["nifti"].open(archive.plan(plan))
    source = IMPORTERS["nifti"].open(archive.plan(changed(plan, 1, resample=True)))
    assert np.allclose(source.read(1)["mixture"], images, rtol=1e-5, atol=1e-6)
    (said,) = (line for line in source.shape.remarks if "brought" in line)
    assert said == (
        "subjects.1.mixture: frames brought to the protocol: frames are joined, without error"
    )


def test_resampling_needs_a_protocol_that_the_scan_covers(mixtures) -> None:
    archive, plan = mixtures
    with pytest.raises(InputError, match=r"subjects\.0\.mixture\.resample: the plan has no proto"):
        IMPORTERS["nifti"].open(archive.plan(changed(plan, 0, resample=True)))
    short = {key: FIELDS[key][:-1] for key in ("FrameTimesStart", "FrameDuration")}
    archive.sidecar("m0", FIELDS | short)
    plan["protocol"] = "p1"
    archive.image("m0", np.ones((4, 17, 16, 16)))
    with pytest.raises(InputError, match="cannot be resampled") as caught:
        IMPORTERS["nifti"].open(archive.plan(plan))
    assert "wanted 18 frames (4x150, 2x300, 4x150, 4x300, 4x600 s)" in str(caught.value)
