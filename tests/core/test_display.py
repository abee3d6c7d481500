"""What people read: numbers, times and subjects are short and counted from 1."""

from __future__ import annotations

import pytest

from dtsinn.core.display import (
    duration,
    minutes,
    minutes_text,
    percent,
    short,
    subject_text,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00947475400212992, "0.00947"),
        (31.693215710549243, "31.7"),
        (3.4719000723271165e-06, "3.47e-06"),
        (4000, "4000"),
        (True, "true"),
        ("two-sided", "two-sided"),
        ([0.1234567, 2, (0.30000000000000004,)], "0.123, 2, 0.3"),
    ],
)
def test_a_value_has_no_idle_digits(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_length_of_time_is_in_the_unit_that_suits_it() -> None:
    seconds = (0, 41.4, 119, 122.24, 750, 6586.2, 3 * 3600, 11_520, 282_276)
    told = ["0 s", "41 s", "119 s", "2 min", "12.5 min", "109.8 min", "3 h", "3.2 h", "78.4 h"]
    assert [duration(one) for one in seconds] == told
    assert [duration(one, 2) for one in (76.38, 122.24, 6586.2)] == [
        "76.4 s", "2.04 min", "109.77 min",
    ]  # fmt: skip


def test_a_share_is_in_percent() -> None:
    assert [percent(share) for share in (0, 0.414, 1)] == ["0 %", "41 %", "100 %"]


def test_times_are_rounded_as_people_say_them() -> None:
    assert [minutes(s) for s in (0, 20, 700, 2800, 7200)] == ["0", "0.33", "11.7", "46.7", "120"]
    assert minutes_text(2740, 1000) == "45.7–62.3"
    assert minutes_text(0, 20) == "0–0.33"
    assert minutes_text(1200, 2) == "20–20.03", "a frame never ends where it begins"
    assert [short(x, 0) for x in (100, 46.67)] == ["100", "47"]


def test_simulated_subjects_are_counted_from_one_and_others_keep_their_id() -> None:
    assert subject_text("study-0-0000") == "subject 1"
    assert subject_text("suite-quick-20240-0011") == "subject 12"
    assert subject_text("s-3fa9c1") == "subject s-3fa9c1"
    assert subject_text("study-0-0000x") == "subject study-0-0000x"
