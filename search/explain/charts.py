"""Charts of a search over steps and time: its progress, and its trials' curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dtsinn.core.display import time_unit
from dtsinn.plots.style import INK
from dtsinn.search.explain.facts import OUTCOMES, Facts
from dtsinn.search.explain.marks import (
    COLOURS,
    choose_value_limits,
    draw_dots,
    draw_outcome_legend,
    finish,
    new_figure,
)

FLOOR_LINE = (0, (1, 2))
"""Dots, in the units of Matplotlib's line styles."""


def draw_progress(facts: Facts) -> Figure:
    """The best so far, and each trial's last value, against steps and against seconds."""
    figure = new_figure(4.0)
    panels = figure.subplots(1, 2, sharey=True)
    risen = facts.incumbents()
    scale, unit = time_unit(facts.history.seconds)
    heights = [one.value for _, one in risen]
    floor = [] if facts.floor is None else [facts.floor]
    shown = [*facts.final.values(), *heights, *floor]
    limits = choose_value_limits(shown, facts.objective.maximise)
    sides: list[tuple[str, float, Sequence[float], Mapping[str, float]]] = [
        (
            "training steps of all trials",
            max(facts.history.steps, 1),
            [spent for spent, _ in risen],
            {name: spent for spent, name, _ in facts.reports},
        ),
        (
            f"time of the search, {unit}",
            max(facts.history.seconds / scale, 1e-9),
            [one.seconds / scale for _, one in risen],
            {name: curve[-1].seconds / scale for name, curve in facts.reached.items()},
        ),
    ]
    for axes, (name, end, across, last) in zip(panels, sides, strict=True):
        dots = {trial: (last[trial], value) for trial, value in facts.final.items()}
        draw_dots(axes, facts, dots, limits)
        best = axes.step(
            [*across, end], [*heights, heights[-1]], where="post", color=INK, lw=1.4,
            label="best so far",
        )  # fmt: skip
        lines = [
            axes.axhline(value, color=INK, lw=1.0, ls=FLOOR_LINE, label="floor: linear map")
            for value in floor
        ]
        axes.set_xlim(-0.02 * end, 1.02 * end)
        finish(axes, name)
    panels[0].set_ylabel(facts.objective.label)
    panels[1].tick_params(axis="y", length=0)
    panels[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    draw_outcome_legend(figure, facts, facts.reached, [*best, *lines])
    return figure


def draw_learning_curves(facts: Facts) -> Figure:
    """Every trial's values against its own steps, its end marked."""
    figure = new_figure(4.4)
    axes = figure.subplots()
    curves = {
        name: [(float(one.step), one.value) for one in curve]
        for name, curve in facts.reached.items()
    }
    values = [value for curve in curves.values() for _, value in curve]
    order = sorted(curves, key=lambda name: -list(OUTCOMES).index(facts.outcome_of(name)))
    axes.add_collection(
        LineCollection(
            [curves[name] for name in order], colors=[COLOURS[facts.outcome_of(n)] for n in order],
            linewidths=1.0, alpha=float(np.clip(12 / len(order), 0.06, 0.75)),
        )
    )  # fmt: skip
    ends = {name: curve[-1] for name, curve in curves.items()}
    draw_dots(axes, facts, ends, choose_value_limits(values, facts.objective.maximise))
    best = []
    if facts.best is not None:
        steps, heights = zip(*curves[facts.best.name], strict=True)
        best = axes.plot(steps, heights, color=INK, lw=1.8, label=f"best: {facts.best.name}")
    axes.set_xlim(0, 1.03 * max(step for step, _ in ends.values()))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    finish(axes, "training steps of the trial", facts.objective.label)
    draw_outcome_legend(figure, facts, facts.reached, best)
    return figure
