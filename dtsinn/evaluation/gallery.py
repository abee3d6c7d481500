"""The gallery of an evaluation: which pictures a report shows, drawn and with captions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dtsinn.core.display import subject_text
from dtsinn.data.store import Samples, Store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation import charts
from dtsinn.evaluation.metrics import FEWEST
from dtsinn.evaluation.results import CellResult, Evaluation, ModelScores
from dtsinn.evaluation.score import Separate
from dtsinn.evaluation.suite import SPLIT
from dtsinn.plots import separations
from dtsinn.plots.style import png


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn picture."""

    file: str
    """File name, ending in ``.png``."""
    cell: str
    """Key of the cell that it shows; empty when it shows all of them."""
    caption: str
    """What it shows, as a sentence; it is also read to those who cannot see it."""
    png: bytes


def draw_gallery(
    evaluation: Evaluation, separators: Mapping[str, Separator], stores: Mapping[str, Store]
) -> list[Picture]:
    """Draw all pictures of an evaluation.

    Args:
        evaluation: What was found.
        separators: By name.
        stores: By key of the cell.
    """
    drawn: list[Picture] = []
    if evaluation.headline is not None:
        drawn.append(
            Picture(
                file="subjects.png",
                cell="",
                caption="Mean PSNR of the two tracers. Small dots are subjects; large dots are "
                "means with their 95 % bootstrap interval, where a cell has at least "
                f"{FEWEST} subjects.",
                png=png(charts.subject_dots(evaluation)),
            )
        )
    for cell in evaluation.cells:
        for scores in cell.models:
            if scores.applicable:
                store = stores[cell.key]
                split = evaluation.split if cell.source == "store" else SPLIT
                separate = separators[scores.model].for_protocol(store.header).separate
                drawn += _of_model(cell, scores, store, split, separate)
        subjects = [subject for scores in cell.models for subject in scores.subjects]
        if cell.applicable and any(any(s.regional_bias.values()) for s in subjects):
            drawn.append(
                Picture(
                    file=f"{cell.key}-bias.png",
                    cell=cell.key,
                    caption="Bias of the area under each regional curve, both tracers on one "
                    f"scale, n = {cell.subjects}. Small dots are subjects, large dots their mean.",
                    png=png(charts.regional_bias(cell)),
                )
            )
    return drawn


def _of_model(
    cell: CellResult, scores: ModelScores, store: Store, split: str, separate: Separate
) -> list[Picture]:
    """Images and curves of the subject whose PSNR is the median."""
    ranked = sorted(scores.subjects, key=lambda score: score.mean_psnr)
    median = ranked[(len(ranked) - 1) // 2]
    samples = _read_subject(store, split, median.subject)
    answer_NKTYX = separate(samples.mixture_NTYX)
    stem = f"{cell.key}-{_file_name(scores.model)}"
    who = f"{scores.model}, {subject_text(median.subject)} of median PSNR"
    who += f" ({median.mean_psnr:.1f} dB; {median.subject} in table.csv)"
    return [
        Picture(
            file=f"{stem}-images.png",
            cell=cell.key,
            caption=f"Truth, prediction and error: {who}. Corrected for decay since the tracer's "
            "injection; one scale per tracer for all frames, another for its errors.",
            png=png(separations.separation(samples, answer_NKTYX, store.header)),
        ),
        Picture(
            file=f"{stem}-curves.png",
            cell=cell.key,
            caption=f"Curves of the regions that each tracer is given for, not decay-corrected: "
            f"{who}.",
            png=png(separations.regional_curves(samples, answer_NKTYX, store.header)),
        ),
    ]


def _read_subject(store: Store, split: str, subject: str) -> Samples:
    chosen_N = (store.split_N == split) & (store.subject_N == subject)
    return store.read(chosen_N.nonzero()[0])


def _file_name(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-") or "model"
