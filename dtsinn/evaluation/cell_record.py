"""A cell's result as plain data and back: in ``evaluation.json``, and kept in the workspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dtsinn.core.bounds import read_json
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION
from dtsinn.evaluation.kinetics import KineticSummary
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.results import CellResult, ModelScores, Summary
from dtsinn.evaluation.score import SubjectScore


def cell_text(cell: CellResult) -> str:
    """A cell's result as the text of a file that :func:`read_cell` reads."""
    content = EVALUATION.mark | {"cell": cell_record(cell, curves=True)}
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def read_cell(path: Path) -> CellResult | None:
    """The result that a file holds; None where it is missing, damaged or of another version."""
    try:
        content = read_json(path)
        if {key: content.get(key) for key in EVALUATION.mark} != EVALUATION.mark:
            return None
        return cell_of(content["cell"], str(path))
    except (OSError, ValueError, LookupError, AttributeError, InputError):
        return None


def cell_of(record: dict[str, Any], where: str) -> CellResult:
    """The result that plain data describe: the inverse of :func:`cell_record`.

    Without curves, where the record has none. What a record says beside the fields of a result
    (titles, verdicts) follows from them.

    Args:
        record: Of a cell, in the version that is written.
        where: What it is, for errors.

    Raises:
        InputError: It is damaged.
    """
    return from_mapping(CellResult, record, where)


def cell_record(cell: CellResult, *, curves: bool = False) -> dict[str, Any]:
    """Plain data of a cell, with finite numbers.

    Args:
        cell: The result.
        curves: With regional curves by frame, which an evaluation has in tables of their own.
    """

    def scores_record(scores: ModelScores) -> dict[str, Any]:
        return _scores_record(scores, curves=curves)

    return {
        "key": cell.key,
        "title": cell.title,
        "source": cell.source,
        "tracers": list(cell.tracers),
        "protocol": cell.protocol,
        "noise": cell.noise,
        "phantom": cell.phantom,
        "population": cell.population,
        "conditions": cell.conditions,
        "store_digest": cell.store_digest,
        "models": [scores_record(scores) for scores in cell.models],
        "baselines": [scores_record(scores) for scores in cell.baselines],
        "floor": None if cell.floor is None else scores_record(cell.floor),
        "single_tracer": None if cell.single_tracer is None else scores_record(cell.single_tracer),
        "differences": [
            {
                "first": difference.first,
                "second": difference.second,
                "psnr": difference.psnr._asdict(),
                "verdict": difference.verdict,
            }
            for difference in cell.differences
        ],
    }


def _scores_record(scores: ModelScores, *, curves: bool) -> dict[str, Any]:
    return {
        "model": scores.model,
        "verdict": "scored" if scores.applicable else "not applicable",
        "reason": scores.reason,
        "trained_on": scores.trained_on,
        "fitted": scores.fitted,
        "novelty": None if scores.novelty is None else vars(scores.novelty),
        "summary": None if scores.summary is None else _summary_record(scores.summary),
        "subjects": [_subject_record(score, curves=curves) for score in scores.subjects],
    }


def _subject_record(score: SubjectScore, *, curves: bool) -> dict[str, Any]:
    record = {"mean_psnr": score.mean_psnr} | to_mapping(score)
    if score.measures is not None and not curves:
        del record["measures"]["readouts"]["curves"]
    return record


def _summary_record(summary: Summary) -> dict[str, Any]:
    def plain(value: Interval | tuple[Interval, Interval] | KineticSummary | None) -> Any:
        if value is None or isinstance(value, KineticSummary):
            return None if value is None else to_mapping(value)
        if isinstance(value, Interval):
            return value._asdict()
        return [interval._asdict() for interval in value]

    return {name: plain(value) for name, value in vars(summary).items()}
