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
from dataclasses import fields
from pathlib import Path
from typing import Any

from dtsinn.core.atomic import replace_folder
from dtsinn.core.bounds import MOST_TEXT, read_json
from dtsinn.core.config import to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.cell_record import cell_record
from dtsinn.evaluation.definitions import definitions
from dtsinn.evaluation.derivatives import write_derivatives
from dtsinn.evaluation.gallery import Picture
from dtsinn.evaluation.kinetics import subject_error
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.report import render
from dtsinn.evaluation.results import CellResult, Evaluation, ModelScores
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
    "population",
    "conditions",
    "pair_seen",
    "protocol_seen",
    "phantom_seen",
    "population_seen",
    "noise_seen",
    "conditions_seen",
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
        "cells": [cell_record(cell) for cell in evaluation.cells],
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
    start += [cell.population, cell.conditions]
    start += (
        [""] * len(fields(Novelty)) if scores.novelty is None else vars(scores.novelty).values()
    )
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
