"""The driver: decides and writes everything in a search; workers only train, report and keep.

It is event sourcing: whatever happens becomes an event. It is written to the event log, and then
applied: to the state, the budget, the scheduler and the table. A driver begins by applying all
events of those before it, so that one that was killed is replaced by the next, which knows as
much.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import DtsinnError
from dtsinn.core.tracker import RunStart
from dtsinn.eventlog.outbox import Outbox
from dtsinn.search.engine.table import TrialTable
from dtsinn.search.events.state import (
    ENDED,
    FLOOR,
    INFEASIBLE,
    SearchState,
    TrialRecord,
    ends_of_died,
)
from dtsinn.search.objective import METRICS
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.feasibility import FeasibilityCheck
from dtsinn.search.sampling.halving import Halving
from dtsinn.search.sampling.study import SearchStudy


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
        """Wall time of all sessions, the one under way up to now, without that of the floor."""
        *before, own = self.search.sessions
        whole = sum(session.seconds for session in before) + (now_ms - own.begun_ms) / 1000
        floor = self.search.floor
        return whole - (floor.active_seconds(now_ms) if floor else 0.0)

    def gpu_hours(self, now_ms: int) -> float:
        """GPUs times hours of all trials, of shared ones their part."""
        return sum(trial.gpu_seconds(now_ms) for trial in self.search.trials.values()) / 3600

    def _is_best(self, value: float) -> bool:
        ahead = value > self.best if self.plan.objectives[0].maximise else value < self.best
        if not math.isfinite(value) or not (math.isnan(self.best) or ahead):
            return False
        self.best, self._stale = value, 0
        return True


STOP = "stop"
"""File in a search's folder that ends it gently."""
SAMPLER = "sampler"
"""Source of the suggestions that nobody gave."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a driver works with."""

    plan: SearchPlan
    folder: Path
    """Folder of the search."""
    events: Sequence[Mapping[str, Any]]
    """All that happened before."""
    study: SearchStudy
    """Knows as much."""
    halving: Halving | None
    """Prunes trials; None prunes none."""
    feasibility: FeasibilityCheck
    outbox: Outbox
    table: TrialTable
    run: RunStart
    """The search's own."""
    lineage: Mapping[str, str]
    """Tags that each trial carries."""
    concurrent: int
    """Trials at a time."""
    gpus: Callable[[Mapping[str, Any]], float]
    """Number that a trial holds, by its suggestion."""


@dataclass(kw_only=True)
class Outcome:
    """The outcome of a session."""

    over: str = ""
    """Why nothing more is started, or nothing."""
    interrupted: bool = False
    """It can be resumed: what is under way is kept for that."""


