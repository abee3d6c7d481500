"""Writing an evaluation: ``evaluation.json``, ``table.csv``, ``report.html``, pictures, tables.

The folder is built beside its place and renamed, so that it is there as a whole or not at all.
Nothing in it names a path of this machine, and equal results give equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtsinn.core.atomic import replace_folder
from dtsinn.core.bounds import MOST_TEXT, read_json
from dtsinn.core.config import to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.definitions import definitions
from dtsinn.evaluation.derivatives import write_derivatives
from dtsinn.evaluation.gallery import Picture
from dtsinn.evaluation.kinetics import KineticSummary, subject_error
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.report import render
from dtsinn.evaluation.results import CellResult, Evaluation, ModelScores, Summary
from dtsinn.evaluation.score import SubjectScore

RECORD = "evaluation.json"
HEAD = 200
"""Bytes in which a record says what it is."""
BEGINS = re.compile(
    rb'\s*\{\s*"format": "(?P<name>[\w-]+)",\s*"format_version": (?P<version>\d{1,9})\b'
)
UNITS = {
    "psnr": "dB",
    "ssim": "1",
    "nrmse": "1",
    "regional_bias": "%",
    "before_injection": "kBq/mL",
    "sum_residual": "1",
    "kinetic_error": "%",
    "kinetic_bias": "%",
    "conservation": "%",
    "z": "1",
    **QUANTITY_UNITS,
}
COLUMNS = (
    "cell",
    "source",
    "first_tracer",
    "second_tracer",
    "protocol",
    "noise",
    "model",
    "trained_on",
    "phantom",
    "pair_seen",
    "protocol_seen",
    "phantom_seen",
    "noise_seen",
    "subject",
    "mean_psnr_dB",
    "first_psnr_dB",
    "second_psnr_dB",
    "first_ssim",
    "second_ssim",
    "first_nrmse",
    "second_nrmse",
    "first_before_injection_kBq_mL",
    "second_before_injection_kBq_mL",
    "sum_residual",
    "over_linear_dB",
    "first_kinetic_error_percent",
    "second_kinetic_error_percent",
    "body_residual_percent",
    "not_applicable",
)


def check_out(out: Path) -> None:
    """Refuse a place that holds anything but an earlier evaluation.

    Raises:
        InputError: A file, a folder with other content, or an evaluation of a newer dtsinn.
    """
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not _is_evaluation(out)):
        raise InputError(
            f"{out} is in the way",
            wanted="a new or empty folder, or an earlier evaluation",
            hint="another --out",
        )


def write_evaluation(
    evaluation: Evaluation,
    pictures: Sequence[Picture],
    headers: Mapping[str, StoreHeader],
    out: Path,
) -> None:
    """Write the folder ``out``, in place of an earlier evaluation there.

    Args:
        evaluation: What was found.
        pictures: Its gallery.
        headers: Of the stores behind the scored cells, by the cell's key.
        out: The folder.

    Raises:
        InputError: ``out`` holds other files.
    """
    check_out(out)
    record = json.dumps(as_record(evaluation), indent=1, ensure_ascii=False, allow_nan=False)
    with replace_folder(out) as partial:
        (partial / "pictures").mkdir()
        for picture in pictures:
            (partial / "pictures" / picture.file).write_bytes(picture.png)
        (partial / RECORD).write_text(record + "\n", encoding="utf-8")
        (partial / "table.csv").write_text(as_table(evaluation), encoding="utf-8")
        (partial / "report.html").write_text(
            render(evaluation, pictures, headers), encoding="utf-8"
        )
        write_derivatives(evaluation, headers, partial / "derivatives")


def as_record(evaluation: Evaluation) -> dict[str, Any]:
    """The content of ``evaluation.json``: plain data, finite numbers."""
    return {
        **EVALUATION.mark,
        "code_version": evaluation.code_version,
        "suite": evaluation.suite,
        "description": evaluation.description,
        "split": evaluation.split,
        "units": UNITS,
        "definitions": definitions(),
        "models": [to_mapping(model) for model in evaluation.models],
        "baselines": [to_mapping(baseline) for baseline in evaluation.baselines],
        "cells": [_cell_record(cell) for cell in evaluation.cells],
    }


def as_table(evaluation: Evaluation) -> str:
    """The content of ``table.csv``: a row per cell, model and subject."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in evaluation.cells:
        for scores in cell.every:
            writer.writerows(_rows(cell, scores))
    return text.getvalue()


