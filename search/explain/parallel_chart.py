"""All parameters of a search at once: each trial as a line through its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dtsinn.core.display import value_text
from dtsinn.plots.style import FAINT, INK
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances, rank_parameters
from dtsinn.search.explain.marks import choose_value_limits, legend, new_figure
from dtsinn.search.explain.ranges import find_place, place_side_by_side
from dtsinn.search.space.space import Parameter

AXES = 10
"""Parameters that a chart of parallel axes holds at most; those that explain most."""
ABSENT = -0.13
"""Where a trial passes an axis that it does not have, below the axis from 0 to 1."""
ASIDE = 0.02
"""A little up or down, so that trials with the same choice are told apart."""
COLOURS = "viridis"
"""Perceptually uniform, and told apart by people with colour-blindness."""


def parallel(facts: Facts, found: Importances) -> Figure:
    """Each trial as a line through its values, coloured by the objective; the best on top."""
    shown = rank_parameters(facts, found)[:AXES]
    figure = new_figure(4.6)
    axes = figure.subplots()
    best = "" if facts.best is None else facts.best.name
    sign = 1 if facts.objective.maximise else -1
    order = sorted(facts.final, key=lambda name: (sign * facts.final[name], name == best))
    values = [facts.final[name] for name in order]
    norm = Normalize(*choose_value_limits(values, facts.objective.maximise), clip=True)
    aside = np.random.default_rng(0).uniform(-ASIDE, ASIDE, (len(order), len(shown)))
    aside[-1] = 0.0
    lines = [
        [(place, _height(parameter, facts.history.trials[name].suggestion, aside[row, place]))
         for place, parameter in enumerate(shown)]
        + [(len(shown), float(norm(facts.final[name])))]
        for row, name in enumerate(order)
    ]  # fmt: skip
    tints = colormaps[COLOURS if facts.objective.maximise else f"{COLOURS}_r"]
    clear = float(np.clip(25 / len(order), 0.08, 0.8))
    axes.add_collection(
        LineCollection(lines, colors=tints(norm(values)), linewidths=1.1, alpha=clear)
    )
    best_line = axes.plot(*np.array(lines[-1]).T, color=INK, lw=2.2, label=f"best: {order[-1]}")
    axes.vlines(range(len(shown) + 1), 0, 1, color=FAINT, lw=1.0, zorder=3)
    for place, parameter in enumerate(shown):
        _name_values(axes, place, parameter)
    axes.set_xlim(-0.35, len(shown) + 0.02)
    axes.set_ylim(-0.03, 1.02)
    if any(parameter.when for parameter in shown):
        axes.set_ylim(ABSENT - 0.04, 1.02)
        axes.text(-0.33, ABSENT, "not\nsearched", fontsize=7.5, color=FAINT, va="center")
    names = [parameter.key.replace(".", "\n", 1) for parameter in shown]
    axes.set_xticks(range(len(shown)), names, fontsize=8.5, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    beside = axes.inset_axes((len(shown) + 0.02, 0, 0.1, 1), transform=axes.transData)
    bar = figure.colorbar(ScalarMappable(norm=norm, cmap=tints), cax=beside, ticks=MaxNLocator(6))
    bar.outline.set_visible(False)
    beside.tick_params(labelsize=8.5, length=2, colors=FAINT, labelcolor=INK)
    bar.set_label(facts.objective.label, fontsize=9, color=INK)
    legend(figure, best_line)
    return figure


def _name_values(axes: Axes, place: int, parameter: Parameter) -> None:
    """The ends of a range, or all choices, beside their axis."""
    of = parameter.distribution
    choices = place_side_by_side(parameter)
    if choices is None:
        marks = {value_text(of.low): 0.0, value_text(of.high): 1.0}  # type: ignore[union-attr]
    else:
        marks = {text: number / max(len(choices) - 1, 1) for text, number in choices.items()}
    for text, height in marks.items():
        axes.text(
            place - 0.03, height, text, fontsize=7.5, color=INK, ha="right", va="center", zorder=6,
            bbox={"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _height(parameter: Parameter, suggestion: Mapping[str, Any], aside: float) -> float:
    """Where a trial passes a parameter's axis: 0 to 1, below where it does not have it."""
    if parameter.key not in suggestion:
        return ABSENT + aside
    value, choices = suggestion[parameter.key], place_side_by_side(parameter)
    if choices is not None:
        return choices.get(value_text(value), 0) / max(len(choices) - 1, 1) + aside
    place = find_place(parameter, value)
    return 0.5 if place is None else min(max(place, 0.0), 1.0)
