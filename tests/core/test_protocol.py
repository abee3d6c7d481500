"""Protocols: the shipped ones load, wrong frames and injections are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from dtsinn.core.config import find_config, read_yaml
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol, protocol_names, protocol_of_frames


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_loads(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.frame_edges[-1] == protocol.end
    again = protocol_of_frames(
        name, protocol.frame_start, protocol.frame_duration, protocol.injection_time
    )
    assert again.frame_edges == protocol.frame_edges


def test_p1_and_p3_are_the_published_shapes() -> None:
    p1, p3 = load_protocol("p1"), load_protocol("p3")
    assert (p1.frames, p1.end, p1.injection_time) == (18, 5400.0, (0.0, 1200.0))
    assert (p3.frames, p3.end, p3.injection_time) == (18, 3600.0, (0.0, 600.0))
    assert sum(start < 1200 for start in p1.frame_start) == 6


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
