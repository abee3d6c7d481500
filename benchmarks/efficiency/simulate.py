"""A search as it would run on some workers, over tabulated curves instead of trainings.

Trials run side by side in simulated time: a report comes when the table's CPU seconds have passed.
The sampler is asked and told by the product's rules: running bests as intermediate values,
COMPLETE with a value at the end of the budget, PRUNED without one for what was stopped or diverged.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from benchmarks.efficiency.curves import STEPS_OF_REPORT, CurveTable, Point
from dtsinn.search.space.space import Parameter

WORKERS = 4
"""Trials that run at a time (uncited)."""
Floats = npt.NDArray[np.float64]


class Decide(Protocol):
    """What stops trials."""

    def __call__(self, trial: optuna.Trial, step: int, value: float) -> bool:
        """Whether a trial goes on after a report; ``value`` is its running best, dB."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How a search went; an entry for each report, in the order of simulated time."""

    steps: npt.NDArray[np.int64]
    """Training steps behind all trials."""
    val: Floats
    """PSNR of the incumbent on the ``val`` subjects, dB; the incumbent is chosen by it."""
    test: Floats
    """PSNR of the incumbent on the ``test`` subjects, dB."""
    trials: int
    """Trials that began."""
    finished: int
    """Trials that reached the end of their budget."""

    def at(self, steps: int) -> float:
        """Test PSNR of the incumbent when all trials had ``steps`` steps behind them, dB."""
        place = int(np.searchsorted(self.steps, steps, side="right"))
        return float(self.test[place - 1]) if place else -math.inf

    def reach(self, target: float) -> int | None:
        """Steps after which the incumbent's test PSNR first was ``target``; None if never."""
        reached = np.flatnonzero(self.test >= target)
        return int(self.steps[reached[0]]) if len(reached) else None


def parameters_of(table: CurveTable) -> tuple[Parameter, ...]:
    """The grid as a search space: words are choices, numbers are levels, counted from 0."""
    return tuple(
        Parameter(
            key=key,
            distribution=CategoricalDistribution(tuple(range(len(values))))
            if isinstance(values[0], str)
            else IntDistribution(0, len(values) - 1),
        )
        for key, values in table.problem.grid.items()
    )


def search(
    table: CurveTable,
    sampler: BaseSampler,
    decide: Callable[[optuna.Study], Decide] | None,
    *,
    budget: int,
    pruner: optuna.pruners.BasePruner | None = None,
    name: str = "search",
    target: float = math.inf,
    least: int = 0,
) -> Trace:
    """Search until ``budget`` training steps are spent: no trial begins after that, none goes on.

    A search that has reached ``target`` may end sooner, when ``least`` steps are spent.

    Args:
        table: Stands for the trainings.
        sampler: Suggests.
        decide: Makes what stops trials, of the study; None stops none.
        budget: Steps of all trials together.
        pruner: Of the study, for what decides by Optuna's own.
        name: Of the study: Hyperband's brackets are drawn from it.
        target: Test PSNR of the incumbent, dB.
        least: Steps that are spent even when the target is reached sooner.
    """
    study = optuna.create_study(
        direction="maximize", sampler=sampler, study_name=name, pruner=pruner
    )
    run = _Run(table, study, decide(study) if decide else None)
    for _ in range(WORKERS):
        run.begin(0.0)
    while run.spent + STEPS_OF_REPORT <= budget:
        if run.test >= target and run.spent >= least:
            break
        run.advance()
    steps, val, test = zip(*run.entries, strict=True)
    return Trace(
        steps=np.array(steps, dtype=np.int64),
        val=np.array(val),
        test=np.array(test),
        trials=run.trials,
        finished=run.finished,
    )


@dataclass(kw_only=True)
class _Trial:
    trial: optuna.Trial
    row: int
    report: int = 0
    """Reports that have come."""
    best: float = -math.inf


class _Run:
    """The workers, their trials, and the incumbent."""

    def __init__(self, table: CurveTable, study: optuna.Study, decide: Decide | None) -> None:
        self.table, self.study, self.decide = table, study, decide
        self.distributions: dict[str, BaseDistribution] = {
            parameter.key: parameter.distribution for parameter in parameters_of(table)
        }
        self.coming: list[tuple[float, int, _Trial]] = []
        """Time of the next report of each running trial; the number of the trial breaks ties."""
        self.spent = self.trials = self.finished = 0
        self.val = self.test = -math.inf
        self.entries: list[tuple[int, float, float]] = []

    def begin(self, time: float) -> None:
        """Let a worker begin a trial."""
        trial = self.study.ask(self.distributions)
        self.trials += 1
        point: Point = tuple(trial.params[key] for key in self.distributions)
        self._queue(_Trial(trial=trial, row=self.table.index(point)), time)

    def advance(self) -> None:
        """Let the next report come; its trial goes on, or its worker begins another."""
        time, _, trial = heapq.heappop(self.coming)
        self.spent += STEPS_OF_REPORT
        if self._reported(trial):
            self._queue(trial, time)
        else:
            self.begin(time)

    def _queue(self, trial: _Trial, time: float) -> None:
        """Let a trial go on to its next report; one that diverges before needs as long."""
        seconds_R = self.table.curves.seconds_PR[trial.row]
        before = seconds_R[trial.report - 1] if trial.report else 0.0
        taken = seconds_R[trial.report] - before
        if not math.isfinite(taken):
            first = np.nanmedian(self.table.curves.seconds_PR[:, 0])
            taken = before / trial.report if trial.report else first
        heapq.heappush(self.coming, (time + float(taken), trial.trial.number, trial))

    def _reported(self, trial: _Trial) -> bool:
        """Take note of a report, tell the sampler, and whether the trial goes on."""
        curves = self.table.curves
        val = float(curves.val_PR[trial.row, trial.report])
        diverged = not math.isfinite(val)
        if val > self.val:
            self.val = val
            self.test = float(curves.test_PR[trial.row, trial.report])
        self.entries.append((self.spent, self.val, self.test))
        if not diverged:
            trial.report += 1
            trial.best = max(trial.best, val)
            step = trial.report * STEPS_OF_REPORT
            trial.trial.report(trial.best, step)
            goes_on = self.decide is None or self.decide(trial.trial, step, trial.best)
            if step == self.table.steps:
                self.finished += 1
                self.study.tell(trial.trial, trial.best)
                return False
            if goes_on:
                return True
        self.study.tell(trial.trial, state=TrialState.PRUNED)
        return False
