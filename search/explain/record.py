"""The numbers of a report as plain data: for programs, and a table of all trials."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from typing import Any

from dtsinn.core.formats import SEARCH_REPORT
from dtsinn.search.events.state import TrialRecord
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances
from dtsinn.search.explain.words import Conclusion

TOLD_OF_A_PARAMETER = ("key", "share", "chance", "matters", "trials", "condition", "good")


def as_record(facts: Facts, found: Importances, said: Conclusion) -> dict[str, Any]:
    """Everything that a report says: plain data, finite numbers, None where nothing is known."""
    history, budget = facts.history, facts.budget
    return SEARCH_REPORT.mark | {
        "name": history.name,
        "state": history.state,
        "reason": history.reason,
        "space": facts.space.name,
        "objectives": [str(objective) for objective in facts.objectives],
        "trials": len(facts.trials),
        "states": history.states(),
        "outcomes": dict(facts.outcomes),
        "refused": len(history.refused),
        "sessions": len(history.sessions),
        "seconds": history.seconds,
        "best": None if facts.best is None else _record_trial(facts, facts.best),
        "gain": facts.gain and asdict(facts.gain),
        "front": [_record_trial(facts, history.trials[name]) for name in _list_front(facts)],
        "importances": {
            "step": found.step,
            "trials": found.trials,
            "note": found.note,
            "parameters": [
                {name: getattr(row, name) for name in TOLD_OF_A_PARAMETER} for row in found.rows
            ],
        },
        "budget": {
            "steps": {outcome: steps for outcome, steps in budget.steps.items() if steps},
            "seconds": {outcome: took for outcome, took in budget.seconds.items() if took},
            "lost_seconds": budget.lost_seconds,
            "pruned_share": budget.share(["pruned"]),
        },
        "against_published": _record_departures(said),
        "conclusion": said.lines,
        "warnings": list(said.warnings),
    }


def _list_front(facts: Facts) -> list[str]:
    return facts.front if len(facts.objectives) > 1 else []


def _record_trial(facts: Facts, trial: TrialRecord) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "state": trial.state,
        "step": trial.step,
        "values": {
            objective.metric: _drop_infinite(objective.value(trial.metrics))
            for objective in facts.objectives
        },
        "suggestion": dict(trial.suggestion),
    }


def _record_departures(said: Conclusion) -> dict[str, dict[str, str]]:
    if said.comparison is None:
        return {}
    return {
        one.key: {"published": one.published, "best": one.best}
        for one in said.comparison.departures
    }


def _drop_infinite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_trials_table(facts: Facts) -> str:
    """The content of ``trials.csv``: a row per trial, empty where something is not known."""
    keys = [parameter.key for parameter in facts.space.parameters]
    others = {key for trial in facts.trials for key in trial.suggestion} - set(keys)
    keys += sorted(others)
    values = [objective.key for objective in facts.objectives]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "source", "state", "reason", "steps", "seconds", "restarts", "lost_seconds"]
        + [f"objective.{name}" for name in values]
        + keys
    )
    for trial in facts.trials:
        row: list[Any] = [
            trial.name,
            trial.source,
            trial.state,
            _escape_formula(trial.reason),
            trial.step,
        ]
        row += [f"{facts.seconds_of(trial):.1f}", trial.restarts, f"{trial.lost_seconds:.1f}"]
        for objective in facts.objectives:
            own = _drop_infinite(objective.value(trial.metrics))
            row.append("" if own is None else own)
        row += [_escape_formula(trial.suggestion.get(key, "")) for key in keys]
        writer.writerow(row)
    return text.getvalue()


def _escape_formula(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        line = " ".join(value.split())
        return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line
    return value
