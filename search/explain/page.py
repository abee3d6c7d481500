"""The report of a search: one HTML page, its pictures beside it, and a table of the trials."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dtsinn.core.atomic import replace_folder
from dtsinn.core.bounds import read_json
from dtsinn.core.display import duration, percent
from dtsinn.core.errors import InputError
from dtsinn.core.formats import SEARCH_REPORT
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.version import code_version
from dtsinn.plots.page import Card, render_page
from dtsinn.search.events.state import SearchState, TrialRecord, read_state
from dtsinn.search.explain.facts import OUTCOMES, Facts
from dtsinn.search.explain.importance import Importances, importances
from dtsinn.search.explain.pictures import PICTURES, Picture, draw_pictures
from dtsinn.search.explain.words import Conclusion, conclude
from dtsinn.search.objective import PSNR, Objective
from dtsinn.search.plan import read_plan
from dtsinn.search.space.space import SearchSpace, describe

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
        "floor": None if history.floor is None else _record_floor(facts, history.floor),
        "gain": facts.gain and asdict(facts.gain),
        "front": [_record_trial(facts, history.trials[name]) for name in facts.front]
        if len(facts.objectives) > 1
        else [],
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


def _record_trial(facts: Facts, trial: TrialRecord) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "state": trial.state,
        "step": trial.step,
        "values": _record_values(facts, trial),
        "suggestion": dict(trial.suggestion),
    }


def _record_floor(facts: Facts, floor: TrialRecord) -> dict[str, Any]:
    return {
        "state": floor.state,
        "reason": floor.reason,
        "values": _record_values(facts, floor),
        "over_linear_dB": facts.over_linear,
    }


def _record_values(facts: Facts, trial: TrialRecord) -> dict[str, float | None]:
    return {
        objective.metric: _drop_infinite(objective.value(trial.metrics))
        for objective in facts.objectives
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


PAGE, TABLE, RECORD = "report.html", "trials.csv", "report.json"
"""Files of a report; the last one marks a folder as such."""
FILES = {PAGE, TABLE, RECORD} | {f"{name}.png" for name in PICTURES}
"""All that a report consists of."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that is said of a search."""

    facts: Facts
    importances: Importances
    conclusion: Conclusion

    @property
    def record(self) -> dict[str, Any]:
        """As plain data."""
        return as_record(self.facts, self.importances, self.conclusion)


def explain(
    history: SearchState,
    space: SearchSpace,
    objectives: Sequence[Objective],
    progress: Progress = no_progress,
) -> Explanation:
    """What a history says."""
    facts = Facts(history=history, space=space, objectives=tuple(objectives))
    found = importances(facts, progress=progress)
    return Explanation(facts=facts, importances=found, conclusion=conclude(facts, found))


def explain_search(folder: Path, progress: Progress = no_progress) -> Explanation:
    """What the search in ``folder`` says, also while it runs.

    Raises:
        InputError: There is no search, or its event log is damaged.
    """
    history = read_state(folder)
    plan = read_plan(folder, history)
    return explain(history, plan.space, plan.objectives, progress)


def write_report(folder: Path, out: Path, progress: Progress = no_progress) -> Path:
    """Explain the search in ``folder``; returns the page, which is written into ``out``.

    Raises:
        InputError: There is no search, its event log is damaged, or ``out`` holds other files.
    """
    check_out(out)
    return write_explanation(explain_search(folder, progress), out, progress)


def check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier report.

    Raises:
        InputError: A file, a folder with other content, or a report of a newer dtsinn.
    """
    if not out.exists():
        return
    found = {path.name for path in out.iterdir()} if out.is_dir() else {""}
    if found - FILES or (found and RECORD not in found):
        raise InputError(
            f"{out} is in the way",
            got=", ".join(sorted(found - FILES)),
            wanted="a new or empty folder, or an earlier report",
            hint="another --out",
        )
    if found:
        record: Any = None
        with suppress(OSError, ValueError):
            record = read_json(out / RECORD)
        if isinstance(record, dict):
            SEARCH_REPORT.read(record, str(out / RECORD))


def write_explanation(
    explanation: Explanation, out: Path, progress: Progress = no_progress
) -> Path:
    """Write page, pictures, table and numbers into ``out``, in place of an earlier report.

    Of several that are written there at the same time the last one stays, whole.

    Raises:
        InputError: ``out`` holds other files.
    """
    check_out(out)
    with replace_folder(out) as partial:
        _write(explanation, partial, progress)
    return out / PAGE


def _write(explanation: Explanation, folder: Path, progress: Progress) -> None:
    pictures = []
    for picture in draw_pictures(explanation.facts, explanation.importances):
        (folder / f"{picture.name}.png").write_bytes(picture.png)
        pictures.append(picture)
        progress("pictures", len(pictures), len(PICTURES))
    progress("pictures", len(PICTURES), len(PICTURES))
    (folder / TABLE).write_text(write_trials_table(explanation.facts), encoding="utf-8")
    record = json.dumps(explanation.record, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / RECORD).write_text(record + "\n", encoding="utf-8")
    (folder / PAGE).write_text(_render(explanation, pictures), encoding="utf-8")


def _render(explanation: Explanation, pictures: Sequence[Picture]) -> str:
    facts, said = explanation.facts, explanation.conclusion
    lead = f"Space {facts.space.name}, {len(facts.space.parameters)} parameters"
    if facts.now_ms:
        now = datetime.fromtimestamp(facts.now_ms / 1000, UTC)
        lead += f"; as of its last event, {now:%Y-%m-%d %H:%M} UTC"
    mattered = [
        [
            row.key,
            percent(row.share),
            percent(row.chance),
            row.good,
            f"{row.trials}" + (f", where {row.condition}" if row.condition else ""),
        ]
        for row in explanation.importances.rows
    ]
    departures = said.comparison.departures if said.comparison else ()
    return render_page(
        "search/explain/report.html.j2",
        title=f"{facts.history.name}: search",
        name=facts.history.name,
        lead=lead,
        said=said,
        cards=list(_make_cards(facts)),
        pictures=pictures,
        mattered=mattered,
        note=explanation.importances.note,
        departures=[
            [one.key, one.published, one.best, "searched" if one.searched else "of the base"]
            for one in departures
        ],
        space=describe(facts.space),
        words=OUTCOMES.items(),
        table=TABLE,
        version=code_version(),
    )


def _make_cards(facts: Facts) -> Iterator[Card]:
    if facts.best is not None:
        value = facts.objective.text(facts.final[facts.best.name])
        yield Card(f"Best {facts.objective.title}", value, facts.best.name)
    if facts.over_linear is not None and facts.history.floor is not None:
        psnr = PSNR[0].text(PSNR[0].value(facts.history.floor.metrics))
        yield Card("Over linear", _signed(PSNR[0], facts.over_linear), f"the floor has {psnr}")
    gain = facts.gain
    if gain is not None:
        text = _signed(facts.objective, gain.best_value - gain.base_value)
        where = "" if gain.step is None else f", at step {gain.step:,}"
        yield Card("Against the base configuration", text, f"{gain.base}{where}")
    if facts.trials:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in facts.outcomes.items())
        yield Card("Trials", f"{len(facts.trials):,}", outcomes)
        yield Card("Training steps", f"{facts.history.steps:,}", duration(facts.history.seconds))


def _signed(objective: Objective, difference: float) -> str:
    """A difference with its sign and unit: ``+0.42 dB``."""
    return ("+" if difference >= 0 else "−") + objective.text(abs(difference))
