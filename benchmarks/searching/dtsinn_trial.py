"""Our trial, timed; in a module of its own, as workers import what this imports and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.searching.stopwatch import timed
from dtsinn.search.engine.trial import TrialPlan, run_trial


def timed_trial(config: dict[str, Any], plan: TrialPlan, times: Path) -> None:
    """Ours, as it is."""
    with timed(times, config["trial"], "save"):
        run_trial(config, plan)
