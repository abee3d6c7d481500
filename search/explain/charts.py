"""Charts of a search over steps and time: its progress, and its trials' curves."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from dtsinn.plots.style import DPI, INK, grid_lines, tidy
from dtsinn.search.explain.facts import FATES, Facts
from dtsinn.search.explain.marks import (
    COLOURS,
    WIDTH,
    draw_dots,
    draw_legend,
    time_unit,
    value_limits,
)
from dtsinn.search.explain.naming import title_of


def progress(facts: Facts) -> Figure:
    """The best so far, and each trial's last value, against steps and against seconds."""
    figure, panels = _figure(1, 2, height=4.0)
    risen = facts.incumbents()
    spent = _spent(facts)
    scale, unit = time_unit(max(facts.history.seconds, 1e-9))
    whole = [max(facts.history.steps, 1), max(facts.history.seconds / scale, 1e-9)]
    shown = [*facts.final.values(), *(one.value for _, one in risen)]
    limits = value_limits(shown, facts.objective.maximise)
    for axes, place in zip(panels, ("steps", "seconds"), strict=True):
        by_steps = place == "steps"
        dots = {
            name: (spent[name] if by_steps else curve[-1].seconds / scale, curve[-1].value)
            for name, curve in facts.reached.items()
        }
        draw_dots(axes, facts, dots, limits)
        across = [steps if by_steps else one.seconds / scale for steps, one in risen]
        heights = [one.value for _, one in risen]
        end = whole[0 if by_steps else 1]
        axes.step([*across, end], [*heights, heights[-1]], where="post", color=INK, lw=1.4)
        axes.set_xlim(-0.02 * end, 1.02 * end)
        axes.set_ylim(*limits)
        axes.set_xlabel(
            "training steps of all trials" if by_steps else f"time of the search, {unit}",
            fontsize=9,
            color=INK,
        )
        _finish(axes)
    panels[0].set_ylabel(title_of(facts.objective), fontsize=9, color=INK)
    panels[1].tick_params(axis="y", length=0)
    panels[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    best = panels[0].plot([], [], color=INK, lw=1.4, label="best so far")[0]
    draw_legend(figure, facts, list(facts.reached), [best])
    return figure


def learning_curves(facts: Facts) -> Figure:
    """Every trial's values against its own steps, its end marked."""
    figure, (axes,) = _figure(1, 1, height=4.4)
    values = [one.value for curve in facts.reached.values() for one in curve]
    limits = value_limits(values, facts.objective.maximise)
    many = len(facts.reached)
    for fate in reversed(FATES):
        curves = [
            [(one.step, one.value) for one in curve]
            for name, curve in facts.reached.items()
            if facts.fate(facts.history.trials[name]) == fate
        ]
        clear = float(np.clip(12 / max(many, 1), 0.06, 0.75))
        axes.add_collection(
            LineCollection(curves, colors=COLOURS[fate], linewidths=1.0, alpha=clear)
        )
    ends = {name: (curve[-1].step, curve[-1].value) for name, curve in facts.reached.items()}
    draw_dots(axes, facts, ends, limits)
    extra = []
    if facts.best is not None:
        curve = facts.reached[facts.best.name]
        extra += axes.plot(
            [one.step for one in curve],
            [one.value for one in curve],
            color=INK,
            lw=1.8,
            label=f"best: {facts.best.name}",
        )
    axes.set_ylim(*limits)
    longest = max(one.step for curve in facts.reached.values() for one in curve)
    axes.set_xlim(0, 1.03 * longest)
    axes.set_xlabel("training steps of the trial", fontsize=9, color=INK)
    axes.set_ylabel(title_of(facts.objective), fontsize=9, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _finish(axes)
    draw_legend(figure, facts, list(facts.reached), extra)
    return figure


def _spent(facts: Facts) -> dict[str, int]:
    """Steps that all trials together had taken when each one reported last."""
    reports = sorted(
        (one.seconds, one.step, name) for name, curve in facts.reached.items() for one in curve
    )
    before: dict[str, int] = {}
    spent, total = {}, 0
    for _, step, name in reports:
        total += step - before.get(name, 0)
        before[name] = step
        spent[name] = total
    return spent


def _finish(axes: Axes) -> None:
    grid_lines(axes, "y")
    tidy(axes)


def _figure(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    panels = figure.subplots(
        rows,
        columns,
        squeeze=False,
        sharey=True,
        gridspec_kw={
            "left": 0.07,
            "right": 0.985,
            "bottom": 0.52 / height,
            "top": 1 - 0.42 / height,
            "wspace": 0.06,
        },
    )
    return figure, list(panels.flat)