class Driver:
    """One session of a search, which Ray asks (:mod:`dtsinn.search.engine.ray_adapters`)."""

    def __init__(self, tools: Tools) -> None:
        self.tools, self.plan = tools, tools.plan
        self.search = SearchState(name=self.plan.name)
        self.budget = Budget(self.plan, self.search)
        self.outcome = Outcome()
        self.error: DtsinnError | None = None
        """What ended the session, where it was an error of ours."""
        self._verdicts: dict[str, bool] = {}
        """What the scheduler said of each trial's last report."""
        for event in tools.events:
            self._apply(event)
        trials = self.search.trials.values()
        sources = [trial.source for trial in trials]
        sources += [refused.get("source", SAMPLER) for refused in self.search.refused]
        given = sum(source != SAMPLER for source in sources)
        self._points = deque(self.search.points[given:])
        self._left = deque(trial.name for trial in trials if trial.is_open)
        self.active: dict[str, str] = {}
        """Names of the trials that Ray has, by its id, first suggested first."""

    # ------------------------------------------------------------- the session

    def begin(self) -> None:
        """Open the session; what a driver before it left under way when it died is ended first."""
        for end in ends_of_died(self.search):
            self._write(end)
        host, now = socket.gethostname(), now_ms()
        self._record("sitting", now, host=host, pid=os.getpid(), plan=self.plan.as_data())
        self._record("begin", now, run=asdict(replace(self.tools.run, time_ms=now)))

    def interrupt(self, reason: str) -> None:
        """End the session; what is under way can be resumed."""
        self.outcome = Outcome(over=reason, interrupted=True)

    def close(self) -> None:
        """End the trials that are still open.

        Those of a search that is over for good are pruned, also those that wait for a worker or
        have not gone on yet. Of an interrupted one those under way are killed; all go on when it
        is resumed.
        """
        reason = self.outcome.over or "interrupted"
        for trial in self.search.trials.values():
            if self.outcome.interrupted and trial.state == "running":
                self._end(trial, "killed", reason)
            elif not self.outcome.interrupted and trial.is_open:
                if trial.state != "running":  # no tracker knows the run otherwise
                    self._begin(trial)
                self._end(trial, "pruned", reason)
        floor = self.search.floor
        if floor is not None and floor.state == "running":
            self.end_floor("killed", reason)
        with suppress(OSError):  # of a full disk; the next session makes the study anew
            self.tools.study.close(reason)

    def attach(self, key: str, path: Path, folder: str) -> None:
        """Attach files to a run; they lie in the search's folder."""
        inner = path.relative_to(self.tools.folder).as_posix()
        self._record("artifact", now_ms(), key=key, path=inner, folder=folder)

    def end(self, status: str, reason: str = "") -> None:
        """End the search's own run."""
        tags = {"reason": reason} if reason else {}
        self._record("end", now_ms(), key=self.plan.name, status=status, tags=tags)

    @property
    def to_come(self) -> int:
        """Trials that this session will start, unless it is over before."""
        more = 0 if self.tools.study.exhausted else self.plan.trials - len(self.search.trials)
        return len(self._left) + max(0, more)

    def is_over(self) -> bool:
        """Whether the session should end now, for whatever reason."""
        outcome = self.outcome  # a signal replaces it, and must not be overruled by what we find
        if not outcome.over:
            asked = (self.tools.folder / STOP).exists()
            outcome.over = "stopped" if asked else self.budget.why_over(now_ms())
        return bool(self.outcome.over)

    # ------------------------------------------------------------- the floor

    def begin_floor(self, settings: Mapping[str, Any]) -> None:
        """The floor is fitted from now on, by this process; ``settings`` are its, by dotted key."""
        now = now_ms()
        run = RunStart(
            key=self.search.floor_key,
            name=FLOOR,
            kind="floor",
            experiment=self.tools.run.experiment,
            parent=self.plan.name,
            time_ms=now,
            parameters=settings,
            tags=dict(self.tools.lineage) | {"seed": str(settings["seed"]), "source": FLOOR},
            description="The linear map fitted to the same store: what the trials are measured "
            "against, and none of them.",
        )
        self._record("begin", now, run=asdict(run))

    def report_floor(self, step: int, metrics: Mapping[str, float], time_ms: int) -> None:
        """The floor reports; a driver before this one may have written the same."""
        floor = self.search.floor
        if floor is not None and step > floor.step:
            key = self.search.floor_key
            self._record("report", time_ms, key=key, step=step, metrics=_finite(metrics))

    def end_floor(self, status: str, reason: str = "") -> None:
        """The floor ended; one that was ``killed`` is fitted by the next session."""
        tags = {"reason": reason} if reason else {}
        self._record("end", now_ms(), key=self.search.floor_key, status=status, tags=tags)

    # ------------------------------------------------------------- what Ray asks and notifies

    def suggest(self, ray_id: str) -> dict[str, Any] | None:
        """The next trial, as ``trial`` (its name) and ``suggestion``; None while none may start."""
        if len(self.active) >= self.tools.concurrent or not self.to_come or self.is_over():
            return None
        try:
            name = self._left.popleft() if self._left else self._suggest_trial()
        except DtsinnError as error:  # one suggestion after the other is refused
            self.error = error
            self.interrupt(str(error))
            return None
        except OSError as error:
            self.interrupt(f"the study cannot be written: {error}")
            return None
        if name not in self.search.trials:  # there is none, or it could not be written down
            return None
        self.active[ray_id] = name
        return {"trial": name, "suggestion": self.search.trials[name].suggestion}

    def start_trial(self, ray_id: str) -> None:
        """A trial starts, or starts again after its worker died."""
        trial = self._trial(ray_id)
        if trial.state != "running":
            self._begin(trial)

    def restart_trial(self, ray_id: str) -> None:
        """A trial's worker died; Ray starts it again from its last checkpoint."""
        trial, now = self._trial(ray_id), now_ms()
        lost = max(0.0, (now - trial.kept_ms) / 1000) if trial.kept_ms else 0.0
        self._record("restart", now, trial=trial.name, step=trial.step, lost_seconds=lost)

    def handle_report(self, ray_id: str, result: Mapping[str, Any]) -> bool:
        """A trial reports; returns whether it goes on."""
        trial = self._trial(ray_id)
        if result.get("halt"):  # the machine's fault: the next trial would meet it too
            self.interrupt(str(result["halt"]))
            return False
        if result.get("reason"):
            trial.reason = str(result["reason"])
            return False
        step = int(result["step"])
        if step <= trial.step:  # a worker that goes on from a checkpoint says it again
            self._record("repeat", now_ms(), trial=trial.name, step=step)
        else:
            metrics, now = _finite(result["metrics"]), int(result["time_ms"])
            best = self._record("report", now, key=self._key(trial), step=step, metrics=metrics)
            if best:  # the search's own chart: the incumbent over the steps of all trials
                wanted = {METRICS[objective.metric] for objective in self.plan.objectives}
                own = {key: metrics[key] for key in wanted if key in metrics}
                spent = self.budget.steps
                self._record("report", now, key=self.plan.name, step=spent, metrics=own)
        # What an interrupted trial did from here on would be done again.
        over = self.outcome.interrupted or result["finished"]
        return self._verdicts.get(trial.name, True) and not over

    def handle_end(self, ray_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """A trial ended: by itself, stopped, or for good after its worker died too often."""
        name = self.active.pop(ray_id, None)
        if name is None or not self.search.trials[name].is_open:
            return
        trial = self.search.trials[name]
        if trial.state != "running":  # its worker never came up
            self._begin(trial)
        missing = [
            objective.metric
            for objective in self.plan.objectives
            if not math.isfinite(objective.value(trial.metrics))
        ]
        if self.outcome.interrupted:
            self._end(trial, "killed", self.outcome.over)
        elif error:
            self._end(trial, "failed", "machine fault")
        elif trial.reason:
            self._end(trial, "pruned", trial.reason, INFEASIBLE)
        elif missing:
            self._end(trial, "pruned", f"no finite {' and '.join(missing)}", INFEASIBLE)
        elif result and result.get("finished"):
            self._end(trial, "finished", "")
        else:
            self._end(trial, "pruned", "pruned by the scheduler")

    # ------------------------------------------------------------- inside

    def _record(self, kind: str, time_ms: int, **what: Any) -> bool:
        """Write an event and apply it; returns whether it brought the best value so far.

        A disk that is full ends the session: what is written stands, what is not did not happen.
        """
        return self._write({"event": kind, "time_ms": time_ms} | what)

    def _write(self, event: dict[str, Any]) -> bool:
        try:
            self.tools.outbox.record(event)
        except OSError as error:
            self.interrupt(f"the event log cannot be written: {error}")
            return False
        return self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> bool:
        self.search.apply(event)
        best = self.budget.apply(event)
        kind = event["event"]
        trial = self.search.trial_of(event["key"]) if kind in {"report", "end"} else None
        if trial is not None and kind == "report":
            self._verdicts[trial.name] = self._verdict(trial)
        self.tools.table.apply(event, self.search)
        return best

    def _verdict(self, trial: TrialRecord) -> bool:
        objective = self.plan.objectives[0]
        value = objective.value(trial.metrics)
        if self.tools.halving is None or not math.isfinite(value):
            return True
        signed = value if objective.maximise else -value
        return self.tools.halving.goes_on(trial.name, trial.number, trial.step, signed)

    def _suggest_trial(self) -> str:
        """Suggest a trial; returns its name, or nothing where there is none."""
        number, begun = len(self.search.trials), time.monotonic()
        name = f"trial-{number:03d}"
        given = self._points.popleft() if self._points else None
        source, point = (given["source"], given["suggestion"]) if given else (SAMPLER, None)

        def refuse(suggestion: Mapping[str, Any], reason: str) -> None:
            nonlocal source
            what = {"suggestion": dict(suggestion), "reason": reason, "source": source}
            self._record("refuse", now_ms(), **what)
            source = SAMPLER  # it is asked in place of the given point

        suggestion = self.tools.study.ask(name, self.tools.feasibility, refuse, point)
        if suggestion is None:
            return ""
        self._record(
            "suggest",
            now_ms(),
            trial=name,
            number=number,
            suggestion=suggestion,
            seed=int(self.plan.space.base["seed"]),
            source=source,
            seconds=time.monotonic() - begun,
        )
        return name

    def _begin(self, trial: TrialRecord) -> None:
        now = now_ms()
        run = RunStart(
            key=self._key(trial),
            name=trial.name,
            kind="trial",
            experiment=self.tools.run.experiment,
            parent=self.plan.name,
            time_ms=now,
            parameters=self.plan.space.settings(trial.suggestion),
            tags=dict(self.tools.lineage) | {"seed": str(trial.seed), "source": trial.source},
            description=_describe(trial),
        )
        self._record("begin", now, run=asdict(run), gpus=self.tools.gpus(trial.suggestion))

    def _end(self, trial: TrialRecord, status: str, reason: str, *marks: str) -> None:
        tags = {"reason": reason} if reason else {}
        tags |= dict.fromkeys(marks, "yes")
        self._record("end", now_ms(), key=self._key(trial), status=status, tags=tags)
        if trial.is_open:
            return
        study = self.tools.study
        try:
            values, metrics = study.values(trial), trial.metrics
            study.tell(trial.name, status, trial.step, values, reason, metrics)
        except OSError as error:
            self.interrupt(f"the study cannot be written: {error}")

    def _trial(self, ray_id: str) -> TrialRecord:
        return self.search.trials[self.active[ray_id]]

    def _key(self, trial: TrialRecord) -> str:
        return f"{self.plan.name}/{trial.name}"


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """What JSON can hold of metrics, by name."""
    return {key: value for key, value in sorted(metrics.items()) if math.isfinite(value)}


def _describe(trial: TrialRecord) -> str:
    """What a trial tries, in a line."""
    tries = (
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in trial.suggestion.items()
    )
    return f"{', '.join(tries)}; source: {trial.source}"
