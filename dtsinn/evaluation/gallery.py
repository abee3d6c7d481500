"""The gallery of an evaluation: which pictures a report shows, drawn and with captions.

All cells stand in one picture; subjects, curves and agreement are shown of two cells only, the one
to judge by and the worst, so that a grid of fifty is drawn in the time of two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dtsinn.core.display import subject_text
from dtsinn.data.store import Samples, Store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation import charts
from dtsinn.evaluation.findings import kinetic_error, worst_cell
from dtsinn.evaluation.results import FLOOR, SUMMARY, CellResult, Evaluation, ModelScores
from dtsinn.evaluation.suite import SPLIT
from dtsinn.plots.montage import ERROR_SPAN, FAINTEST, montage
from dtsinn.plots.style import png

Kind = Literal["overview", "agreement", "bias", "curves", "montage"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn picture."""

    file: str
    """File name, ending in ``.png``."""
    kind: Kind
    """Which section of the report it belongs to."""
    cell: str
    """Key of the cell that it shows; empty when it shows all of them."""
    caption: str
    """What it shows, as a sentence; it is also read to those who cannot see it."""
    png: bytes
    half: bool = False
    """Whether it takes half of the page's width, beside the next one."""


def shown_cells(evaluation: Evaluation) -> list[CellResult]:
    """The cells that have pictures of their own: the one to judge by, and the worst."""
    cells = (evaluation.headline, worst_cell(evaluation))
    return list({cell.key: cell for cell in cells if cell is not None}.values())


def _shown_models(cell: CellResult, evaluation: Evaluation) -> list[ModelScores]:
    """All that apply in the cell to judge by; in the worst one the first, whose worst it is."""
    return [
        scores
        for scores in cell.models
        if scores.applicable
        and (cell is evaluation.headline or scores.model == evaluation.models[0].name)
    ]


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
                file=SUMMARY,
                kind="overview",
                cell="",
                caption="Every cell: the mean PSNR over that of the linear map with its 95 % "
                "bootstrap interval in pairs of subjects, and the kinetic_bias with its limit.",
                png=png(charts.overview(evaluation)),
            )
        )
    for cell in shown_cells(evaluation):
        store = stores[cell.key]
        split = evaluation.split if cell.source == "store" else SPLIT
        for scores in _shown_models(cell, evaluation):
            drawn += _agreements(cell, scores)
            drawn += _subjects(cell, scores, store, split, separators[scores.model])
        if not any(picture.kind == "agreement" for picture in drawn if picture.cell == cell.key):
            drawn += _biases(cell)
    return drawn


def _biases(cell: CellResult) -> Iterator[Picture]:
    """Regions without read-outs: the bias of the areas under their curves."""
    subjects = [subject for scores in cell.models for subject in scores.subjects]
    if any(any(s.regional_bias.values()) for s in subjects):
        yield Picture(
            file=f"{cell.key}-bias.png",
            kind="bias",
            cell=cell.key,
            caption="Bias of the area under each regional curve, both tracers on one scale, "
            f"n = {cell.subjects}. Small dots are subjects, large dots their mean.",
            png=png(charts.regional_bias(cell)),
        )


def _agreements(cell: CellResult, scores: ModelScores) -> Iterator[Picture]:
    for tracer in cell.tracers:
        figure = charts.bland_altman(cell, scores, tracer)
        if figure is not None:
            yield Picture(
                file=f"{_stem(cell, scores)}-{tracer}-agreement.png",
                kind="agreement",
                cell=cell.key,
                caption=f"Bland-Altman plot of {scores.model}, {tracer.upper()}: a point is a "
                f"region of a subject, n = {len(scores.subjects)} subjects. Solid: bias; dashed: "
                "limits of agreement (1.96 SD; regions of a subject are taken as independent).",
                png=png(figure),
                half=True,
            )


def _subjects(
    cell: CellResult, scores: ModelScores, store: Store, split: str, separator: Separator
) -> Iterator[Picture]:
    """Curves of the worst subject; montages of the worst and the median one, side by side."""
    measure, chosen = pick_subjects(cell, scores)
    separate = separator.for_protocol(store.header).separate
    held = {}
    for subject in chosen.values():
        samples = _read_subject(store, split, subject)
        held[subject] = (samples, separate(samples.mixture_NTYX))
    worst = chosen["worst"]
    for tracer, name in enumerate(cell.tracers):
        figure = charts.activity_curves(cell, scores, worst, store.header, tracer)
        if figure is not None:
            yield Picture(
                file=f"{_stem(cell, scores)}-{name}-curves.png",
                kind="curves",
                cell=cell.key,
                caption=f"Regional curves of {name.upper()}, {scores.model}, {subject_text(worst)} "
                f"of worst {measure}, corrected for decay from the injection of "
                f"{name.upper()}. Line: truth; circle: answer; cross: {FLOOR}.",
                png=png(figure),
                half=True,
            )
    for tracer, name in enumerate(cell.tracers):
        for place, subject in chosen.items():
            samples, answer_NKTYX = held[subject]
            title = f"{name.upper()}, {place} {subject_text(subject)}"
            said = f"{scores.model}   ·   {_measured(cell, scores, subject)}"
            yield Picture(
                file=f"{_stem(cell, scores)}-{name}-{place}.png",
                kind="montage",
                cell=cell.key,
                caption=f"{name.upper()} of {subject_text(subject)} ({subject} in table.csv), "
                f"the {place} by {measure}: mixture, truth, answer, relative error "
                f"(±{ERROR_SPAN:g} %, grey where the truth is below {100 * FAINTEST:g} % of its "
                "maximum). Truth and answer have one scale and are corrected for decay.",
                png=png(montage(samples, answer_NKTYX, store.header, tracer, title, said)),
                half=len(chosen) > 1,
            )


def pick_subjects(cell: CellResult, scores: ModelScores) -> tuple[str, dict[str, str]]:
    """By what subjects are ranked, and the ``worst`` and the ``median`` one.

    They are ranked by kinetic error where every subject has one, else by PSNR; of one subject
    there is only the worst.
    """
    errors = kinetic_error(scores, cell.tracers)
    subjects = [score.subject for score in scores.subjects]
    if len(errors) == len(subjects):
        measure, ranked = "kinetic error", sorted(subjects, key=lambda s: -errors[s])
    else:
        psnr = {score.subject: score.mean_psnr for score in scores.subjects}
        measure, ranked = "PSNR", sorted(subjects, key=lambda s: psnr[s])
    chosen = {"worst": ranked[0]}
    if len(ranked) > 1:
        chosen["median"] = ranked[len(ranked) // 2]
    return measure, chosen


def _measured(cell: CellResult, scores: ModelScores, subject: str) -> str:
    error = kinetic_error(scores, cell.tracers).get(subject)
    psnr = next(score.mean_psnr for score in scores.subjects if score.subject == subject)
    return f"PSNR {psnr:.1f} dB" + ("" if error is None else f", kinetic error {error:.1f} %")


def _read_subject(store: Store, split: str, subject: str) -> Samples:
    chosen_N = (store.split_N == split) & (store.subject_N == subject)
    return store.read(chosen_N.nonzero()[0])


def _stem(cell: CellResult, scores: ModelScores) -> str:
    model = re.sub(r"[^A-Za-z0-9]+", "-", scores.model).strip("-") or "model"
    return f"{cell.key}-{model}"
