"""What the trials of a search took: steps and seconds by fate, and every trial over time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.plots.style import DPI, INK, SERIES, tidy
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.marks import COLOURS, WIDTH, draw_legend, time_unit

LOST = INK
"""Colour of what was lost."""


def cost(facts: Facts) -> Figure:
    """Steps and seconds by fate, and the trials on a time line."""
    lanes = _lanes(facts)
    below = float(np.clip(0.22 * len(lanes), 0.7, 4.0))
    height = 2.1 + below + 0.55
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    bars = figure.add_axes((0.1, 1 - 1.45 / height, 0.875, 0.95 / height))
    budget = facts.budget
    rows: list[Mapping[str, float]] = [budget.steps, budget.seconds]
    for row, amounts in enumerate(rows):
        lost = budget.lost_seconds if row else 0.0
        total = sum(amounts.values()) + lost
        left = 0.0
        parts = [(fate, amount, COLOURS[fate]) for fate, amount in amounts.items() if amount]
        for _, amount, colour in [*parts, *([("lost", lost, LOST)] if lost else [])]:
            width = 100 * amount / max(total, 1e-9)
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
    tidy(bars)
    bars.tick_params(axis="y", length=0)
    bars.spines["left"].set_visible(False)
    line = figure.add_axes((0.1, 0.5 / height, 0.875, below / height))
    _time_line(line, facts, lanes)
    extra: list[Artist] = []
    if budget.lost_seconds:
        extra += line.plot([], [], "s", color=LOST, label="lost to restarts")
    draw_legend(figure, facts, list(facts.history.trials), extra)
    return figure


def _time_line(
    axes: Axes, facts: Facts, lanes: Sequence[Sequence[tuple[float, float, str]]]
) -> None:
    scale, unit = time_unit(max(facts.history.seconds, 1e-9))
    thin = sum(map(len, lanes)) > 60 * max(len(lanes), 1)
    for row, lane in enumerate(lanes):
        spans = [(start / scale, (stop - start) / scale) for start, stop, _ in lane]
        axes.broken_barh(
            spans,
            (row - 0.4, 0.8),
            facecolors=[COLOURS[fate] for _, _, fate in lane],
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
    tidy(axes)
    axes.spines["left"].set_visible(False)


def _lanes(facts: Facts) -> list[list[tuple[float, float, str]]]:
    """The trials' stretches of work in as few rows as hold them side by side."""
    work = sorted(
        (start, stop, facts.fate(trial))
        for trial in facts.trials
        for start, stop in facts.stretches(trial)
    )
    lanes: list[list[tuple[float, float, str]]] = []
    free: list[tuple[float, int]] = []
    for start, stop, fate in work:
        if free and free[0][0] <= start + 1e-6:
            row = heapq.heappop(free)[1]
        else:
            row = len(lanes)
            lanes.append([])
        lanes[row].append((start, stop, fate))
        heapq.heappush(free, (stop, row))
    return lanes
