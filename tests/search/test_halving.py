"""Successive halving: who goes on at a rung."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsinn.core.errors import InputError
from dtsinn.search.sampling.halving import SCHEDULERS, Halving, expected_share


def halving(**more: int | float) -> Halving:
    return Halving(**({"first": 10, "most": 90, "reduction": 3.0} | more))


def test_rungs_lie_a_factor_apart_and_none_at_the_end() -> None:
    assert halving().levels == (10, 30)
    assert halving(most=91).levels == (10, 30, 90)
    assert halving(first=90).levels == ()


def test_the_first_at_a_rung_goes_on_and_a_third_of_all_does() -> None:
    rung = halving()
    kept = [rung.goes_on(f"t{i}", i, 10, float(v)) for i, v in enumerate([5, 4, 6, 3, 5.5, 7])]
    assert kept == [True, False, True, False, True, True]


def test_a_report_told_twice_is_judged_once() -> None:
    rung = halving()
    assert rung.goes_on("a", 0, 10, 5.0)
    assert rung.goes_on("a", 0, 10, 1.0)
    assert not rung.goes_on("b", 1, 10, 4.0)


def test_between_rungs_everybody_goes_on() -> None:
    rung = halving()
    assert rung.goes_on("a", 0, 10, 5.0)
    assert rung.goes_on("b", 1, 9, -99.0)
    assert rung.goes_on("a", 0, 29, -99.0)


def test_a_trial_that_passes_several_rungs_at_once_is_judged_at_each() -> None:
    rung = halving()
    assert rung.goes_on("a", 0, 40, 5.0)
    assert not rung.goes_on("b", 1, 40, 4.0)
    assert not rung.goes_on("c", 2, 10, 4.5)


def test_brackets_take_turns_begin_later_and_compare_their_own() -> None:
    rung = halving(brackets=9)
    assert rung.brackets == 3
    assert [rung.bracket(number) for number in range(4)] == [0, 1, 2, 0]
    assert rung.goes_on("a", 0, 10, 5.0)
    assert rung.goes_on("b", 1, 10, 1.0), "its first rung is at 30"
    assert rung.goes_on("c", 2, 30, 1.0), "it is stopped at no rung"
    assert not rung.goes_on("d", 3, 10, 4.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_trial_is_never_stopped(seed: int) -> None:
    draw = random.Random(seed)
    values = [draw.random() for _ in range(30)]
    rung = halving(most=1000)
    best = max(range(30), key=values.__getitem__)
    for step in range(10, 1001, 10):
        for number, value in enumerate(values):
            goes_on = rung.goes_on(str(number), number, step, value)
            assert goes_on or number != best


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(st.floats(-50, 50), min_size=1, max_size=40, unique=True),
    reduction=st.sampled_from([1.5, 2.0, 3.0, 4.0]),
)
def test_one_in_so_many_goes_on(values: list[float], reduction: float) -> None:
    rung = halving(first=1, most=2, reduction=reduction)
    for number, value in enumerate(values):
        ahead = sum(other > value for other in values[:number])
        goes_on = rung.goes_on(str(number), number, 1, value)
        assert goes_on == (ahead < math.ceil((number + 1) / reduction))


def test_rungs_need_a_reduction_above_one() -> None:
    with pytest.raises(InputError, match="reduction"):
        halving(reduction=1.0)


@pytest.mark.parametrize(
    ("scheduler", "steps", "every", "share"),
    [
        ("asha", 300, 100, (200 + 100 / 3) / 300),
        ("asha", 100, 100, 1.0),
        ("hyperband", 300, 100, ((100 + 200 / 3) / 300 + 1) / 2),
        ("hyperband", 250, 100, ((100 + 150 / 3) / 250 + 1) / 2),
    ],
)
def test_the_share_that_a_scheduler_takes(
    scheduler: str, steps: int, every: int, share: float
) -> None:
    halving = SCHEDULERS[scheduler].halving(steps, every)
    assert halving is not None
    assert expected_share(halving) == pytest.approx(share)


def test_the_first_rung_stands_where_trials_report() -> None:
    halving = SCHEDULERS["asha"].halving(1000, 150)
    assert halving is not None
    assert halving.levels == (750,)
    assert SCHEDULERS["none"].halving(1000, 150) is None
