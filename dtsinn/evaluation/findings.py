"""What an evaluation finds wrong: where a model loses to the linear map or exceeds a limit.

A verdict follows from an interval of differences in pairs of subjects, or from a limit
(:mod:`dtsinn.evaluation.limits`); half of the mixture decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtsinn.evaluation.kinetics import subject_error
from dtsinn.evaluation.limits import KINETIC_BIAS, LIMITS, WORST_REGION, Limit, measured
from dtsinn.evaluation.metrics import Interval, paired_difference
from dtsinn.evaluation.results import (
    FLOOR,
    CellResult,
    Difference,
    Evaluation,
    ModelScores,
    Verdict,
)

ROUNDING = 1e-3
"""Percentage points of kinetic error below which a difference is float32 rounding."""
VERDICTS: tuple[Verdict, ...] = ("beats", "level with", "loses to")


@dataclass(frozen=True, kw_only=True)
class CellFindings:
    """One model in one cell that applies: the differences and measures that decide."""

    cell: CellResult
    scores: ModelScores
    gain: Difference | None
    """PSNR over that of the linear map; None where there is no linear map."""
    kinetic_loss: Interval | None
    """kinetic_error minus that of the linear map, percentage points; None where none is read."""
    measures: dict[Limit, float]
    """What was measured of each quantity that has a limit."""

    @property
    def loses_psnr(self) -> bool:
        """Whether the interval of the PSNR over the linear map lies below 0."""
        return self.gain is not None and self.gain.verdict == "loses to"

    @property
    def loses_kinetics(self) -> bool:
        """Whether the interval of the kinetic error over the linear map's lies above 0."""
        return self.kinetic_loss is not None and self.kinetic_loss.lies_above(ROUNDING)

    @property
    def exceeded(self) -> tuple[Limit, ...]:
        """The limits that are exceeded."""
        return tuple(limit for limit, value in self.measures.items() if value > limit.most)

    @property
    def failures(self) -> int:
        """How many things are wrong."""
        return self.loses_psnr + self.loses_kinetics + len(self.exceeded)

    @property
    def badness(self) -> tuple[int, float, float]:
        """What cells are ordered by: failures, the worst region, and what is lost in dB."""
        lost = 0.0 if self.gain is None else -self.gain.psnr.mean
        return self.failures, self.measures.get(WORST_REGION, 0.0), lost


def find_all(evaluation: Evaluation, model: str) -> list[CellFindings]:
    """Every cell that applies to a model, in the order of the evaluation."""
    return [
        find_in(cell, scores)
        for cell in evaluation.cells
        for scores in cell.models
        if scores.model == model and scores.applicable
    ]


def find_in(cell: CellResult, scores: ModelScores) -> CellFindings:
    """What is found of one model in one cell that applies to it."""
    kinetics = None if scores.summary is None else scores.summary.kinetics
    return CellFindings(
        cell=cell,
        scores=scores,
        gain=cell.difference(scores.model),
        kinetic_loss=kinetic_difference(cell, scores, cell.floor),
        measures={} if kinetics is None else measured(kinetics),
    )


def find_failures(evaluation: Evaluation) -> list[CellFindings]:
    """The cells in which anything is wrong with any model, the worst first."""
    found = [one for model in evaluation.models for one in find_all(evaluation, model.name)]
    return sorted((one for one in found if one.failures), key=lambda f: f.badness, reverse=True)


def worst_cell(evaluation: Evaluation) -> CellResult | None:
    """The cell in which the first model is worst; None where no cell applies to it."""
    found = find_all(evaluation, evaluation.models[0].name)
    return max(found, key=lambda one: one.badness).cell if found else None


def not_applicable(evaluation: Evaluation) -> dict[str, list[str]]:
    """Why models could not be scored -> the cells, with the model where there are several."""
    reasons: dict[str, list[str]] = {}
    for cell in evaluation.cells:
        for scores in cell.models:
            if not scores.applicable:
                of = f" ({scores.model})" if len(evaluation.models) > 1 else ""
                reasons.setdefault(scores.reason, []).append(cell.title + of)
    return reasons


def kinetic_error(scores: ModelScores, tracers: Sequence[str]) -> dict[str, float]:
    """Mean over the tracers of each subject's kinetic error, percent; without who has none."""
    found = {}
    for score in scores.subjects:
        errors = [e for tracer in tracers if (e := subject_error(score, tracer)) is not None]
        if errors:
            found[score.subject] = sum(errors) / len(errors)
    return found


def kinetic_difference(
    cell: CellResult, first: ModelScores, second: ModelScores | None
) -> Interval | None:
    """Kinetic error of the first minus the second's, in pairs of subjects, percentage points."""
    if second is None:
        return None
    errors, others = (kinetic_error(scores, cell.tracers) for scores in (first, second))
    common = [subject for subject in errors if subject in others]
    if not common:
        return None
    return paired_difference([errors[s] for s in common], [others[s] for s in common])


def state_verdict(evaluation: Evaluation, model: str) -> str:
    """What holds of a model, in a few sentences of plain text."""
    found = find_all(evaluation, model)
    if not found:
        return "Not applicable in any cell."
    failing = sum(one.failures > 0 for one in found)
    return " ".join(
        [
            f"Something fails in {failing} of {_cells(len(found))}."
            if failing
            else f"Nothing fails in {_cells(len(found))}.",
            _state_psnr(found),
            *(_state_limit(found, limit) for limit in (KINETIC_BIAS, WORST_REGION)),
            _state_conservation(found),
        ]
    )


def _cells(number: int) -> str:
    return f"{number} cell{'s' * (number != 1)}"


def _state_psnr(found: Sequence[CellFindings]) -> str:
    verdicts = [one.gain.verdict for one in found if one.gain is not None]
    if not verdicts:
        return f"There is no {FLOOR} to compare the PSNR with."
    counts = {verdict: verdicts.count(verdict) for verdict in (*VERDICTS, "no verdict")}
    text = f"PSNR, in pairs with the {FLOOR}: better in {counts['beats']}, level in "
    text += f"{counts['level with']}, worse in {counts['loses to']}"
    if counts["no verdict"]:
        text += f", too few subjects for a verdict in {counts['no verdict']}"
    return f"{text}."


def _state_limit(found: Sequence[CellFindings], limit: Limit) -> str:
    told = [one for one in found if limit in one.measures]
    start = limit.label[0].upper() + limit.label[1:] if " " in limit.label else limit.label
    if not told:
        return f"{start} cannot be told."
    worst = max(told, key=lambda one: one.measures[limit])
    over = sum(one.measures[limit] > limit.most for one in told)
    said = f"above {limit.text} in {over} of {len(told)}" if over else f"within {limit.text}"
    return f"{start}: {said}, at most {worst.measures[limit]:.1f} {limit.unit}."


def _state_conservation(found: Sequence[CellFindings]) -> str:
    sums = [limit for limit in LIMITS if limit not in (KINETIC_BIAS, WORST_REGION)]
    told = [one for one in found if any(limit in one.measures for limit in sums)]
    if not told:
        return "Conservation of activity cannot be told."
    over = sum(any(limit in sums for limit in one.exceeded) for one in told)
    if not over:
        return "Activity is conserved within its limits."
    return f"Activity is not conserved within its limits in {over} of {len(told)}."
