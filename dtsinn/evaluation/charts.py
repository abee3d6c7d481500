"""Charts of an evaluation: all cells at a glance, agreement, regional curves and bias."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dtsinn.core.display import subject_text
from dtsinn.core.readout import QUANTITY_UNITS
from dtsinn.core.tracer import NOT_READ, load_tracer, tracer_names
from dtsinn.data.store import StoreHeader
from dtsinn.evaluation.limits import KINETIC_BIAS
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.results import FLOOR, SINGLE_TRACER, CellResult, Evaluation, ModelScores
from dtsinn.kinetics.agreement import ICC_SUBJECTS, Agreement
from dtsinn.kinetics.curves import tracer_frames
from dtsinn.plots.style import (
    DPI,
    FAINT,
    GRID,
    INK,
    SERIES,
    grid_lines,
    heading,
    region_style,
    spread,
    text_width,
    tidy,
)

GREYS = {FLOOR: FAINT, SINGLE_TRACER: FAINT}
"""Colours of what models are held against."""
MANY = 16
"""Cells beyond which an overview is drawn closer."""
NARROWEST_dB = 0.2
"""An axis of differences goes so far at least: what is level shows no rounding."""
CURVES = 6
"""Regions of each tracer whose curves are shown."""
STEP, SPAN = 0.2, 0.72
"""Distance between the series of one row, and that of the first from the last at most, in rows."""


def overview(evaluation: Evaluation) -> Figure:
    """All cells that apply, a row each: PSNR over the linear map, and the kinetic bias.

    Points are means over subjects; bars their intervals. A dashed line is a limit.
    """
    cells = [cell for cell in evaluation.cells if cell.applicable]
    names = [model.name for model in evaluation.models]
    titles = [f"{cell.title}, n = {cell.subjects}" for cell in cells]
    down = 0.34 if len(cells) <= MANY else 0.21
    height = 1.15 + down * len(cells)
    size = 9 if len(cells) <= MANY else 8
    margin = max((text_width(title, size) for title in titles), default=0.0) + 0.3
    width = margin + 6.6
    figure = Figure(figsize=(width, height), dpi=DPI)
    gain_axes, bias_axes = figure.subplots(
        1,
        2,
        sharey=True,
        gridspec_kw={
            "left": margin / width,
            "right": 1 - 0.25 / width,
            "bottom": 0.35 / height,
            "top": 1 - 0.75 / height,
            "wspace": 0.08,
        },
    )
    for row, cell in enumerate(cells):
        scored = [scores for scores in cell.every if scores.applicable]
        shown = [scores for scores in scores_beside(cell) if scores in scored]
        step = min(STEP, SPAN / max(len(shown), 1))
        for place, scores in enumerate(shown):
            y = row + step * (place - (len(shown) - 1) / 2)
            _overview_row(gain_axes, bias_axes, cell, scores, y, _colour(scores.model, names))
    low, high = gain_axes.get_xlim()
    gain_axes.set_xlim(min(low, -NARROWEST_dB), max(high, NARROWEST_dB))
    gain_axes.locator_params(axis="x", nbins=6)
    gain_axes.axvline(0, color=INK, lw=0.9, zorder=1)
    bias_axes.axvline(KINETIC_BIAS.most, color=FAINT, lw=0.9, ls=(0, (4, 3)), zorder=1)
    gain_axes.set_title("PSNR over the linear map, dB", loc="left", fontsize=9.5, color=INK)
    limit = f"kinetic_bias, %; limit {KINETIC_BIAS.most:g}"
    bias_axes.set_title(limit, loc="left", fontsize=9.5, color=INK)
    bias_axes.set_xlim(left=0)
    gain_axes.set_yticks(range(len(cells)), titles)
    gain_axes.set_ylim(len(cells) - 0.5, -0.5)
    for axes in (gain_axes, bias_axes):
        grid_lines(axes, "x")
        tidy(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=size)
        for row in range(1, len(cells)):
            axes.axhline(row - 0.5, color=GRID, lw=0.6, zorder=0)
    figure.legend(
        handles=[
            bias_axes.plot([], [], _marker(name), mfc=_fill(name, names), mew=1.2,
                           color=_colour(name, names), label=name)[0]
            for name in [*names, FLOOR, SINGLE_TRACER]
        ],
        loc="upper left",
        bbox_to_anchor=(margin / width - 0.01, 1.0),
        ncols=len(names) + 2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.4,
    )  # fmt: skip
    return figure


def bland_altman(cell: CellResult, scores: ModelScores, tracer: str) -> Figure | None:
    """What is read from the answer against the truth: differences over means.

    The single-tracer scans stand in the same axes. Lines are the bias and the limits of agreement
    (Bland and Altman 1986) over all subject-regions.

    Args:
        cell: Where.
        scores: Whose answers.
        tracer: Its judged quantity is shown; None where nothing is read of it.
    """
    own = _judged_agreement(scores, tracer)
    if own is None:
        return None
    quantity = own.quantity
    figure = Figure(figsize=(5.6, 4.2), dpi=DPI)
    axes = figure.subplots(gridspec_kw={"left": 0.16, "right": 0.82, "bottom": 0.12, "top": 0.78})
    unit = QUANTITY_UNITS[quantity]
    unit = f", {unit}" if unit != "1" else ""
    said, heights = [], []
    digits = _decimals(own.limits or (own.difference,))
    series = [(cell.single_tracer, GREYS[SINGLE_TRACER], "^"), (scores, SERIES[0], "o")]
    for one, colour, marker in series:
        found = None if one is None else _judged_agreement(one, tracer)
        if one is None or found is None or found.quantity != quantity:
            continue
        answer, truth = _read_values(one, tracer, quantity, found.regions)
        axes.plot((answer + truth) / 2, answer - truth, marker, ms=4, mew=0.9, color=colour,
                  mfc="none", alpha=0.8, label=one.model)  # fmt: skip
        axes.axhline(found.difference, color=colour, lw=1.4)
        heights.append((found.difference, f"bias {_signed(found.difference, digits)}", colour))
        for limit in found.limits or ():
            axes.axhline(limit, color=colour, lw=1.0, ls=(0, (4, 3)))
            heights.append((limit, _signed(limit, digits), colour))
        said.append(f"{one.model}: {_agreement_text(found, digits)}")
    axes.axhline(0, color=INK, lw=0.6, zorder=0)
    axes.margins(y=0.12)
    _label_lines(axes, heights)
    axes.set_xlabel(f"mean of answer and truth{unit}", fontsize=9, color=INK)
    axes.set_ylabel(f"answer − truth{unit}", fontsize=9, color=INK)
    tidy(axes)
    heading(figure, f"{quantity} of {tracer.upper()}", "   ·   ".join(reversed(said)))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1],
        labels[::-1],
        loc="upper left",
        bbox_to_anchor=(0.14, 0.865),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.1,
    )
    return figure


def activity_curves(
    cell: CellResult, scores: ModelScores, subject: str, header: StoreHeader, tracer: int
) -> Figure | None:
    """Curves of the regions that a tracer is given for, of one subject.

    They are corrected for decay from the tracer's own injection, and time is counted from it.
    Lines are the truth, circles the answer, crosses the linear map.

    Args:
        cell: Where.
        scores: Whose answer.
        subject: Its id.
        header: Of the cell's store.
        tracer: 0 or 1; None where no region of it was measured.
    """
    name = header.tracers[tracer]
    answers, floors = (_curves_of(one, subject).get(name, {}) for one in (scores, cell.floor))
    regions = _own_regions(name, answers)
    if not regions:
        return None
    frames = tracer_frames(header.protocol, tracer, header.half_life[tracer])
    minute_T = frames.middle_T / 60
    figure = Figure(figsize=(5.6, 4.4), dpi=DPI)
    axes = figure.subplots(gridspec_kw={"left": 0.11, "right": 0.975, "bottom": 0.3, "top": 0.9})
    for region in regions:
        style = region_style(region)
        answer, truth = answers[region]
        axes.plot(minute_T, truth, lw=1.4, **style)
        marks = {"color": style["color"], "mew": 1.1, "ls": "none", "zorder": 3}
        axes.plot(minute_T, answer, "o", ms=4.5, mfc="none", **marks)
        if region in floors:
            axes.plot(minute_T, floors[region][0], "x", ms=4, alpha=0.8, **marks)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xlim(0, float(frames.edge_T[-1]) / 60)
    axes.set_xlabel(f"time since the injection of {name.upper()}, min", fontsize=9, color=INK)
    axes.set_ylabel("activity, decay-corrected, kBq/mL", color=INK, fontsize=9)
    axes.set_title(f"{name.upper()} of {subject_text(subject)}", loc="left", fontsize=10.5,
                   color=INK)  # fmt: skip
    tidy(axes)
    kinds: list[dict[str, Any]] = [
        {"lw": 1.4}, {"marker": "o", "ls": "none", "ms": 4.5, "mfc": "none"},
        {"marker": "x", "ls": "none", "ms": 4},
    ]  # fmt: skip
    figure.legend(
        handles=[
            *(Line2D([], [], color=INK, **kind) for kind in kinds),
            *(Line2D([], [], lw=1.6, **region_style(region)) for region in regions),
        ],
        labels=["truth", "answer", FLOOR, *regions],
        loc="lower left",
        bbox_to_anchor=(0.08, 0.0),
        ncols=3,
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.6,
        labelspacing=0.3,
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


def scores_beside(cell: CellResult) -> list[ModelScores]:
    """What an overview shows of a cell: the models, the linear map and the single-tracer scans."""
    return [*cell.models, *filter(None, (cell.floor, cell.single_tracer))]


def _overview_row(
    gain_axes: Axes, bias_axes: Axes, cell: CellResult, scores: ModelScores, y: float, colour: str
) -> None:
    gain = cell.difference(scores.model)
    if gain is not None:
        _mean_with_interval(gain_axes, gain.psnr, y, colour)
    found = None if scores.summary is None else scores.summary.kinetics
    if found is not None and found.kinetic_bias is not None:
        fill = "white" if scores.model == SINGLE_TRACER else colour
        bias_axes.plot(found.kinetic_bias, y, _marker(scores.model), ms=6, mew=1.2, color=colour,
                       mfc=fill)  # fmt: skip


def _marker(name: str) -> str:
    return {SINGLE_TRACER: "^", FLOOR: "s"}.get(name, "o")


def _fill(name: str, names: Sequence[str]) -> str:
    return "white" if name == SINGLE_TRACER else _colour(name, names)


def _mean_with_interval(axes: Axes, interval: Interval, y: float, colour: str) -> None:
    if interval.low is not None and interval.high is not None:
        ends = [interval.low, interval.high]
        axes.plot(ends, [y, y], color=colour, lw=2.0, solid_capstyle="round")
    axes.plot(interval.mean, y, "o", ms=6.5, mec="white", mew=1, color=colour)


def _judged_agreement(scores: ModelScores, tracer: str) -> Agreement | None:
    """How what a tracer is judged by agrees with the truth; None where it is not read."""
    found = None if scores.summary is None else scores.summary.kinetics
    if found is None:
        return None
    return found.readouts.get(tracer, {}).get(found.judged.get(tracer, ""))


def _agreement_text(found: Agreement, digits: int) -> str:
    """Over how much, and slope, intercept and ICC where there are enough subjects."""
    parts = [f"{sum(region.n for region in found.regions.values())} subject-regions"]
    if found.subjects >= ICC_SUBJECTS and found.slope is not None and found.intercept is not None:
        parts.append(f"slope {found.slope:.2f}, intercept {found.intercept:.{digits}f}")
    if found.icc is not None:
        parts.append(f"ICC(3,1) {found.icc:.2f}")
    return ", ".join(parts)


def _signed(value: float, digits: int) -> str:
    """A number with its sign; none on zero."""
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def _decimals(values: Sequence[float]) -> int:
    """Decimals that show the largest of some numbers with three digits."""
    largest = max(map(abs, values))
    return int(np.clip(2 - np.floor(np.log10(largest)), 0, 9)) if largest > 0 else 2


def _read_values(
    scores: ModelScores, tracer: str, quantity: str, regions: Collection[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Answers and truths of all subjects in some regions."""
    pairs = [
        pair
        for score in scores.subjects
        if score.measures is not None
        for region, pair in score.measures.readouts.values.get(tracer, {}).get(quantity, {}).items()
        if region in regions and pair[1] > 0
    ]
    answer, truth = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return answer, truth


def _label_lines(axes: Axes, heights: Sequence[tuple[float, str, str]]) -> None:
    """Name horizontal lines at the right edge, moved apart where they lie close."""
    low, high = axes.get_ylim()
    ordered = sorted(heights)
    places = spread([(height - low) / (high - low) for height, _, _ in ordered], 0.045)
    for (_, text, colour), place in zip(ordered, places, strict=True):
        axes.text(1.02, place, text, transform=axes.transAxes, fontsize=8, color=colour,
                  va="center")  # fmt: skip


def _curves_of(
    scores: ModelScores | None, subject: str
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Tracer -> region -> answer and truth of one subject."""
    for score in () if scores is None else scores.subjects:
        if score.subject == subject and score.measures is not None:
            return score.measures.readouts.curves
    return {}


def _own_regions(tracer: str, there: Collection[str]) -> list[str]:
    """At most :data:`CURVES` regions: those that a tracer is given for, else what there is."""
    own = load_tracer(tracer).readout_regions if tracer in tracer_names() else ()
    kept = [region for region in own if region in there]
    return (kept or [region for region in there if region not in NOT_READ])[:CURVES]


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
    return GREYS.get(name) or SERIES[list(names).index(name) % len(SERIES)]