def _rows(cell: CellResult, scores: ModelScores) -> list[list[object]]:
    start = [cell.key, cell.source, *cell.tracers, cell.protocol, cell.noise]
    start += [scores.model, str(scores.trained_on).lower(), cell.phantom]
    start += [""] * 4 if scores.novelty is None else vars(scores.novelty).values()
    if not scores.applicable:
        return [[*start, *[""] * (len(COLUMNS) - len(start) - 1), scores.reason]]
    return [
        [
            *start,
            score.subject,
            score.mean_psnr,
            *score.psnr,
            *score.ssim,
            *score.nrmse,
            *score.before_injection,
            score.sum_residual,
            "" if over is None else over,
            *(subject_error(score, tracer) for tracer in cell.tracers),
            _body_residual(score),
            "",
        ]
        for score, over in zip(scores.subjects, cell.over_floor(scores), strict=True)
    ]


def _body_residual(score: SubjectScore) -> float | None:
    """The largest of all frames in percent, with its sign."""
    body = [] if score.measures is None else score.measures.conservation.body
    return max((value for value in body if value is not None), key=abs, default=None)


def _cell_record(cell: CellResult) -> dict[str, Any]:
    return {
        "key": cell.key,
        "title": cell.title,
        "source": cell.source,
        "tracers": list(cell.tracers),
        "protocol": cell.protocol,
        "noise": cell.noise,
        "phantom": cell.phantom,
        "store_digest": cell.store_digest,
        "models": [_scores_record(scores) for scores in cell.models],
        "baselines": [_scores_record(scores) for scores in cell.baselines],
        "floor": None if cell.floor is None else _scores_record(cell.floor),
        "single_tracer": None if cell.single_tracer is None else _scores_record(cell.single_tracer),
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


def _scores_record(scores: ModelScores) -> dict[str, Any]:
    return {
        "model": scores.model,
        "verdict": "scored" if scores.applicable else "not applicable",
        "reason": scores.reason,
        "trained_on": scores.trained_on,
        "fitted": scores.fitted,
        "novelty": None if scores.novelty is None else vars(scores.novelty),
        "summary": None if scores.summary is None else _summary_record(scores.summary),
        "subjects": [_subject_record(score) for score in scores.subjects],
    }


def _subject_record(score: SubjectScore) -> dict[str, Any]:
    """Curves by frame are left to the tables of time-activity curves."""
    record = {"mean_psnr": score.mean_psnr} | to_mapping(score)
    if score.measures is not None:
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


def _is_evaluation(folder: Path) -> bool:
    """Whether a record lies there.

    Raises:
        InputError: It was written by a newer dtsinn.
    """
    path = folder / RECORD
    try:
        if path.stat().st_size > MOST_TEXT:
            return _begins_as_evaluation(path)
        record = read_json(path)
    except (OSError, ValueError):
        return False
    if not isinstance(record, dict) or record.get("format") != EVALUATION.name:
        return False
    EVALUATION.read(record, str(path))
    return True


def _begins_as_evaluation(path: Path) -> bool:
    """The same by the beginning of the file: the record of a large grid is too long to parse."""
    with path.open("rb") as file:
        begins = BEGINS.match(file.read(HEAD))
    if begins is None or begins["name"].decode() != EVALUATION.name:
        return False
    version = int(begins["version"])
    if version > EVALUATION.version:  # which this refuses in the usual words
        EVALUATION.read({"format": EVALUATION.name, "format_version": version}, str(path))
    return True
