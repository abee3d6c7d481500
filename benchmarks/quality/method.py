"""The search that every method gets: Optuna's TPE over learning rate and width.

A suggestion depends on the number of the trial and on the results before it alone, so that a
search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import create_trial
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dtsinn.core.errors import InputError
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store
from dtsinn.networks.method import SeparateSubject
from tests.support.memory import MiB, peak_growth

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


SEED = 12
"""Of the sampler; the same for every method, so that all begin with the same points."""
STARTUP = 4
"""Trials that are drawn without a look at the results before."""
LOST = -100.0
"""What a trial counts that gave no finite answer, dB."""
FACTORS = (0.5, 0.75, 1.0, 1.5)
"""Widths to choose from, relative to the method's own default."""
MULTIPLE = 4
"""Widths are rounded to multiples of it."""
LEARNING_RATE = FloatDistribution(5e-4, 1.6e-2, log=True)
WIDTH = IntDistribution(0, len(FACTORS) - 1)
"""Place in :data:`FACTORS`."""

Space = Mapping[str, BaseDistribution]
Parameters = Mapping[str, float]


def width_of(default: int, place: float) -> int:
    """The width at a place of :data:`FACTORS`."""
    return max(MULTIPLE, MULTIPLE * round(default * FACTORS[int(place)] / MULTIPLE))


def suggest(
    space: Space, past: Sequence[tuple[Parameters, float | None]], number: int
) -> dict[str, float]:
    """Parameters of trial ``number``.

    Args:
        space: Distributions by name.
        past: Parameters and validation PSNR in dB of the trials before, in their order; None
            where there was no finite answer.
        number: Of the trial, from 0.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = TPESampler(seed=SEED + number, n_startup_trials=STARTUP)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for parameters, value in past:
        trial = create_trial(
            params=dict(parameters),
            distributions=dict(space),
            value=LOST if value is None else value,
        )
        study.add_trial(trial)
    return dict(study.ask(dict(space)).params)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Size of a network and the work of one slice."""

    parameters: int
    forward_flop: int
    """Floating-point operations of separating a slice: those of convolutions and matrices."""
    step_flop: int
    """Of a training step on one slice, likewise."""
    peak_mib: float
    """Most memory that a training step on one slice takes beside weights and gradients, MiB."""


def cost_of(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], store: Store) -> Cost:
    """Count one forward pass and one training step on the first ``val`` slice's shape.

    Args:
        network: [B, T, Y, X] -> [B, K, T, Y, X].
        loss: Mixtures and tracers -> what is minimised.
        store: Says the shapes.
    """
    frames, size = store.header.protocol.frames, store.header.size
    generator = torch.Generator().manual_seed(0)
    tracers_BKTYX = torch.rand(1, 2, frames, *size, generator=generator)
    mixture_BTYX = tracers_BKTYX.sum(dim=1)
    with torch.no_grad(), FlopCounterMode(display=False) as forward:
        network(mixture_BTYX)

    def step() -> None:
        loss(mixture_BTYX, tracers_BKTYX).backward()  # type: ignore[no-untyped-call]

    with FlopCounterMode(display=False) as both:
        step()  # leaves the gradients, so that they do not count below
    return Cost(
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        forward_flop=forward.get_total_flops(),
        step_flop=both.get_total_flops(),
        peak_mib=peak_growth(step) / MiB,
    )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A method that is ready to separate, and what it took."""

    separate: SeparateSubject | None
    """None where the training diverged."""
    cpu_seconds: float = 0.0
    """Process CPU time from the first sample to the last step, validations between included."""
    val_psnr: float | None = None
    """Mean over ``val`` subjects and tracers, dB; None where the training diverged."""
    round_trip_error: float | None = None
    """Relative; None where there is no inverse."""
    kinetics: Mapping[str, float] = field(default_factory=dict)
    """``val_kinetic_error`` and ``val_kinetic_bias`` of these weights, percent, where told."""
    weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A row of the tables."""

    name: str
    """As the command line knows it."""
    title: str
    """As the tables show it."""
    role: Literal["floor", "rival", "published", "twin", "ours"]
    modules: tuple[str, ...]
    """Modules whose code decides the result; a change there makes new jobs."""
    space: Space = field(default_factory=dict)
    """What the search moves; nothing where the settings are given."""
    trained: bool = True
    """It has a budget of CPU seconds and seeds; else one run gives all there is."""

    @abstractmethod
    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything that a training needs but budget and seed, as plain data."""

    def rounds(self, store: Store, settings: Mapping[str, Any]) -> Iterator[Round]:
        """Rounds of training whose seconds are measured, without an end."""
        raise InputError(f"{self.name} is not trained")

    @abstractmethod
    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Train on the ``train`` subjects and keep what is best on the ``val`` subjects."""

    def load(self, store: Store, settings: Mapping[str, Any], weights: Path) -> Fitted:
        """What an earlier :meth:`fit` left in a file."""
        raise InputError(f"{self.name} keeps no weights")

    def cost(self, store: Store, settings: Mapping[str, Any]) -> Cost | None:
        """Size and work; None where there is no network."""
        return None
