"""The pictures of a report, with their captions: those for which there is something to draw."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.core.display import time_unit
from dtsinn.plots.style import INK, SERIES, png, tidy
from dtsinn.search.explain import charts, parameter_charts
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances
from dtsinn.search.explain.marks import COLOURS, draw_outcome_legend, new_figure
from dtsinn.search.explain.parameter_charts import AXES, draw_parallel

LOST = "lost"
"""Beside the outcomes: seconds of work that was done again. In the colour of the ink."""


def draw_cost(facts: Facts) -> Figure:
    """Steps and seconds by outcome, and the trials on a time line."""
    lanes = _find_lanes(facts)
    below = float(np.clip(0.22 * len(lanes), 0.7, 4.0))
    figure = new_figure(2.65 + below)
    bars, line = figure.subplots(2, 1, height_ratios=(0.95, below))
    budget = facts.budget
    shares: list[Mapping[str, float]] = [
        budget.steps,
        {**budget.seconds, LOST: budget.lost_seconds},
    ]
    for row, amounts in enumerate(shares):
        total, left = max(sum(amounts.values()), 1e-9), 0.0
        for outcome, amount in amounts.items():
            width, colour = 100 * amount / total, COLOURS.get(outcome, INK)
            bars.barh(row, width, left=left, height=0.62, color=colour, ec="white", lw=0.8)
            if width > 4:
                light = colour in {SERIES[4], SERIES[5]}
                bars.text(
                    left + width / 2, row, f"{width:.0f} %", ha="center", va="center",
                    fontsize=8.5, color=INK if light else "white",
                )  # fmt: skip
            left += width
    if not facts.history.steps:
        bars.text(0.5, 0, "none", va="center", fontsize=8.5, color=INK)
    bars.set_yticks([0, 1], ["training steps", "trials' seconds"])
    bars.set_ylim(1.5, -0.5)
    bars.set_xlim(0, 100)
    bars.set_xlabel("share, %", fontsize=9, color=INK)
    bars.tick_params(axis="y", length=0)
    _draw_time_line(line, facts, lanes)
    for axes in (bars, line):
        tidy(axes)
        axes.spines["left"].set_visible(False)
    extra: list[Artist] = []
    if budget.lost_seconds:
        extra += line.plot([], [], "s", color=INK, label="lost to restarts")
    draw_outcome_legend(figure, facts, facts.history.trials, extra)
    return figure


def _draw_time_line(
    axes: Axes, facts: Facts, lanes: Sequence[Sequence[tuple[float, float, str]]]
) -> None:
    scale, unit = time_unit(facts.history.seconds)
    thin = sum(map(len, lanes)) > 60 * max(len(lanes), 1)
    for row, lane in enumerate(lanes):
        spans = [(start / scale, (stop - start) / scale) for start, stop, _ in lane]
        axes.broken_barh(
            spans,
            (row - 0.4, 0.8),
            facecolors=[COLOURS[outcome] for _, _, outcome in lane],
            edgecolors="white",
            linewidth=0.0 if thin else 0.8,
        )
    ended = 0.0
    for session in facts.history.sessions[:-1]:
        ended += session.seconds
        axes.axvline(ended / scale, color=INK, lw=0.9, ls=(0, (4, 3)))
    axes.set_xlim(0, max(facts.history.seconds / scale, 1e-9))
    axes.set_ylim(max(len(lanes), 1) - 0.4, -0.6)
    axes.set_yticks([])
    axes.set_ylabel(f"{len(lanes)} at a time", fontsize=9, color=INK)
    axes.set_xlabel(f"time of the search, {unit}", fontsize=9, color=INK)


def _find_lanes(facts: Facts) -> list[list[tuple[float, float, str]]]:
    """The trials' stretches of work in as few rows as hold them side by side."""
    work = sorted(
        (start, stop, facts.outcome(trial))
        for trial in facts.trials
        for start, stop in facts.stretches(trial)
    )
    lanes: list[list[tuple[float, float, str]]] = []
    free: list[tuple[float, int]] = []
    for start, stop, outcome in work:
        if free and free[0][0] <= start + 1e-6:
            row = heapq.heappop(free)[1]
        else:
            row = len(lanes)
            lanes.append([])
        lanes[row].append((start, stop, outcome))
        heapq.heappush(free, (stop, row))
    return lanes


PICTURES = ("progress", "curves", "importances", "slices", "parallel", "pareto", "cost")
"""Names of all that a report can have."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One chart of the report."""

    name: str
    """Name of its file, without the ending."""
    section: str
    caption: str
    png: bytes


def draw_pictures(facts: Facts, found: Importances) -> Iterator[Picture]:
    """Every chart for which there is something to draw."""

    def make_picture(name: str, section: str, figure: Figure, caption: str) -> Picture:
        return Picture(name=name, section=section, caption=caption, png=png(figure))

    title = facts.objective.title
    dotted = "" if facts.floor is None else " The dotted line is the floor, the linear map."
    if facts.final:
        yield make_picture(
            "progress", "Progress", charts.draw_progress(facts),
            f"Best {title} so far, and what each trial had reached at its last report, against "
            "the training steps of all trials and against time. Trials without a value are not "
            f"shown; hollow marks at the edge lie outside.{dotted}",
        )  # fmt: skip
        yield make_picture(
            "curves", "Progress", charts.draw_learning_curves(facts),
            "Every trial's values against its own steps; its mark is where it ended.",
        )  # fmt: skip
    if found.rows:
        yield make_picture(
            "importances", "What mattered", parameter_charts.draw_importances(found), found.note
        )
    if facts.final:
        yield make_picture(
            "slices", "What mattered", parameter_charts.draw_slices(facts, found),
            f"The {title} at the last report against each parameter over its whole range; the best "
            "trial is ringed. Stopped trials had fewer steps. Choices are spread a little "
            "sideways.",
        )  # fmt: skip
        most = AXES
        shown = f", those {most} that explain most," if len(facts.space.parameters) > most else ""
        yield make_picture(
            "parallel", "What mattered", draw_parallel(facts, found),
            f"Each line is a trial. It passes every parameter{shown} at the value that it had, "
            "below the axis where it did not have it, and ends at what it reached.",
        )  # fmt: skip
    if facts.values and len(facts.objectives) > 1:
        yield make_picture(
            "pareto", "Several objectives", parameter_charts.draw_pareto(facts),
            "Finished trials that no other one beats in every objective are ringed; without a "
            "finished trial, those among all.",
        )  # fmt: skip
    if any(facts.stretches(trial) for trial in facts.trials):
        yield make_picture(
            "cost", "What it took", draw_cost(facts),
            "Training steps and seconds of trials by how they ended, and every trial over time. "
            "Rows are as many as ran side by side; a dashed line is where the search was taken "
            "up again.",
        )  # fmt: skip
