"""The facts of a search that its charts and its words share: values, outcomes, times, budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dtsinn.search.events.state import SearchState, TrialRecord
from dtsinn.search.objective import PSNR, Objective, best_trial, front_of, pareto_front
from dtsinn.search.space.space import SearchSpace

OUTCOMES = {
    "finished": "spent its budget",
    "pruned": "stopped early: it was not among the best, or the search was over",
    "infeasible": "ended by its configuration: it diverged, lost its inverse or found no memory",
    "failed": "ended by a fault of the machine",
    "killed": "ended with the search, and may be resumed",
    "running": "not ended yet",
}
"""How trials end, finer than their states, where one that is ``pruned`` may be infeasible."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What a trial had reached when it reported."""

    step: int
    value: float
    """Value of the first objective; finite."""
    seconds: float
    """When, on the search's own clock."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The best trial against the one with the base configuration."""

    base: str
    """Name of the trial."""
    base_value: float
    best_value: float
    step: int | None
    """Where the two are compared; None is at the end of both."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One search, its space and its objectives, and what follows from them."""

    history: SearchState
    space: SearchSpace
    objectives: tuple[Objective, ...]

    @property
    def objective(self) -> Objective:
        """The first one, which the charts and importances are about."""
        return self.objectives[0]

    @property
    def trials(self) -> list[TrialRecord]:
        """In the order in which they were thought of."""
        return list(self.history.trials.values())

    @property
    def now_ms(self) -> int:
        """Time of the last event, ms since 1970."""
        return max((session.last_ms for session in self.history.sessions), default=0)

    def clock(self, time_ms: int) -> float:
        """Seconds of the search at a moment: time between two sessions does not count."""
        passed = [
            min(max(time_ms - session.begun_ms, 0), session.last_ms - session.begun_ms)
            for session in self.history.sessions
        ]
        return sum(passed) / 1000

    @cached_property
    def reached(self) -> dict[str, list[Reached]]:
        """Finite values of the first objective, report by report, of each trial that has any."""
        found = {}
        for trial in self.trials:
            curve = [
                Reached(step=point.step, value=value, seconds=self.clock(point.time_ms))
                for point in trial.points
                if math.isfinite(value := self.objective.value(point.metrics))
            ]
            if curve:
                found[trial.name] = curve
        return found

    @cached_property
    def final(self) -> dict[str, float]:
        """The last value of the first objective, by trial."""
        return {name: curve[-1].value for name, curve in self.reached.items()}

    def is_better(self, one: float, other: float) -> bool:
        """Whether one value of the first objective is better than another one."""
        return one > other if self.objective.maximise else one < other

    @cached_property
    def best(self) -> TrialRecord | None:
        """The trial with the best value of the first objective, however it ended."""
        return best_trial(self.history, self.objectives, self.space.outcomes)

    @cached_property
    def base(self) -> TrialRecord | None:
        """The trial with the base configuration, where it has a value."""
        found = [t for t in self.trials if t.source == "base" and t.name in self.final]
        return found[0] if found else None

    @cached_property
    def gain(self) -> Gain | None:
        """The best trial against the base, at a step that both have reached."""
        if self.best is None or self.base is None:
            return None
        best, base = self.reached[self.best.name], self.reached[self.base.name]
        complete = self.outcome(self.base) == "finished" or base[-1].step >= best[-1].step
        step = None if complete else base[-1].step
        then = [one.value for one in best if step is None or one.step <= step]
        if not then:
            return None
        return Gain(base=self.base.name, base_value=base[-1].value, best_value=then[-1], step=step)

    @cached_property
    def floor(self) -> float | None:
        """Value of the first objective for the linear map, where the search has a floor."""
        floor = self.history.floor
        value = self.objective.value(floor.metrics) if floor else math.nan
        return value if math.isfinite(value) else None

    @cached_property
    def over_linear(self) -> float | None:
        """PSNR of the best trial minus that of the floor, dB, on the same ``val`` subjects."""
        if self.best is None or self.history.floor is None:
            return None
        psnr = PSNR[0].value
        over = psnr(self.best.metrics) - psnr(self.history.floor.metrics)
        return over if math.isfinite(over) else None

    @cached_property
    def values(self) -> dict[str, tuple[float, ...]]:
        """Last values of all objectives, of trials that have all of them."""
        found = {}
        for trial in self.trials:
            own = tuple(objective.value(trial.metrics) for objective in self.objectives)
            if all(map(math.isfinite, own)):
                found[trial.name] = own
        return found

    @cached_property
    def front(self) -> list[str]:
        """Trials that nobody dominates, among the finished ones; among all where none is."""
        found = front_of(self.history, self.objectives, self.space.outcomes)
        return found or pareto_front(self.values, self.objectives)

    def outcome(self, trial: TrialRecord) -> str:
        """How a trial ended, one of :data:`OUTCOMES`."""
        if trial.state == "pruned":
            return "infeasible" if trial.infeasible else "pruned"
        return trial.state if trial.state in OUTCOMES else "running"

    def outcome_of(self, name: str) -> str:
        """How the trial of a name ended."""
        return self.outcome(self.history.trials[name])

    @cached_property
    def outcomes(self) -> dict[str, int]:
        """Number of trials by outcome, those that occur."""
        counts = Counter(map(self.outcome, self.trials))
        return {outcome: counts[outcome] for outcome in OUTCOMES if counts[outcome]}

    def stretches(self, trial: TrialRecord) -> list[tuple[float, float]]:
        """From when to when a trial was at work, on the search's clock; in order."""
        if trial.begun_ms is None:
            return []
        earlier = [point.time_ms for point in trial.points if point.time_ms < trial.begun_ms]
        found = [(trial.suggested_ms, earlier[-1])] if earlier else []
        # Of a trial that is still open the last event of the search is all that is known.
        end = trial.ended_ms if trial.ended_ms is not None else self.now_ms
        found.append((trial.begun_ms, max(end, trial.begun_ms)))
        return [(self.clock(start), self.clock(stop)) for start, stop in found]

    def seconds_of(self, trial: TrialRecord) -> float:
        """Seconds that a trial was at work, with what was lost."""
        return trial.active_seconds(self.now_ms)

    @cached_property
    def budget(self) -> Budget:
        """What the trials took."""
        steps, seconds = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0.0)
        lost = 0.0
        for trial in self.trials:
            outcome, took = self.outcome(trial), self.seconds_of(trial)
            wasted = min(trial.lost_seconds, took)
            steps[outcome] += trial.step
            seconds[outcome] += took - wasted
            lost += wasted
        return Budget(steps=steps, seconds=seconds, lost_seconds=lost)

    @cached_property
    def reports(self) -> list[tuple[int, str, Reached]]:
        """All reports in their order: steps of all trials until then, whose it is, and what."""
        ordered = sorted(
            (
                (one.seconds, one.step, name, one)
                for name, curve in self.reached.items()
                for one in curve
            ),
            key=lambda entry: entry[:3],
        )
        before: dict[str, int] = {}
        spent, found = 0, []
        for _, step, name, one in ordered:
            spent += step - before.get(name, 0)
            before[name] = step
            found.append((spent, name, one))
        return found

    def incumbents(self) -> list[tuple[int, Reached]]:
        """Each time that the best value so far rose: steps of all trials until then, and what."""
        risen: list[tuple[int, Reached]] = []
        for spent, _, one in self.reports:
            if not risen or self.is_better(one.value, risen[-1][1].value):
                risen.append((spent, one))
        return risen


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the trials took, by outcome."""

    steps: Mapping[str, int]
    seconds: Mapping[str, float]
    """Seconds of work, all workers together, without what was lost."""
    lost_seconds: float
    """Seconds of work that was done again because a worker died."""

    def share(self, outcomes: Sequence[str]) -> float:
        """Part of all training steps that was spent on trials with one of these outcomes."""
        return sum(self.steps[outcome] for outcome in outcomes) / max(sum(self.steps.values()), 1)
