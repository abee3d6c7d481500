"""Budgets: what a step costs, measured before, and how many of them fill the seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store

VALIDATION_SHARE = 0.1
"""Part of the budget that validations before the last one may take."""
VALIDATIONS = 3
"""Validations of a training, where they fit; else one, after the last step."""
ROUNDS = 5
"""Rounds of a calibration; the fastest one stands."""
STEPS_OF_ROUND = 3
READ = 64
"""Samples that a round of reading takes."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a calibration, in process CPU seconds."""

    steps: float
    """Of :data:`STEPS_OF_ROUND` steps."""
    one: float
    """A validation of one ``val`` subject, with what every validation does once."""
    two: float
    """Of two."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a method costs on a machine that does nothing else, in process CPU seconds."""

    step: float
    """A training step, its sample's reading included."""
    validation: float
    """All ``val`` subjects."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a budget is spent."""

    steps: int
    validations: int
    """At equal distances; the last one stands after the last step and is not counted."""


def calibrate(store: Store, clocks: Sequence[Callable[[], Iterator[Round]]]) -> list[Speed]:
    """Speeds of several ways to train, their rounds interleaved."""
    running = [clock() for clock in clocks]
    rounds = [[next(one) for one in running] for _ in range(ROUNDS)]
    reading, subjects = _reading(store), store.subject_count("val")
    return [
        Speed(
            step=min(r.steps for r in of_one) / STEPS_OF_ROUND + reading,
            validation=_validation(of_one, subjects),
        )
        for of_one in zip(*rounds, strict=True)
    ]


def plan(speed: Speed, seconds: float) -> Plan:
    """The number of steps and validations that fill ``seconds`` of process CPU time."""
    between = (VALIDATIONS - 1) * speed.validation
    fits = between <= VALIDATION_SHARE * seconds
    steps = int((seconds - between * fits) / speed.step)
    validations = VALIDATIONS if fits else 1
    return Plan(steps=max(steps, validations), validations=validations)


def _validation(rounds: Sequence[Round], subjects: int) -> float:
    """CPU seconds of a validation of ``subjects``: the first one, and as many more."""
    one, two = min(r.one for r in rounds), min(r.two for r in rounds)
    return one + (subjects - 1) * max(two - one, 0.0)


def _reading(store: Store) -> float:
    """CPU seconds a sample that the training stream takes, the fastest of some rounds."""
    stream = batches(store, Reading(seed=0), 1)
    taken = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(READ):
            next(stream)
        taken.append((time.process_time() - begun) / READ)
    return min(taken)
