"""What the driver hears from Ray Tune, turned into events and a live table."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.tune import Callback

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunStart
from dtsinn.search.events import Recorder
from dtsinn.search.space import SearchSpace
from dtsinn.search.suggest import OBJECTIVE
from dtsinn.search.table import TrialTable


class DriverCallback(Callback):  # type: ignore[misc]
    """Records every trial's begin, reports and end; called by Ray Tune in the driver.

    Args:
        search: Key of the search's run.
        space: Gives the whole configuration of a suggestion.
        lineage: Tags that each trial carries: store, digest, seed, code version.
        experiment: Where the runs are listed.
        recorder: Takes the events.
        table: Shows them.
    """

    def __init__(
        self,
        *,
        search: str,
        space: SearchSpace,
        lineage: Mapping[str, str],
        experiment: str,
        recorder: Recorder,
        table: TrialTable,
    ) -> None:
        self.search, self.space, self.lineage = search, space, dict(lineage)
        self.experiment, self.recorder, self.table = experiment, recorder, table
        self.names: dict[str, str] = {}
        """Name of each trial that began, by Ray's id, in the order in which they began."""
        self.ended: set[str] = set()
        self.steps: dict[str, int] = {}
        """Steps that each trial has reported."""
        self.best_psnr = float("-inf")
        """Of the incumbent, which the search's own run charts against all trials' steps."""

    def __reduce__(self) -> tuple[type[Callback], tuple[()]]:
        """Ray stores its callbacks; of this one, which holds a terminal, nothing is kept."""
        return Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial starts, or starts again after a fault."""
        begun = trial.trial_id in self.names
        name = self.names.setdefault(trial.trial_id, f"trial-{len(self.names):03d}")
        self.table.started(name, trial.config)
        if begun:
            return
        config = self._settings(trial.config)
        run = RunStart(
            key=f"{self.search}/{name}",
            name=name,
            kind="trial",
            experiment=self.experiment,
            parent=self.search,
            time_ms=now_ms(),
            parameters=config,
            tags=self.lineage | {"ray.trial": trial.trial_id, "seed": str(config["seed"])},
        )
        self.recorder.record({"event": "begin", "run": asdict(run)})

    def _settings(self, suggestion: Mapping[str, Any]) -> dict[str, Any]:
        """All settings of a trial by dotted key; as suggested where the configuration refuses."""
        try:
            return flatten(to_mapping(self.space.config(suggestion)))
        except InputError:
            return flatten(self.space.base) | dict(suggestion)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reports a validation."""
        name = self.names[trial.trial_id]
        if result.get("reason"):
            return
        metrics = {key: result[key] for key in sorted(result) if _is_metric(key, result[key])}
        step, psnr = int(result["step"]), float(result[OBJECTIVE])
        time_ms = int(result["timestamp"] * 1000)
        self.table.reported(name, step, psnr)
        if step <= self.steps.get(name, 0):
            return  # steps that a worker repeats after a fault are recorded once
        self._record_report(f"{self.search}/{name}", step, metrics, time_ms)
        self.steps[name] = step
        if psnr > self.best_psnr:
            self.best_psnr = psnr
            spent = sum(self.steps.values())
            self._record_report(self.search, spent, {OBJECTIVE: psnr}, time_ms)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial reached its budget, was stopped by the scheduler, or gave a reason to stop."""
        result = trial.last_result or {}
        if result.get("finished"):
            self._end(trial, "finished", "")
        else:
            self._end(trial, "pruned", result.get("reason") or "stopped by the scheduler")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good: a machine fault that retries did not mend."""
        self._end(trial, "failed", "machine fault")

    def close(self, status: str, reason: str) -> int:
        """End what began and never ended; returns how many trials that were."""
        left = [name for name in self.names.values() if name not in self.ended]
        for name in left:
            self._record_end(name, status, reason)
        return len(left)

    def _record_report(
        self, key: str, step: int, metrics: Mapping[str, float], time_ms: int
    ) -> None:
        self.recorder.record(
            {
                "event": "report",
                "key": key,
                "step": step,
                "metrics": dict(metrics),
                "time_ms": time_ms,
            }
        )

    def _end(self, trial: Any, status: str, reason: str) -> None:
        self._record_end(self.names[trial.trial_id], status, reason)

    def _record_end(self, name: str, status: str, reason: str) -> None:
        if name in self.ended:
            return
        self.ended.add(name)
        self.table.ended(name, status, reason)
        tags = {"reason": reason} if reason else {}
        self.recorder.record(
            {
                "event": "end",
                "key": f"{self.search}/{name}",
                "status": status,
                "time_ms": now_ms(),
                "tags": tags,
            }
        )


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return int(time.time() * 1000)


def _is_metric(key: str, value: object) -> bool:
    """Whether a key of Ray's result is one of ours: Ray adds clocks and counters."""
    ours = key.startswith(("val_", "loss_", "best_")) or key in {
        "round_trip_error",
        "learning_rate",
        "step_seconds",
        "waiting_for_data",
        "seconds",
        "cpu_seconds",
    }
    return ours and isinstance(value, int | float) and math.isfinite(value)
