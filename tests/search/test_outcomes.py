"""What may come of a trial: told by the store, kept by the champion."""

from __future__ import annotations

import dataclasses

import pytest

from dtsinn.core.errors import InputError
from dtsinn.search.objective import best_trial, keeps, read_objectives, violations
from dtsinn.search.run import check_store_tells
from dtsinn.search.space.constraints import read_outcome
from tests.search.conftest import SPACE

LIMITED = f"{SPACE}\noutcome_constraints: [kinetic_bias <= 5]\n"


def test_a_report_keeps_an_outcome_or_violates_it() -> None:
    outcomes = (read_outcome("kinetic_bias <= 5", "it"), read_outcome("conservation <= 2", "it"))
    within = {"val_kinetic_bias": 5.0, "val_conservation": 0.5}
    assert keeps(within, outcomes)
    assert list(violations(within, outcomes).values()) == [0.0, -1.5]
    assert not keeps(within | {"val_kinetic_bias": 5.1}, outcomes)
    for unknown in ({}, {"val_kinetic_bias": float("nan"), "val_conservation": 0.5}):
        assert not keeps(unknown, outcomes)
        assert violations(unknown, outcomes)["kinetic_bias <= 5"] == 5.0
    assert keeps({}, ())


def test_a_violator_finishes_and_is_never_the_best(make_plan, sit) -> None:
    plan = make_plan(LIMITED)
    hand = sit(plan)
    for psnr, bias in ((31.0, 7.0), (30.0, 4.0), (29.0, 1.0)):
        trial = hand.start()
        hand.report(trial, 90, psnr, finished=True, val_kinetic_bias=bias)
        hand.end(trial, finished=True)
    trials = hand.driver.search.trials
    assert [trial.state for trial in trials.values()] == ["finished"] * 3
    best = best_trial(hand.driver.search, plan.objectives, plan.space.outcomes)
    assert best.name == list(trials)[1]
    study = hand.driver.tools.study.study
    assert [trial.constraints["kinetic_bias <= 5"] for trial in study.trials] == [2.0, -1.0, -4.0]


@pytest.mark.parametrize("by", ["objective", "constraint"])
def test_a_store_that_cannot_tell_refuses_before_the_start(
    make_plan, small_store, monkeypatch, by
) -> None:
    plan = make_plan(LIMITED if by == "constraint" else SPACE)
    if by == "objective":
        objectives = read_objectives("psnr:max,kinetic_bias:min,conservation:min")
        plan = dataclasses.replace(plan, objectives=objectives)
    check_store_tells(plan, small_store)
    unknown = dataclasses.replace(small_store.header, tracers=("mystery", "unknown"))
    monkeypatch.setattr(small_store, "header", unknown)
    with pytest.raises(InputError, match=r"kinetic_bias cannot be told of .*no read-out of tracer"):
        check_store_tells(plan, small_store)
    monkeypatch.setattr(small_store, "header", dataclasses.replace(unknown, region_names=()))
    with pytest.raises(InputError, match="kinetic_bias cannot be told"):
        check_store_tells(plan, small_store)
    check_store_tells(make_plan(SPACE), small_store)
