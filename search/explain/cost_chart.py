"""What the trials of a search took: steps and seconds by outcome, and every trial over time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.core.display import time_unit
from dtsinn.plots.style import INK, SERIES, tidy
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.marks import COLOURS, draw_outcome_legend, new_figure

LOST = "lost"
"""Beside the outcomes: seconds of work that was done again. In the colour of the ink."""


def cost(facts: Facts) -> Figure:
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
