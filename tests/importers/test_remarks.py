"""What is taken and yet said: by what the activity itself tells, and by the splits."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.config import find_config, read_yaml
from dtsinn.core.protocol import load_protocol
from dtsinn.data.splits import LEAST_SUBJECTS
from dtsinn.importers.remarks import activity_remarks, format_remarks, split_remarks, tracer_remarks

P1 = load_protocol("p1")
START, END = np.array(P1.frame_edges[:-1]), np.array(P1.frame_edges[1:])
NAMES, HALF_LIFE = ("fmz", "fdg"), (1224.0, 6588.0)


def decaying(half_life: float, injected: float) -> np.ndarray:
    """[T] averages over p1's frames of what only decays from its injection on."""
    middle = (START + END) / 2
    return np.where(injected <= START, np.exp2(-(middle - injected) / half_life), 0.0)


def lines(mean_T: np.ndarray) -> list[str]:
    return [text for _, text in activity_remarks(mean_T, P1, NAMES, HALF_LIFE, "subjects.0")]


def test_tracers_in_their_order_need_no_remark() -> None:
    mean_T = decaying(1224.0, 0.0) + decaying(6588.0, 1200.0)
    assert lines(mean_T) == []
    assert lines(np.full(18, 5.0)) == [], "constant activity tells nothing"
    assert lines(np.linspace(1.0, 5.0, 18)) == [], "uptake tells nothing"


def test_reversed_tracers_are_told_by_the_decay_between_the_injections() -> None:
    (line,) = lines(decaying(6588.0, 0.0) + decaying(1224.0, 1200.0))
    assert line.startswith("before fdg is injected, activity falls as fdg decays, not fmz; try tra")


def test_a_first_tracer_that_is_not_there_is_told() -> None:
    (line,) = lines(decaying(6588.0, 1200.0))
    assert line.startswith("no activity between the injections of fmz and fdg")


def test_swapped_labels_and_late_starts_and_other_scales_are_told() -> None:
    right = np.stack([decaying(1224.0, 0.0), decaying(6588.0, 1200.0)])

    def said(mean_KT: np.ndarray, ratio: float = 1.0) -> list[str]:
        mixture_T = ratio * mean_KT.sum(axis=0)
        found = tracer_remarks(mean_KT, mixture_T, P1, NAMES, HALF_LIFE, "subjects.0")
        return [text for _, text in found]

    assert said(right) == []
    swapped = np.stack([decaying(6588.0, 0.0), decaying(1224.0, 1200.0)])
    assert [line.partition(";")[0] for line in said(swapped)] == [
        "fmz falls as fdg decays",
        "fdg falls as fmz decays",
    ]
    late = np.stack([decaying(1224.0, 600.0), right[1]])
    assert said(late)[0].startswith("fmz has no activity in the 600 s after its injection; try the")
    assert said(right, 0.5) == [
        "the mixture has 0.5 times the activity of both tracers together; try one scale for all "
        "images"
    ]


def test_what_holds_for_many_is_one_line() -> None:
    remarks = [("subjects.1", "odd"), ("subjects.2", "other"), ("subjects.4", "odd")]
    assert format_remarks(remarks) == ("subjects.1 and 1 more: odd", "subjects.2: other")


@pytest.mark.parametrize(
    ("splits", "lacking"),
    [
        (["train"] * 30 + ["val"] + ["gate"] * 12 + ["test"], ""),
        (["train"] * 3, "none in val (1 by which trainings and searches steer), none in gate (12"),
        (["train", "val", "test"] + ["gate"] * 11, "few subjects: 11 in gate (12 to decide a pro"),
        (["test"], "none in train (1 to train on), none in val"),
    ],
)
def test_splits_with_too_few_subjects_are_said_in_one_line(splits: list[str], lacking: str) -> None:
    found = split_remarks(splits)
    assert len(found) == bool(lacking)
    assert all(lacking in line and "try split: train, val, gate or test" in line for line in found)


def test_the_gate_wants_what_its_configuration_says() -> None:
    wanted = read_yaml(find_config("gates", "default"))["min_subjects"]
    assert LEAST_SUBJECTS["gate"][0] == wanted
