"""BIDS derivatives of an evaluation: regional curves and kinetic parameters, as PETFit reads them.

Below ``derivatives/``, a data set of each model with a folder of each cell and subject::

    MODEL/CELL/sub-X/pet/sub-X_trc-FMZ_desc-combinedregions_tacs.tsv
    MODEL/CELL/sub-X/pet/sub-X_trc-FMZ_model-Logan_kinpar.tsv

The columns of curves are those of PETFit's combined regions (mathesong/petfit, docs/outputs.md),
one row per region and frame; those of parameters a region and a column per quantity. The true
values are a data set of their own, ``truth``. Times are in s from the tracer's injection, curves
in kBq/mL, decay-corrected to it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dtsinn.core.protocol import Protocol
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.evaluation.score import SubjectScore
from dtsinn.kinetics.curves import tracer_frames

TRUTH = "truth"
"""Name of the data set of true values."""
TAC_COLUMNS = (
    "pet",
    "region",
    "volume_mm3",
    "InjectedRadioactivity",
    "bodyweight",
    "frame_start",
    "frame_end",
    "frame_dur",
    "frame_mid",
    "TAC",
)
TAC_FACTS = {
    "frame_start": {"Description": "From the injection of the tracer", "Units": "s"},
    "frame_end": {"Description": "From the injection of the tracer", "Units": "s"},
    "frame_dur": {"Description": "Without what was before the injection", "Units": "s"},
    "frame_mid": {"Description": "From the injection of the tracer", "Units": "s"},
    "TAC": {"Description": "Regional mean, decay-corrected to the injection", "Units": "kBq/mL"},
}
MODELS = {"V_T": "Logan", "DVR": "refLogan", "Ki": "Patlak", "SUVR": "SUVR", "K1": "TCM"}
"""Quantity -> label of the entity ``model``."""
ABSENT = "n/a"


def write_derivatives(
    scores: Sequence[SubjectScore],
    protocol: Protocol,
    half_life: dict[str, float],
    folder: Path,
    *,
    truth: bool = False,
) -> None:
    """Write curves and parameters of the subjects of one model in one cell.

    Args:
        scores: Of subjects that were measured; others are passed over.
        protocol: Frames and injections of the cell.
        half_life: Of both tracers in s, in the order of injection.
        folder: Where the subjects' folders go.
        truth: The true values in place of the answers.
    """
    for score in scores:
        if score.measures is None:
            continue
        subject = f"sub-{label(score.subject)}"
        place = folder / subject / "pet"
        place.mkdir(parents=True, exist_ok=True)
        for k, (tracer, seconds) in enumerate(half_life.items()):
            start = f"{subject}_trc-{label(tracer.upper())}"
            curves = score.measures.readouts.curves.get(tracer, {})
            if curves:
                edges = tracer_frames(protocol, k, seconds).edge_T.tolist()
                rows = _tac_rows(start, curves, edges, int(truth))
                _write(place / f"{start}_desc-combinedregions_tacs", TAC_COLUMNS, rows, TAC_FACTS)
            for quantity, values in score.measures.readouts.values.get(tracer, {}).items():
                name = place / f"{start}_model-{MODELS[quantity]}_kinpar"
                unit = {quantity: {"Units": QUANTITY_UNITS[quantity]}}
                pairs = ([region, pair[int(truth)]] for region, pair in values.items())
                _write(name, ("region", quantity), pairs, unit)


def describe_dataset(folder: Path, name: str, code_version: str) -> None:
    """Write ``dataset_description.json``, which makes a folder a BIDS derivative."""
    content = {
        "Name": f"Regional curves and kinetic parameters: {name}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "dtsinn", "Version": code_version}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (folder / "dataset_description.json").write_text(text, encoding="utf-8")


def label(text: str) -> str:
    """A text as the label of a BIDS entity: letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "none"


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


def _write(path: Path, columns: Sequence[str], rows: Any, facts: dict[str, dict[str, str]]) -> None:
    """A table, and beside it what its columns are."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.with_name(f"{path.name}.tsv").write_text(text.getvalue(), encoding="utf-8")
    sidecar = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    path.with_name(f"{path.name}.json").write_text(sidecar, encoding="utf-8")
