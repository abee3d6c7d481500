"""Charts of an evaluation: scores subject by subject, and regional bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.results import FLOOR, CellResult, Evaluation, ModelScores
from dtsinn.plots.style import DPI, INK, SERIES, grid_lines, text_width, tidy

FLOOR_COLOUR = "#9aa5b1"
STEP, SPAN = 0.2, 0.72
"""Distance between the series of one row, and that of the first from the last at most, in rows."""


def subject_dots(evaluation: Evaluation) -> Figure:
    """PSNR of every subject in every cell that applies: all series side by side."""
    cells = [cell for cell in evaluation.cells if cell.applicable]
    names = [model.name for model in evaluation.models]
    names += [baseline.name for baseline in evaluation.baselines]
    height = 0.95 + 0.62 * len(cells) + 0.3
    titles = [f"{cell.title}, n = {cell.subjects}" for cell in cells]
    margin = max((text_width(title, 9) for title in titles), default=0.0) + 0.25
    figure = Figure(figsize=(max(11, margin + 6), height), dpi=DPI)
    left = margin / figure.get_size_inches()[0]
    axes = figure.subplots(
        gridspec_kw={"left": left, "right": 0.975, "bottom": 0.5 / height, "top": 1 - 0.45 / height}
    )
    for row, cell in enumerate(cells):
        _cell_row(axes, row, cell, names)
    axes.set_yticks(range(len(cells)), titles)
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_xlabel("PSNR, mean of the two tracers, dB", fontsize=9, color=INK)
    grid_lines(axes, "x")
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=9)
    handles = [
        axes.plot([], [], "o", color=_colour(name, names), label=name)[0]
        for name in [*names, FLOOR]
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.985, 1.0),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.4,
    )
    return figure


def regional_bias(cell: CellResult) -> Figure:
    """Bias of the regional curves' areas in one cell, both tracers on one scale, all models."""
    models = [scores for scores in cell.models if scores.applicable]
    names = [scores.model for scores in cell.models]
    regions = _regions(models)
    height = 1.2 + 0.26 * len(regions)
    margin = max((text_width(region, 8.5) for region in regions), default=0.0) + 0.25
    figure = Figure(figsize=(9.7 + margin, height), dpi=DPI)
    panels = figure.subplots(
        1,
        2,
        sharex=True,
        sharey=True,
        gridspec_kw={
            "left": margin / (9.7 + margin),
            "right": 0.98,
            "bottom": 0.5 / height,
            "top": 1 - 0.62 / height,
            "wspace": 0.08,
        },
    )
    for tracer, axes in zip(cell.tracers, panels, strict=True):
        axes.axvline(0, color=INK, lw=0.9, zorder=1)
        for place, scores in enumerate(models):
            shift = STEP * (place - (len(models) - 1) / 2)
            colour = _colour(scores.model, names)
            _bias_dots(axes, scores, tracer, regions, shift, colour)
        axes.set_title(tracer.upper(), loc="left", fontsize=10.5, color=INK)
        axes.set_xlabel("bias of the area under the curve, %", fontsize=9, color=INK)
        grid_lines(axes, "x")
        axes.margins(x=0.08)
        tidy(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(regions)), regions)
    panels[0].set_ylim(len(regions) - 0.5, -0.5)
    if len(models) > 1:
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc="upper right",
            ncols=len(models),
            frameon=False,
            fontsize=9,
            labelcolor=INK,
        )
    return figure


def _cell_row(axes: Axes, row: int, cell: CellResult, names: Sequence[str]) -> None:
    step = min(STEP, SPAN / len(cell.series))
    for place, scores in enumerate(cell.series):
        if scores.summary is None:
            continue
        y = row + step * (place - (len(cell.series) - 1) / 2)
        colour = _colour(scores.model, names)
        values = [score.mean_psnr for score in scores.subjects]
        axes.plot(values, [y] * len(values), "o", ms=4.5, mew=0, color=colour, alpha=0.4)
        _mean_with_interval(axes, scores.summary.psnr, y, colour)


def _mean_with_interval(axes: Axes, interval: Interval, y: float, colour: str) -> None:
    if interval.low is not None and interval.high is not None:
        ends = [interval.low, interval.high]
        axes.plot(ends, [y, y], color=colour, lw=2.2, solid_capstyle="round")
    axes.plot(interval.mean, y, "o", ms=8, mec="white", mew=1.2, color=colour)


def _bias_dots(
    axes: Axes,
    scores: ModelScores,
    tracer: str,
    regions: Sequence[str],
    shift: float,
    colour: str,
) -> None:
    label: str | None = scores.model
    for row, region in enumerate(regions):
        values = [
            score.regional_bias[tracer][region]
            for score in scores.subjects
            if region in score.regional_bias.get(tracer, {})
        ]
        if not values:
            continue
        axes.plot(values, [row + shift] * len(values), "o", ms=4, mew=0, color=colour, alpha=0.35)
        mean = float(np.mean(values))
        axes.plot(mean, row + shift, "o", ms=7, mec="white", mew=1, color=colour, label=label)
        label = None  # one entry in the legend per model


def _regions(models: Sequence[ModelScores]) -> list[str]:
    """All regions that any subject has, in the order of the first that has them."""
    return list(
        dict.fromkeys(
            region
            for scores in models
            for score in scores.subjects
            for biases in score.regional_bias.values()
            for region in biases
        )
    )


def _colour(name: str, names: Sequence[str]) -> str:
    return FLOOR_COLOUR if name == FLOOR else SERIES[list(names).index(name) % len(SERIES)]
