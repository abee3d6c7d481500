"""Protocols: the shipped ones keep injections apart, wrong frames and injections are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from dtsinn.core.config import find_config, from_mapping, read_yaml, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol, load_protocol, protocol_names, protocol_of_frames

DELAYS = ["delay00", "delay05", "delay10", "delay20", "delay30"]
SCANS = ["scan40", "scan60", "scan80"]
SHIPPED = [*DELAYS, "p1", "p2", "p3", "p4", *SCANS]


def test_the_shipped_protocols_are_these() -> None:
    assert protocol_names() == SHIPPED


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_loads_and_survives_a_round_trip(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.description
    assert protocol.source.startswith("uncited default")
    assert protocol.frame_edges[-1] == protocol.end
    again = protocol_of_frames(
        name, protocol.frame_start, protocol.frame_duration, protocol.injection_time
    )
    assert again.frame_edges == protocol.frame_edges
    assert from_mapping(Protocol, to_mapping(protocol), "again") == protocol


@pytest.mark.parametrize("name", protocol_names())
def test_a_shipped_protocol_has_18_frames_and_none_from_before_to_after_an_injection(
    name: str,
) -> None:
    protocol = load_protocol(name)
    assert protocol.frames == 18
    assert protocol.injection_time[0] == 0
    assert set(protocol.injection_time) <= set(protocol.frame_start)


@pytest.mark.parametrize("name", protocol_names())
def test_the_frames_of_a_shipped_protocol_are_shortest_after_an_injection(name: str) -> None:
    protocol = load_protocol(name)
    durations = protocol.frame_duration
    second = protocol.frame_start.index(protocol.injection_time[1])
    for first_frame in {0, second}:
        assert durations[first_frame] < durations[-1]
    if second:
        assert durations[second] < durations[second - 1]
    assert f"{protocol.end / 60:g} min in {protocol.frames} frames" in protocol.description


def test_p1_to_p4_have_the_stated_shapes() -> None:
    shapes = {}
    for name in ("p1", "p2", "p3", "p4"):
        protocol = load_protocol(name)
        second = protocol.injection_time[1]
        empty = sum(start < second for start in protocol.frame_start)
        shapes[name] = (protocol.end / 60, second / 60, empty)
    assert shapes == {"p1": (90, 20, 6), "p2": (60, 0, 0), "p3": (60, 10, 7), "p4": (90, 30, 6)}


def test_between_the_delay_protocols_only_the_delay_changes() -> None:
    delays = [load_protocol(name) for name in DELAYS]
    assert [protocol.injection_time[1] / 60 for protocol in delays] == [0, 5, 10, 20, 30]
    assert [protocol.name for protocol in delays] == [
        f"delay{protocol.injection_time[1] / 60:02.0f}" for protocol in delays
    ]
    assert len({protocol.frame_edges for protocol in delays}) == 1


def test_between_the_scan_protocols_only_the_length_changes_and_shown_times_end_frames() -> None:
    """The DTS-INN paper shows images at 40, 60 and 80 min."""
    scans = [load_protocol(name) for name in SCANS]
    assert [protocol.end / 60 for protocol in scans] == [40, 60, 80]
    assert len({protocol.injection_time for protocol in scans}) == 1
    assert len({protocol.frame_edges[:11] for protocol in scans}) == 1
    for protocol in scans:
        shown = {2400.0, 3600.0, 4800.0} & set(protocol.frame_edges)
        assert shown == {time for time in (2400.0, 3600.0, 4800.0) if time <= protocol.end}


@pytest.mark.parametrize(
    ("starts", "durations", "injections", "said"),
    [
        ([0, 60], [60, 0], [0, 10], "duration of frame 1"),
        ([0, 60], [60, -5], [0, 10], "duration of frame 1"),
        ([0, 60], [60, math.nan], [0, 10], "duration of frame 1"),
        ([0, 61], [60, 60], [0, 10], "start of frame 1"),
        ([0, math.nan], [60, 60], [0, 10], "start of frame 1"),
        ([5, 65], [60, 60], [10, 20], "start of frame 0"),
        ([0, 60], [60], [0, 10], "2 starts and 1 durations"),
        ([], [], [0, 10], "frames"),
        ([0, 60], [60, 60], [0, 120], "injection"),
        ([0, 60], [60, 60], [-1, 20], "injection"),
        ([0, 60], [60, 60], [30, 20], "ascending"),
        ([0, 60], [60, 60], [math.nan, 20], "injection"),
        ([0, 60], [60, 60], [0], "injection_time"),
        # End times in place of durations, as some public PET-BIDS examples have them.
        ([0, 60, 120], [60, 120, 180], [0, 10], "start of frame 2"),
    ],
)
def test_wrong_frames_are_refused(
    starts: list[float], durations: list[float], injections: list[float], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        protocol_of_frames("mine", starts, durations, injections)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_equal_injections_are_a_protocol() -> None:
    assert protocol_of_frames("both", [0], [60], [0, 0]).injection_time == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": [[0, 150]]}, "count"),
        ({"frames": [[2, -150]]}, "duration of frame 0"),
        ({"frames": []}, "frames"),
        ({"frame": [[2, 150]]}, "frame"),
        ({"injections": [0]}, "injections"),
        ({"injections": [0, 9999]}, "injection"),
    ],
)
def test_a_wrong_file_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    mapping = read_yaml(find_config("protocols", "p1")) | change
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        load_protocol(str(path))


def test_a_frame_that_starts_at_the_injection_starts_after_it(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    text = "{name: mine, description: d, source: s, injections: [0, 1], frames: [[012, 0.1]],"
    text += " unusual_times: yes}"
    path.write_text(text)
    protocol = load_protocol(str(path))
    assert protocol.frame_start[10] < 1, "ten times a tenth, summed, is less than one"
    assert protocol.starts_after(1).index(True) == 10
    assert all(protocol.starts_after(0))


def test_a_gap_of_a_millisecond_is_none_in_any_unit() -> None:
    assert 0.301 - 0.3 > 1e-3, "what this is about"
    assert protocol_of_frames("mine", [0, 0.301], [0.3, 1], [0, 0]).frames == 2
    with pytest.raises(InputError, match="contiguous"):
        protocol_of_frames("mine", [0, 0.302], [0.3, 1], [0, 0])
