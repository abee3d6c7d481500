"""What a search has spent, and when it is over: whichever of its budgets is spent first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dtsinn.search.events.state import ENDED, SearchState
from dtsinn.search.plan import SearchPlan


class Budget:
    """Counts what events say, and tells when nothing more should be done.

    Args:
        plan: Of the search.
        search: Its state; it has taken each event before :meth:`apply` does.

    Attributes:
        best: Best value of the first objective so far; NaN without one.
        steps: Training steps of all trials.
    """

    def __init__(self, plan: SearchPlan, search: SearchState) -> None:
        self.plan, self.search = plan, search
        self.best = math.nan
        self.steps = 0
        self._holder = ""
        """Name of the trial with the best value."""
        self._stale = 0
        """Trials that ended since the best value was found."""

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Count an event; returns whether it brought the best value so far."""
        kind = event["event"]
        trial = self.search.trial_of(event["key"]) if kind in {"report", "end"} else None
        if trial is None:
            return False
        if kind == "end":
            self._stale += trial.state in ENDED and trial.name != self._holder
            return False
        before = trial.points[-2].step if len(trial.points) > 1 else 0
        self.steps += trial.step - before
        best = self._is_best(self.plan.objectives[0].value(trial.metrics))
        self._holder = trial.name if best else self._holder
        return best

    def why_over(self, now_ms: int) -> str:
        """Why nothing more should be done, or nothing."""
        plan, objective = self.plan, self.plan.objectives[0]
        if plan.time_budget_s is not None and self.seconds(now_ms) >= plan.time_budget_s:
            return "the time budget is spent"
        if plan.step_budget is not None and self.steps >= plan.step_budget:
            return f"the budget of {plan.step_budget} steps is spent"
        if plan.gpu_hours is not None and self.gpu_hours(now_ms) >= plan.gpu_hours:
            return f"the budget of {plan.gpu_hours:g} GPU hours is spent"
        if (
            plan.target is not None
            and (self.best == plan.target or (self.best > plan.target) == objective.maximise)
            and not math.isnan(self.best)
        ):
            return f"the target is reached: {objective.metric} {self.best:.4g}"
        if plan.patience is not None and self._stale >= plan.patience:
            return f"{plan.patience} trials ended without a better one"
        return ""

    def seconds(self, now_ms: int) -> float:
        """Wall time of all sessions, the one under way up to now."""
        *before, own = self.search.sessions
        return sum(session.seconds for session in before) + (now_ms - own.begun_ms) / 1000

    def gpu_hours(self, now_ms: int) -> float:
        """GPUs times hours of all trials, of shared ones their part."""
        return sum(trial.gpu_seconds(now_ms) for trial in self.search.trials.values()) / 3600

    def _is_best(self, value: float) -> bool:
        ahead = value > self.best if self.plan.objectives[0].maximise else value < self.best
        if not math.isfinite(value) or not (math.isnan(self.best) or ahead):
            return False
        self.best, self._stale = value, 0
        return True
