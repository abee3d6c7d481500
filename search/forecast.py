"""What a search will try and what it will cost, found without starting it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.samplers import RandomSampler

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.networks.build import METHODS
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.feasibility import FeasibilityCheck
from dtsinn.search.sampling.halving import SCHEDULERS, expected_share
from dtsinn.training.config import RunConfig
from dtsinn.training.feed import Feed
from dtsinn.training.footprint import Footprint, footprint
from dtsinn.training.state import TrainingState
from dtsinn.training.step import take_step, task_of
from dtsinn.training.team import ALONE

SAMPLES = 5
"""Suggestions that are drawn and timed."""
DRAWS = 200
"""Suggestions that are drawn at most to find them."""
WARM, TIMED = 2, 5
"""Steps before and under the clock; the fastest counts."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A suggestion, and what a trial with it costs."""

    suggestion: dict[str, Any]
    takes: Footprint | None
    """None where nothing is trained."""
    step_seconds: float
    """Time of a training step on this machine's CPU, with the threads of a trial, s; 0 likewise."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a search will try and cost."""

    size: int | None
    """Number of different suggestions; None where a range is continuous."""
    refused: float
    """Part of the suggestions drawn that a constraint or the configuration refuses."""
    samples: list[Sample]
    steps: int
    """Training steps of all trials, if none is pruned."""
    expected_steps: int
    """The part of them that is taken where the scheduler prunes what it is expected to prune."""
    seconds: float
    """Wall time of the expected steps, validations and starts of trials left out."""


def forecast(plan: SearchPlan, store: Store, at_a_time: int) -> Forecast:
    """Draw some suggestions at random, and take a few steps with each.

    Args:
        plan: Of the search.
        store: It is searched on.
        at_a_time: Trials that run beside each other.

    Raises:
        InputError: No suggestion is within the constraints.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    header = store.header
    refuse = FeasibilityCheck(space=plan.space, frames=header.protocol.frames, size=header.size)
    study = optuna.create_study(sampler=RandomSampler(seed=plan.seed))
    samples: list[Sample] = []
    drawn, reason = 0, ""
    while len(samples) < SAMPLES and drawn < DRAWS:
        suggestion = plan.space.draw(study.ask())
        drawn += 1
        refusal = refuse(suggestion)
        if refusal:
            reason = refusal
        else:
            with _threads(max(1, int(plan.cpus_per_trial))):
                samples.append(_sample(plan.space.config(suggestion), suggestion, store))
    if not samples:
        raise InputError(
            f"space {plan.space.name}: none of {drawn} suggestions may be tried", got=reason
        )
    budget = int(plan.space.base["steps"])
    every = int(plan.space.base["validate_every"])
    halving = SCHEDULERS[plan.scheduler].halving(budget, every)
    share = expected_share(halving) if halving else 1.0
    expected = round(plan.trials * budget * share)
    mean = sum(sample.step_seconds for sample in samples) / len(samples)
    return Forecast(
        size=plan.space.size(),
        refused=1 - len(samples) / drawn,
        samples=samples,
        steps=plan.trials * budget,
        expected_steps=expected,
        seconds=expected * mean / at_a_time,
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Within it torch computes with so many threads, as a trial does."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sample(config: RunConfig, suggestion: dict[str, Any], store: Store) -> Sample:
    if METHODS[config.model.kind].learning != "gradient":
        return Sample(suggestion=suggestion, takes=None, step_seconds=0.0)
    frames = store.header.protocol.frames
    state = TrainingState(config, frames)
    feed, task = Feed((store,), config, ALONE, 0), task_of(store, torch.device("cpu"))
    state.network.train()
    clock = []
    for step in range(WARM + TIMED):
        begun = time.perf_counter()
        take_step(state, task, feed.parts(step), ALONE)
        clock.append(time.perf_counter() - begun)
    return Sample(
        suggestion=suggestion,
        takes=footprint(config, frames, store.header.size),
        step_seconds=min(clock[WARM:]),
    )
