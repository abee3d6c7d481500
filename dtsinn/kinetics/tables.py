"""Tables of regional curves and kinetic parameters, as PETFit reads them.

The columns of curves are those of PETFit's combined regions (mathesong/petfit, docs/outputs.md),
one row per region and frame; those of parameters a region and a column per quantity. Times are in
s from the tracer's injection, curves in kBq/mL, decay-corrected to it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def label(text: str) -> str:
    """A text as the label of a BIDS entity: letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", text) or "none"


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Iterable[object]],
    facts: dict[str, dict[str, str]],
) -> None:
    """Write a table, and beside it what its columns are.

    Args:
        path: Without its endings.
        columns: Titles.
        rows: A value for each of them.
        facts: Column -> what it is.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.with_name(f"{path.name}.tsv").write_text(text.getvalue(), encoding="utf-8")
    sidecar = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    path.with_name(f"{path.name}.json").write_text(sidecar, encoding="utf-8")
