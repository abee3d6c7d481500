"""The live table of a search: trials, their states, the best so far, steps a second, time left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dtsinn.core.display import duration, value_text
from dtsinn.search.events.state import ENDED, FLOOR, SearchState, TrialRecord
from dtsinn.search.plan import SearchPlan

SHOWN = 12
"""Rows of the table below the floor: running trials first, then the best."""
STYLES = {"running": "cyan", "finished": "green", "pruned": "yellow", "failed": "red"}
REDRAW_s = 0.25
"""Least time between two drawings."""


class TrialTable:
    """Shows trials as they go; on something that is no terminal, one line per trial's end.

    Args:
        console: Where to.
        plan: Of the search.
    """

    def __init__(self, console: Console, plan: SearchPlan) -> None:
        self.console, self.plan = console, plan
        self.begun = time.monotonic()
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._counts: Counter[str] = Counter()
        self._open: dict[str, TrialRecord] = {}
        self._floor: TrialRecord | None = None
        self._best: list[TrialRecord] = []
        """The best that ended, best first."""
        self._steps = 0
        """Training steps of this session."""
        self._ended = 0
        """Trials that ended in this session."""
        self._drawn = 0.0
        self._watching = False

    def __enter__(self) -> TrialTable:
        self._watching = True
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def apply(self, event: Mapping[str, Any], search: SearchState) -> None:
        """Show what an event says; the state has it before."""
        kind = event["event"]
        if kind not in {"begin", "report", "end"}:
            return
        key = event["run"]["key"] if kind == "begin" else event["key"]
        trial = search.trial_of(key)
        if key == search.floor_key and search.floor is not None:
            self._apply_floor(search.floor, ended=kind == "end")
        if trial is None:
            return
        if kind == "begin":
            self._open[trial.name] = trial
        elif kind == "report" and self._watching:
            before = trial.points[-2].step if len(trial.points) > 1 else 0
            self._steps += trial.step - before
        elif kind == "end":
            self._open.pop(trial.name, None)
            self._apply_end(trial)
        self._draw(force=kind == "end")

    def _apply_floor(self, floor: TrialRecord, *, ended: bool) -> None:
        self._floor = floor
        if self._watching and ended:
            self.begun = time.monotonic()  # rates, and the time that is left, are of the trials
            if not self.console.is_terminal:
                said = self._value(floor) or floor.reason
                line = f"{FLOOR}  {floor.state}  {said}".rstrip()
                self.console.print(line, highlight=False, soft_wrap=True)
        self._draw(force=True)

    def _apply_end(self, trial: TrialRecord) -> None:
        if trial.state in ENDED:
            self._counts[trial.state] += 1
            self._best.append(trial)
            self._best = sorted(self._best, key=self._order)[:SHOWN]
        if not self._watching:
            return
        self._ended += 1
        if not self.console.is_terminal:
            self.console.print(
                f"{trial.name}  {trial.state}  step {trial.step}/{self.plan.steps}  "
                f"{self._value(trial) or 'no result'}  {self._summary()}",
                highlight=False,
                soft_wrap=True,
            )

    def _order(self, trial: TrialRecord) -> float:
        objective = self.plan.objectives[0]
        value = objective.value(trial.metrics)
        if not math.isfinite(value):
            return math.inf
        return -value if objective.maximise else value

    def _value(self, trial: TrialRecord) -> str:
        objective = self.plan.objectives[0]
        value = objective.value(trial.metrics)
        return objective.text(value) if math.isfinite(value) else ""

    def _draw(self, *, force: bool) -> None:
        now = time.monotonic()
        if not self._watching or not self.console.is_terminal:
            return
        if force or now - self._drawn > REDRAW_s:
            self._drawn = now
            self.live.update(Group(self._table(), Text(self._summary())), refresh=True)

    def _summary(self) -> str:
        elapsed = time.monotonic() - self.begun
        states = ", ".join(f"{count} {state}" for state, count in sorted(self._counts.items()))
        done = sum(self._counts.values())
        text = f"[{done}/{self.plan.trials} trials{f': {states}' if states else ''}"
        text += f"; {self._steps / max(elapsed, 1e-9):.0f} steps/s"
        best = min([*self._best, *self._open.values()], key=self._order, default=None)
        if best is not None and self._value(best):
            text += f"; best {self._value(best)} in {best.name}"
        if self._ended:
            left = elapsed / self._ended * max(0, self.plan.trials - done)
            if self.plan.time_budget_s is not None:
                left = min(left, max(0.0, self.plan.time_budget_s - elapsed))
            text += f"; about {duration(left)} left"
        return text + "]"

    def _table(self) -> Table:
        shown = [*sorted(self._open.values(), key=self._order), *self._best][:SHOWN]
        table = Table(box=None, header_style="bold", padding=(0, 1))
        keys = sorted({key for trial in shown for key in trial.suggestion})
        for title in ("trial", "state", "step", str(self.plan.objectives[0]).replace(":", " ")):
            table.add_column(title, justify="left" if title in {"trial", "state"} else "right")
        for key in keys:
            table.add_column(key.rpartition(".")[2], justify="right", style="dim")
        if self._floor is not None:
            floor = self._floor
            state = Text(floor.state, style=STYLES.get(floor.state, ""))
            table.add_row(FLOOR, state, "", self._value(floor), *("" for _ in keys))
        for trial in shown:
            table.add_row(
                trial.name,
                Text(trial.state, style=STYLES.get(trial.state, "")),
                f"{trial.step}/{self.plan.steps}",
                self._value(trial),
                *(value_text(trial.suggestion.get(key, "")) for key in keys),
            )
        return table
