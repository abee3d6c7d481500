"""Timelines: characters to scale, injections where they are."""

from __future__ import annotations

import math

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol, protocol_names, protocol_of_frames
from dtsinn.workflows.console import timeline_text


def test_borders_and_injections_stand_at_their_minutes() -> None:
    protocol = protocol_of_frames("mine", [0, 60, 180, 300], [60, 120, 120, 300], [0, 240])
    #                                          minute 0123456789*
    assert timeline_text(protocol, 10, width=11) == "1|-|2|----|"
    assert timeline_text(protocol, 20, width=21) == "1|-|2|----|"
    assert timeline_text(protocol, 10, width=21) == "1-|---|-2-|---------|"


def test_a_scan_fits_into_its_own_minutes() -> None:
    end = 123.0
    assert end / 60 * 60 < end, "what this is about: minutes and back are not always the same"
    protocol = protocol_of_frames("mine", [0], [end], [0, 0])
    assert timeline_text(protocol, end / 60, width=11) == "*---------|"


def test_what_the_scale_does_not_tell_apart_is_marked() -> None:
    protocol = protocol_of_frames("mine", [0, 5, 10, 15, 600], [5, 5, 5, 585, 600], [0, 700])
    assert timeline_text(protocol, 20, width=21) == "1---------|-2-------|"
    late = protocol_of_frames("mine", [0, 590, 600, 610], [590, 10, 10, 590], [0, 0])
    assert timeline_text(late, 20, width=21) == "*---------#---------|"


@pytest.mark.parametrize("name", protocol_names())
@pytest.mark.parametrize("width", [40, 72, 133])
def test_a_shipped_protocol_is_as_long_as_its_scan(name: str, width: int) -> None:
    protocol = load_protocol(name)
    line = timeline_text(protocol, 120, width)
    assert len(line) == round(protocol.end / 7200 * (width - 1)) + 1 <= width
    assert set(line) <= set("|#-12*")
    first, second = protocol.injection_time
    marks = "*" if first == second else "12"
    assert [c for c in line if c in "12*"] == list(marks)
    if first != second:
        assert line.index("2") == round(second / 7200 * (width - 1))
    if width == 133:
        borders = {round(edge / 7200 * 132) for edge in protocol.frame_edges}
        assert {i for i, c in enumerate(line) if c != "-"} == borders


@pytest.mark.parametrize("minutes", [89.9, 0, -1, math.nan, math.inf])
def test_a_scale_shorter_than_the_scan_is_refused(minutes: float) -> None:
    with pytest.raises(InputError) as caught:
        timeline_text(load_protocol("p1"), minutes)
    assert "timeline of protocol 'p1'; got" in str(caught.value)
    assert "at least 90 min" in str(caught.value)


def test_a_line_of_too_few_characters_is_refused() -> None:
    with pytest.raises(InputError, match="width of a timeline; got 9; wanted at least 10"):
        timeline_text(load_protocol("p1"), 90, width=9)
