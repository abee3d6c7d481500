"""The plan: written to the event log and read again, and what a resumed search may change."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from dtsinn.core.config import config_names
from dtsinn.core.errors import InputError
from dtsinn.search.objective import read_objectives
from dtsinn.search.plan import CHANGEABLE, SearchPlan, change_plan, plan_of
from dtsinn.search.space.reader import load_space

BRANCHES = """
base: quick
fixed: {accumulate: 2}
parameters:
  model.kind: {choice: [invertible, unet]}
  model.levels: {int: [1, 2], when: {model.kind: unet}}
  model.subnet: {choice: [bottleneck, residual], when: {model.kind: [invertible]}}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
constraints: [parameters <= 3e6, memory <= 8 GiB]
points: [{model.kind: unet, model.levels: 2}]
"""


def through_json(plan: SearchPlan) -> SearchPlan:
    return plan_of(json.loads(json.dumps(plan.as_data(), allow_nan=False)))


@pytest.mark.parametrize("key", ["workers_per_trial", "trials", "concurrent", "cpus_per_trial"])
@pytest.mark.parametrize("value", [0, -1])
def test_no_number_of_a_plan_is_below_its_range(make_plan, key: str, value: int) -> None:
    data = make_plan().as_data() | {key: value}
    with pytest.raises(InputError, match=f"the plan of the search: {key} of a search; got {value}"):
        plan_of(data)


def test_a_plan_survives_the_ledger(make_plan) -> None:
    plan = make_plan(
        BRANCHES.replace("base: quick\n", ""),
        objectives=read_objectives("psnr:max,parameters:min"),
        trials=7,
        time_budget_s=90.0,
        step_budget=1000,
        gpu_hours=2.5,
        target=31.0,
        patience=3,
        concurrent=2,
        gpus_per_trial=1,
        workers_per_trial=2,
        sampler="random",
        scheduler="hyperband",
        seed=5,
        cluster="10.0.0.1:6379",
    )
    again = through_json(plan)
    assert again == plan
    assert through_json(again) == plan
    assert again.space.start() == plan.space.start()


@pytest.mark.parametrize("name", config_names("spaces"))
def test_every_shipped_space_survives_the_ledger(name: str) -> None:
    space = load_space(name)
    plan = SearchPlan(name="a", store="s.zarr", space=space)
    assert through_json(plan).space == space


def test_a_plan_in_the_ledger_needs_no_space_file(make_plan, tmp_path: Path) -> None:
    plan = make_plan()
    data = plan.as_data()
    (tmp_path / "mine.yaml").unlink()
    assert plan_of(data) == plan


@pytest.mark.parametrize("data", [{}, {"space": {}}, {"space": {"name": "a", "file": {}}}])
def test_the_plan_of_another_version_is_one_clear_line(data: dict[str, object]) -> None:
    with pytest.raises(InputError, match="plan of the search cannot be read"):
        plan_of(data)


def test_a_plan_with_an_unknown_part_is_one_clear_line(make_plan) -> None:
    with pytest.raises(InputError, match="plan of the search cannot be read"):
        plan_of(make_plan().as_data() | {"new": 1})


CHANGES = {
    "trials": 99,
    "time_budget_s": 5.0,
    "step_budget": 5,
    "gpu_hours": 5.0,
    "target": 5.0,
    "patience": 5,
    "concurrent": 5,
    "cpus_per_trial": 0.5,
    "gpus_per_trial": 0.5,
    "pack_gpus": True,
    "workers_per_trial": 1,
    "cluster": "auto",
    "gate": "mine.yaml",
    "floor": False,
}


def test_what_may_change_is_tried_here() -> None:
    assert CHANGES.keys() == CHANGEABLE


@pytest.mark.parametrize("key", CHANGES)
def test_trials_budgets_and_machines_may_change(make_plan, key: str) -> None:
    plan = make_plan(gpus_per_trial=1.0)
    changed = change_plan(plan, {key: CHANGES[key]})
    assert getattr(changed, key) == CHANGES[key]
    assert changed.space == plan.space


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampler", "random"),
        ("scheduler", "asha"),
        ("seed", 1),
        ("objectives", read_objectives("psnr:max,seconds:min")),
    ],
)
def test_what_decides_what_is_searched_stays(make_plan, key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"search hand cannot be resumed with another {key}"):
        change_plan(make_plan(), {key: value})


def test_the_same_space_may_be_given_again_and_another_one_not(make_plan) -> None:
    plan = through_json(make_plan())
    same = make_plan().space
    assert change_plan(plan, {"space": same, "seed": 0, "sampler": "tpe"}) == plan
    other = make_plan("{parameters: {model.blocks: {choice: [1, 2, 3]}}}").space
    with pytest.raises(InputError, match="another space; got mine; wanted mine; try another"):
        change_plan(plan, {"space": other})


def test_a_changed_plan_is_checked_as_any_other(make_plan) -> None:
    with pytest.raises(InputError, match="accumulate cannot be shared by 3"):
        change_plan(make_plan(), {"workers_per_trial": 3})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sampler": "grid"}, "optimizer.learning_rate has infinitely many values"),
        ({"sampler": "nsga2", "scheduler": "asha"}, "NSGA-II needs completed trials"),
        ({"gpu_hours": 1.0}, "trials have no GPU; try --gpus-per-trial"),
        ({"time_budget_s": 0.0}, "time_budget_s of a search; got 0.0; wanted above 0"),
        ({"step_budget": -1}, "step_budget of a search"),
        ({"patience": 0}, "patience of a search"),
        ({"target": math.nan}, "target of a search; got nan; wanted a finite number"),
        ({"target": -math.inf}, "target of a search; got -inf"),
        ({"time_budget_s": math.inf}, "time_budget_s of a search; got inf"),
        ({"gpu_hours": math.nan, "gpus_per_trial": 1.0}, "gpu_hours of a search; got nan"),
        ({"gpus_per_trial": math.inf}, "gpus_per_trial of a search; got inf"),
        ({"cpus_per_trial": math.nan}, "cpus_per_trial of a search; got nan; wanted above 0"),
        ({"trials": 0}, "trials of a search; got 0"),
        ({"concurrent": -1}, "concurrent of a search; got -1"),
        ({"seed": -1}, "seed of a search; got -1; wanted 0 to 2^32 - 1"),
        ({"seed": 2**32}, "seed of a search"),
    ],
)
def test_parts_that_do_not_go_together_are_one_clear_line(make_plan, more, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(**more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_smaller_than_the_number_of_trials_is_refused(make_plan) -> None:
    text = "{parameters: {model.blocks: {choice: [1, 2]}}}"
    with pytest.raises(InputError, match="got a grid of 2 points; try --trials 2"):
        make_plan(text, sampler="grid", trials=3)
    branches = "{parameters: {model.kind: {choice: [invertible, unet]},"
    branches += " model.levels: {int: [1, 2], when: {model.kind: unet}}}}"
    with pytest.raises(InputError, match="searched under a condition"):
        make_plan(branches, sampler="grid")


def test_samplers_and_schedulers_are_found_in_any_letters(make_plan) -> None:
    plan = make_plan(sampler="TPE", scheduler="None")
    assert (plan.sampler, plan.scheduler) == ("tpe", "none")
