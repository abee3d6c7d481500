"""BIDS derivatives of an evaluation: regional curves and kinetic parameters, as PETFit reads them.

Below ``derivatives/``, a data set of each model and cell::

    MODEL/CELL/sub-X/pet/sub-X_trc-FMZ_desc-combinedregions_tacs.tsv
    MODEL/CELL/sub-X/pet/sub-X_trc-FMZ_model-Logan_kinpar.tsv

The columns of curves are those of PETFit's combined regions (mathesong/petfit, docs/outputs.md),
one row per region and frame; those of parameters a region and a column per quantity. The true
values are a data set of their own, ``truth``. Times are in s from the tracer's injection, curves
in kBq/mL, decay-corrected to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.results import Evaluation
from dtsinn.evaluation.score import SubjectScore
from dtsinn.kinetics.curves import tracer_frames
from dtsinn.kinetics.tables import ABSENT, MODELS, TAC_COLUMNS, TAC_FACTS, label, write_table

TRUTH = "truth"
"""Name of the data set of true values."""


def write_derivatives(
    evaluation: Evaluation, headers: Mapping[str, StoreHeader], folder: Path
) -> None:
    """Write a data set of each model and one of the truth; none where nothing was read.

    Args:
        evaluation: What was found.
        headers: Of the stores behind its scored cells, by the cell's key.
        folder: It is made where there is something to write.
    """
    for cell in evaluation.cells:
        read = [scores for scores in cell.models if any(map(_is_read, scores.subjects))]
        for which, scores in [(1, scores) for scores in read[:1]] + [(0, one) for one in read]:
            dataset = folder / (TRUTH if which else _folder_name(scores.model))
            place = dataset / cell.key
            place.mkdir(parents=True, exist_ok=True)
            content = {
                "Name": f"Regional curves and kinetic parameters: {dataset.name}",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "dtsinn", "Version": evaluation.code_version}],
            }
            text = json.dumps(content, indent=1) + "\n"
            (place / "dataset_description.json").write_text(text, encoding="utf-8")
            for score in filter(_is_read, scores.subjects):
                _write_subject(score, headers[cell.key], place, which)


def has_derivatives(evaluation: Evaluation) -> bool:
    """Whether anything was read that :func:`write_derivatives` writes."""
    return any(
        _is_read(score)
        for cell in evaluation.cells
        for scores in cell.models
        for score in scores.subjects
    )


def _is_read(score: SubjectScore) -> bool:
    return score.measures is not None and any(score.measures.readouts.curves.values())


def _write_subject(score: SubjectScore, header: StoreHeader, folder: Path, which: int) -> None:
    """Tables of both tracers; ``which`` is 0 for the answer and 1 for the truth."""
    if score.measures is None:
        return
    subject, readouts = f"sub-{label(score.subject)}", score.measures.readouts
    place = folder / subject / "pet"
    place.mkdir(parents=True, exist_ok=True)
    for k, tracer in enumerate(header.tracers):
        start = f"{subject}_trc-{label(tracer.upper())}"
        curves = readouts.curves.get(tracer, {})
        if curves:
            frames = tracer_frames(header.protocol, k, header.half_life[k])
            rows = _tac_rows(start, curves, frames.edge_T.tolist(), which)
            write_table(place / f"{start}_desc-combinedregions_tacs", TAC_COLUMNS, rows, TAC_FACTS)
        for quantity, values in readouts.values.get(tracer, {}).items():
            name = place / f"{start}_model-{MODELS[quantity]}_kinpar"
            unit = {quantity: {"Units": QUANTITY_UNITS[quantity]}}
            pairs = ([region, pair[which]] for region, pair in values.items())
            write_table(name, ("region", quantity), pairs, unit)


def _folder_name(model: str) -> str:
    """A model's name as a folder that is not the truth's."""
    name = re.sub(r"[^A-Za-z0-9@._-]+", "-", model).strip(".") or "model"
    return f"{name}-model" if name == TRUTH else name


def _tac_rows(
    pet: str,
    curves: dict[str, tuple[list[float], list[float]]],
    edges: list[float],
    which: int,
) -> Iterator[list[object]]:
    frames = np.array([edges[:-1], edges[1:]]).T.tolist()
    for region, pair in curves.items():
        for (start, end), value in zip(frames, pair[which], strict=True):
            times = [start, end, end - start, (start + end) / 2]
            yield [pet, region, ABSENT, ABSENT, ABSENT, *times, value]
