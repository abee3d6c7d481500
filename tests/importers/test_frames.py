"""Frame tables and decay: laws of resampling, and tables that are refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import decay_correction, isotope_half_life
from dtsinn.core.seeds import generator
from dtsinn.importers.frames import (
    Frames,
    check_frames,
    refuse_coarse,
    resample,
    resampling_weights,
    split_at_ends,
)

C11 = 1224.0
HALF_LIVES = [75.0, C11, 6588.0, 1e12]
PET001 = [10.0] * 6 + [20.0] * 6 + [60.0] * 6 + [120.0] * 8 + [300.0] * 19
"""Durations of a published 11C scan, whose sidecar holds their ends."""


def table(edges) -> Frames:
    edges = np.asarray(edges, dtype=float)
    return Frames(start=tuple(edges[:-1].tolist()), duration=tuple(np.diff(edges).tolist()))


def starts_of(durations: list[float]) -> list[float]:
    return [0.0, *itertools.accumulate(durations)][:-1]


edges_of_an_hour = st.lists(
    st.floats(1.0, 3599.0), min_size=1, max_size=20, unique_by=lambda t: round(t, 1)
).map(lambda inner: table([0.0, *sorted(inner), 3600.0]))


@settings(deadline=None)
@given(source=edges_of_an_hour, target=edges_of_an_hour, half_life=st.sampled_from(HALF_LIVES))
def test_the_integral_over_time_is_kept(source: Frames, target: Frames, half_life: float) -> None:
    weights = resampling_weights("scan", source, target, half_life)
    assert (weights >= 0).all()
    # Whatever the activity: each source frame's own integral is found again.
    assert np.allclose(np.array(target.duration) @ weights, source.duration, rtol=1e-9)


@settings(deadline=None)
@given(source=edges_of_an_hour, half_life=st.sampled_from(HALF_LIVES))
def test_equal_tables_leave_the_activity_alone(source: Frames, half_life: float) -> None:
    weights = resampling_weights("scan", source, source, half_life)
    assert np.allclose(weights, np.eye(len(source.start)), atol=1e-12)


def test_merging_frames_is_the_mean_weighted_with_their_durations() -> None:
    source, target = table([0, 10, 30, 60, 120, 300]), table([0, 60, 300])
    activity = generator(0, "merge").random((3, 5, 2, 4))
    merged = resample(activity, resampling_weights("scan", source, target, C11))
    wanted = [
        (10 * activity[:, 0] + 20 * activity[:, 1] + 30 * activity[:, 2]) / 60,
        (60 * activity[:, 3] + 180 * activity[:, 4]) / 240,
    ]
    assert np.allclose(merged, np.stack(wanted, axis=1), rtol=1e-12)


def test_mixing_and_resampling_commute() -> None:
    source, target = table([0, 100, 250, 600]), table([0, 60, 333, 580])
    weights = resampling_weights("scan", source, target, C11)
    one, two = generator(0, "linear").random((2, 1, 3, 4, 5))
    assert np.allclose(
        resample(one + 3 * two, weights), resample(one, weights) + 3 * resample(two, weights)
    )


@pytest.mark.parametrize("half_life", HALF_LIVES)
def test_a_decaying_source_is_exact_even_where_a_long_frame_is_split(half_life: float) -> None:
    rate = math.log(2) / half_life

    def average(frames: Frames) -> np.ndarray:
        start, end = np.array(frames.start), np.array(frames.end)
        return 50 * (np.exp(-rate * start) - np.exp(-rate * end)) / (rate * (end - start))

    source, target = table([0, 600, 1200, 2400]), table([0, 7, 650, 700, 1900, 2000])
    weights = resampling_weights("scan", source, target, half_life)
    # Of 1e12 s nothing decays, and the difference above is all rounding.
    wanted = average(target) if half_life < 1e9 else 50.0
    given = average(source) if half_life < 1e9 else np.full(3, 50.0)
    assert np.allclose(weights @ given, wanted, rtol=1e-9)


def test_nothing_is_there_before_the_injection() -> None:
    """A protocol that injects at 1200 s, seen from the tracer."""
    target = table(np.array([0, 600, 1200, 1300, 2000]) - 1200.0)
    source = table([0, 50, 800])
    averages = resampling_weights("scan", source, target, 1e12) @ [4.0, 8.0]
    assert averages[:2].tolist() == [0.0, 0.0]
    assert averages[2:] == pytest.approx([(50 * 4 + 50 * 8) / 100, 8.0])


def test_a_frame_that_holds_the_injection_counts_the_time_before_as_zero() -> None:
    source = table([0, 100, 200])
    averages = resampling_weights("scan", source, table([-50, 100, 200]), 1e12) @ [6.0, 9.0]
    assert averages == pytest.approx([6.0 * 100 / 150, 9.0])
    # The same in the source: all of the frame's activity came after the injection.
    averages = resampling_weights("scan", table([-50, 100]), table([0, 100]), C11) @ [6.0]
    assert averages == pytest.approx([6.0 * 150 / 100])


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ([0, 900], "got frames from 0 to 900 s after the injection; .*900 to 1800 s"),
        ([5, 1800], "got frames from 5 to 1800 s after the injection; .*0 to 5 s"),
        ([5, 900], "0 to 5 s and 900 to 1800 s"),
        (
            [2000, 3000],
            "injection_time in the plan, .* or a protocol without 0 to 1800 s after",
        ),
        ([2, 1800], "wanted 0 to 1800 s; try injection_time in the plan, if it was when the"),
        ([1e6, 2e6], "try the right injection_time in the plan$"),
    ],
)
def test_times_that_the_scan_does_not_cover_are_named(source, missing: str) -> None:
    target = table([-600, 0, 600, 1800])
    with pytest.raises(InputError, match=f"second, fdg: the scan.* does not cover.*{missing}"):
        resampling_weights("second, fdg", table(source), target, C11)


def test_a_scan_need_not_cover_what_lies_before_its_injection() -> None:
    weights = resampling_weights("scan", table([0, 10]), table([-60, -30, 10]), C11)
    assert (weights[0] == 0).all()
    assert (resampling_weights("scan", table([5, 10]), table([-60, -30]), C11) == 0).all()


def test_contiguous_frames_are_taken_as_they_are() -> None:
    frames = check_frames("scan", starts_of(PET001), PET001)
    assert frames.end[-1] == 7200.0
    assert frames.since(100.0).start[:2] == (-100.0, -90.0)
    assert frames.since(100.0).duration == frames.duration


def test_durations_that_are_end_times_are_found_and_the_way_out_is_told() -> None:
    starts = starts_of(PET001)
    ends = [*starts[1:], 7200.0]
    with pytest.raises(InputError) as caught:
        check_frames("subjects.0.first", starts, ends)
    message = str(caught.value)
    assert (
        "subjects.0.first: frames 1 and 2 overlap, because FrameDuration holds the end" in message
    )
    assert "try frame_end_times: true in the plan" in message
    assert split_at_ends("subjects.0.first", starts, ends) == check_frames("", starts, PET001)


def test_end_times_are_not_believed_where_they_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"FrameDuration holds no end times.*without frame_end"):
        split_at_ends("scan", starts_of(PET001), PET001)
    with pytest.raises(InputError, match="FrameDuration holds no end times"):
        split_at_ends("scan", [0.0, 10.0, 20.0], [10.0, 20.0, 15.0])


@pytest.mark.parametrize(
    ("start", "duration", "message"),
    [
        ([], [], "frames; got 0 starts and 0 durations"),
        ([0, 10], [10], "frames; got 2 starts and 1 durations"),
        ([0, math.nan], [10, 10], "start of frame 1; got nan"),
        ([0, 10], [10, math.inf], "duration of frame 1; got inf"),
        ([0, 10], [10, 0], "duration of frame 1; got 0"),
        ([0, 10], [-10, 10], "duration of frame 0; got -10"),
        ([10, 0], [10, 10], "start of frame 1; got 0 s; wanted above 10 s"),
        ([0, 10, 20], [10, 12, 10], "frames 1 and 2 overlap; got an end at 22 s and a start at 20"),
        ([0, 10, 25], [10, 10, 10], "frames 1 and 2 have a gap between them; got an end at 20 s"),
    ],
)
def test_what_is_no_frame_table_is_refused(start, duration, message: str) -> None:
    with pytest.raises(InputError, match=f"subjects.1.first: {message}") as caught:
        check_frames("subjects.1.first", start, duration)
    assert "frame_end_times" not in str(caught.value)


@pytest.mark.parametrize("half_life", HALF_LIVES)
@pytest.mark.parametrize("reference", [-300.0, 0.0, 1000.0])
def test_decay_correction_inverts_the_mean_decay_in_a_frame(half_life, reference) -> None:
    frames = table([0, 10, 600, 1800])
    factors = decay_correction(frames.start, frames.duration, half_life, reference)
    for factor, start, seconds in zip(factors, frames.start, frames.duration, strict=True):
        time = start + seconds * (np.arange(20_000) + 0.5) / 20_000
        assert factor * np.mean(np.exp2(-(time - reference) / half_life)) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["C11", "11C", "C-11", "[11C]", " c11 ", "^11^C"])
def test_nuclides_are_known_by_their_usual_spellings(name: str) -> None:
    assert isotope_half_life(name) == C11


@pytest.mark.parametrize("name", ["", "C", "carbon", "11", "C12", "F18-FDG"])
def test_other_words_are_no_nuclide(name: str) -> None:
    assert isotope_half_life(name) is None


def test_frames_that_jitter_are_brought_together() -> None:
    durations = [10.0, 10.0, 40.0, 60.0]
    starts = [0.0, 10.015, 20.0, 60.01]
    frames = check_frames("scan", starts, durations)
    assert frames.start == tuple(starts)
    assert frames.end[:-1] == pytest.approx(starts[1:], abs=1e-9)
    assert frames.end[-1] == pytest.approx(120.01)
    ends = [10.0, 20.01, 60.005, 120.01]
    assert split_at_ends("scan", starts, ends).start == frames.start
    assert split_at_ends("scan", starts, ends).duration == pytest.approx(frames.duration)
    with pytest.raises(InputError, match=r"a gap .*try frame times that meet within 0.02 s"):
        check_frames("scan", [0.0, 10.03, 20.03], [10.0, 10.0, 10.0])


def test_a_scan_far_coarser_than_the_protocol_is_refused() -> None:
    target = table(range(0, 1000, 10))
    refuse_coarse("scan", table([-200, 80, 160, 240]), target)
    with pytest.raises(
        InputError,
        match=r"second, fdg: the scan is too coarse .*; got frame 1 of 90 s over 9 frames of the "
        "protocol; wanted at most 8",
    ):
        refuse_coarse("second, fdg", table([0, 80, 170]), target)
    with pytest.raises(InputError, match="scan: the scan has one frame; wanted a dynamic scan"):
        refuse_coarse("scan", table([0, 10]), table([0, 10]))
