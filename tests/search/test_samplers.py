"""Samplers: all of them ask, what they cannot do is refused, and the grid covers all points."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from dtsinn.core.errors import InputError
from dtsinn.search.sampling.imputed_gp import FLOOR, impute
from dtsinn.search.sampling.samplers import SAMPLERS, check_sampler, make_sampler
from dtsinn.search.space.space import Parameter

RATE = Parameter(key="rate", distribution=FloatDistribution(1e-4, 1e-1, log=True))
BLOCKS = Parameter(key="blocks", distribution=IntDistribution(1, 3))
KIND = Parameter(key="kind", distribution=CategoricalDistribution(("a", "b")))
CLAMP = Parameter(key="clamp", distribution=IntDistribution(1, 2), when={"kind": ("b",)})
FINITE, SPACE = (BLOCKS, KIND), (RATE, BLOCKS, KIND)


def value_of(params: Mapping[str, Any]) -> float:
    """Highest, 0, at a rate of 1e-2, three blocks and kind b."""
    rate = -abs(math.log10(params.get("rate", 1e-2)) + 2)
    return rate - abs(params["blocks"] - 3) - (params["kind"] == "a")


def asked(
    name: str, parameters: tuple[Parameter, ...], trials: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Suggestions of a search that stops every third trial; a rate above 3e-2 diverges."""
    sampler = make_sampler(name, parameters, trials=trials, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions: dict[str, BaseDistribution] = {p.key: p.distribution for p in parameters}
    for number in range(trials):
        trial = study.ask(distributions)
        value = value_of(trial.params)
        if trial.params.get("rate", 0) > 3e-2:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        trial.report(value - 1, 10)
        if number % 3 == 2:
            with contextlib.suppress(RuntimeError):
                study.tell(trial, state=TrialState.PRUNED)
        else:
            with contextlib.suppress(RuntimeError):  # the grid would end Optuna's own loop
                study.tell(trial, value)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_samplers_ask(name: str) -> None:
    parameters = FINITE if name == "grid" else SPACE
    points = asked(name, parameters, 6)
    assert len(points) == 6
    for point, parameter in itertools.product(points, parameters):
        assert parameter.distribution._contains(
            parameter.distribution.to_internal_repr(point[parameter.key])
        )


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_decides_all(name: str) -> None:
    parameters = FINITE if name == "grid" else SPACE
    assert asked(name, parameters, 5, seed=3) == asked(name, parameters, 5, seed=3)


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_samplers_that_learn_leave_what_diverges(name: str) -> None:
    points = asked(name, SPACE, 24)
    assert sum(point["rate"] > 3e-2 for point in points[12:]) <= 2
    assert max(map(value_of, points)) > -0.6


def test_the_gaussian_process_asks_on_after_a_spoiled_trial_of_another_branch() -> None:
    """All that finished have ``clamp``; what was infeasible, or refused, has it not."""
    study = optuna.create_study(
        direction="maximize", sampler=make_sampler("gp", (RATE, KIND, CLAMP), trials=8, seed=0)
    )
    shared = {RATE.key: RATE.distribution, KIND.key: KIND.distribution}
    both = shared | {CLAMP.key: CLAMP.distribution}
    for number in range(4):
        params = {"rate": 10.0 ** (-2 - number / 4), "kind": "b", "clamp": 1 + number % 2}
        study.add_trial(create_trial(params=params, distributions=both, value=float(number)))
    other = {"rate": 1e-3, "kind": "a"}
    study.add_trial(create_trial(params=other, distributions=shared, state=TrialState.PRUNED))
    for number in range(2):
        suggested = study.ask(both)
        assert 1e-4 <= suggested.params["rate"] <= 1e-1
        study.tell(suggested, float(number))


def test_the_grid_covers_all_points() -> None:
    points = asked("grid", FINITE, 6)
    assert {(point["blocks"], point["kind"]) for point in points} == set(
        itertools.product((1, 2, 3), "ab")
    )


def test_refusals() -> None:
    for name in SAMPLERS:
        parameters = FINITE if name == "grid" else SPACE
        check_sampler(name, parameters, trials=6, scheduler="none")
    with pytest.raises(InputError, match="no such sampler"):
        check_sampler("cleverest", SPACE, trials=6, scheduler="none")
    with pytest.raises(InputError, match="needs completed trials"):
        check_sampler("nsga2", SPACE, trials=6, scheduler="asha")
    with pytest.raises(InputError, match="under a condition"):
        check_sampler("grid", (KIND, CLAMP), trials=3, scheduler="none")
    with pytest.raises(InputError, match="infinitely many"):
        check_sampler("grid", SPACE, trials=3, scheduler="none")
    with pytest.raises(InputError, match="6 points"):
        check_sampler("grid", FINITE, trials=7, scheduler="none")


def trial(state: TrialState, value: float | None, *reports: float) -> FrozenTrial:
    steps = {10 * (number + 1): report for number, report in enumerate(reports)}
    return create_trial(state=state, value=value, intermediate_values=steps)


FINISHED = [trial(TrialState.COMPLETE, end, end - 4, end) for end in (20.0, 22.0, 24.0, 26.0)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_stopped_trials_are_shown_at_what_they_would_have_come_to(sign: float) -> None:
    def signed(one: FrozenTrial) -> FrozenTrial:
        values = None if one.value is None else sign * one.value
        reports = [sign * value for value in one.intermediate_values.values()]
        return trial(one.state, values, *reports)

    pruned = trial(TrialState.PRUNED, None, 19.0)
    beyond = trial(TrialState.PRUNED, None, 40.0)
    spoiled = trial(TrialState.PRUNED, None)
    running = trial(TrialState.RUNNING, None, 18.0)
    shown = impute([signed(one) for one in (*FINISHED, pruned, beyond, spoiled, running)], sign)
    floor = 21.5
    assert FLOOR == 0.25
    expected = [floor, 22.0, 24.0, 26.0, 23.0, 26.0, floor]
    assert [one.value for one in shown[:-1]] == pytest.approx([sign * v for v in expected])
    assert all(one.state is TrialState.COMPLETE for one in shown[:-1])
    assert shown[-1].state is TrialState.RUNNING


def test_the_trials_themselves_stay_as_they_are() -> None:
    pruned = trial(TrialState.PRUNED, None, 19.0)
    impute([*FINISHED, pruned])
    assert pruned.state is TrialState.PRUNED
    assert pruned.value is None
