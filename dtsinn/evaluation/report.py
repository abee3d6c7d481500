"""The report of an evaluation: one HTML file that needs nothing else.

It begins with the claim, then says what fails; figures follow, tables and definitions end it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.claim import state_claim
from dtsinn.evaluation.definitions import definitions
from dtsinn.evaluation.derivatives import has_derivatives
from dtsinn.evaluation.findings import VERDICTS, find_failures, not_applicable, state_verdict
from dtsinn.evaluation.gallery import Kind, Picture
from dtsinn.evaluation.heatmaps import draw_heat_maps
from dtsinn.evaluation.limits import KINETIC_BIAS, WORST_REGION
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.results import CellResult, Evaluation, ModelScores
from dtsinn.evaluation.tables import (
    MINUS,
    list_lineage,
    list_untold,
    tabulate_cells,
    tabulate_details,
    tabulate_failures,
    tabulate_kinetics,
    tabulate_lesions,
    tabulate_novelty,
    tabulate_pairs,
)
from dtsinn.plots.page import Card, render_page


class Figures(NamedTuple):
    """Pictures of one cell that stand together."""

    title: str
    """Of the cell."""
    pictures: tuple[Picture, ...]


def render(
    evaluation: Evaluation, pictures: Sequence[Picture], headers: Mapping[str, StoreHeader]
) -> str:
    """The report as HTML text.

    Args:
        evaluation: What was found.
        pictures: Its gallery.
        headers: Of the stores behind the scored cells, by the cell's key.
    """
    names = [model.name for model in evaluation.models]
    headline = evaluation.headline
    return render_page(
        "evaluation/report.html.j2",
        title=f"{' and '.join(names)}: evaluation",
        names=" and ".join(names),
        lead=f"Suite {evaluation.suite}: {evaluation.description}"
        if evaluation.suite
        else "Subjects of a store",
        claim=state_claim(evaluation, headers),
        derivatives=has_derivatives(evaluation),
        verdicts=[(name, state_verdict(evaluation, name)) for name in names],
        failures=tabulate_failures(evaluation),
        failed=len(find_failures(evaluation)),
        absent=not_applicable(evaluation),
        comparisons=_compare_in_pairs(evaluation),
        headline=None
        if headline is None
        else (f"{headline.title}, n = {headline.subjects}", _cards(headline)),
        heat_maps=draw_heat_maps(evaluation),
        overview=[picture for picture in pictures if picture.kind == "overview"],
        agreement=_figures(evaluation, pictures, "agreement"),
        curves=_figures(evaluation, pictures, "curves"),
        montages=_figures(evaluation, pictures, "montage"),
        biases=_figures(evaluation, pictures, "bias"),
        cells=tabulate_cells(evaluation),
        pairs=tabulate_pairs(evaluation),
        kinetics=tabulate_kinetics(evaluation),
        untold=list_untold(evaluation),
        lesions=tabulate_lesions(evaluation),
        details=tabulate_details(evaluation),
        novelty=tabulate_novelty(evaluation),
        lineage=list_lineage(evaluation),
        definitions=[
            (name.replace("_", " ") if name.islower() else name, text)
            for name, text in definitions().items()
        ],
    )


def _figures(evaluation: Evaluation, pictures: Sequence[Picture], kind: Kind) -> list[Figures]:
    """The pictures of a kind, cell by cell."""
    groups = (
        Figures(cell.title, tuple(p for p in pictures if (p.kind, p.cell) == (kind, cell.key)))
        for cell in evaluation.cells
    )
    return [group for group in groups if group.pictures]


def _cards(cell: CellResult) -> list[tuple[str, list[Card]]]:
    """Large numbers of each model; its name where there are several."""
    return [
        (scores.model if len(cell.models) > 1 else "", _cards_of(cell, scores))
        for scores in cell.models
        if scores.applicable
    ]


def _cards_of(cell: CellResult, scores: ModelScores) -> list[Card]:
    cards, gain = [], cell.difference(scores.model)
    beside = [one for one in (cell.floor, cell.single_tracer) if one is not None]
    for label, name, limit in (
        ("kinetic_bias", "kinetic_bias", KINETIC_BIAS),
        ("Worst region", "worst_bias", WORST_REGION),
    ):
        value = _kinetic(scores, name)
        if value is None:
            continue
        others = [
            f"{one.model} {v:.1f}" for one in beside if (v := _kinetic(one, name)) is not None
        ]
        remark = "; ".join([f"limit {limit.text}", *others])
        cards.append(Card(label, f"{value:.1f}", remark, "%"))
    if gain is not None:
        cards.append(_card("PSNR over linear", gain.psnr, "+"))
    if scores.summary is not None:
        cards.append(_card("PSNR", scores.summary.psnr))
    return cards


def _kinetic(scores: ModelScores, name: str) -> float | None:
    found = None if scores.summary is None else scores.summary.kinetics
    value: float | None = None if found is None else getattr(found, name)
    return value


def _card(label: str, interval: Interval, sign: str = "") -> Card:
    value = f"{interval.mean:{sign}z.1f}".replace("-", MINUS)
    return Card(label, value, interval.range_text(1).replace("-", MINUS), "dB")


def _compare_in_pairs(evaluation: Evaluation) -> list[str]:
    """How models compare with baselines and each other, over the cells that they share."""
    names = [model.name for model in evaluation.models]
    known = [baseline.name for baseline in evaluation.baselines]
    verbs = dict(zip(VERDICTS, ("beats", "is level with", "loses to"), strict=True))
    texts = []
    for first, second in (*product(names, known), *combinations(names, 2)):
        found = [d for cell in evaluation.cells if (d := cell.difference(first, second))]
        start = f"{first} against {second}, PSNR in pairs of subjects"
        if not found:
            texts.append(f"{start}: no cell in common.")
            continue
        counts = [
            f"{verbs[verdict]} it in {sum(one.verdict == verdict for one in found)}"
            for verdict in VERDICTS
        ]
        untold = sum(one.verdict == "no verdict" for one in found)
        counts += [f"has no verdict in {untold}"] * (untold > 0)
        texts.append(f"{start}, {len(found)} cells: it {', '.join(counts)}.")
    return texts
