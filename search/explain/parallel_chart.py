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
from dtsinn.plots.style import DPI, FAINT, INK
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances, rank_trials
from dtsinn.search.explain.marks import WIDTH, value_limits
from dtsinn.search.explain.naming import title_of
from dtsinn.search.explain.ranges import side_by_side
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
    shown = rank_trials(facts, found)[:AXES]
    height = 4.6
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    axes = figure.add_axes((0.05, 0.03, 0.865, 0.82))
    best = "" if facts.best is None else facts.best.name
    sign = 1 if facts.objective.maximise else -1
    order = sorted(facts.final, key=lambda name: (sign * facts.final[name], name == best))
    low, high = value_limits([facts.final[name] for name in order], facts.objective.maximise)
    norm = Normalize(low, high, clip=True)
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
        LineCollection(
            lines, colors=tints(norm([facts.final[name] for name in order])),
            linewidths=1.1, alpha=clear,
        )
    )  # fmt: skip
    bottom = ABSENT - 0.04 if any(p.when for p in shown) else -0.03
    axes.plot(*np.array(lines[-1]).T, color=INK, lw=2.2, label=f"best: {order[-1]}")
    for place, parameter in enumerate(shown):
        _axis(axes, place, parameter)
    axes.plot([len(shown)] * 2, [0, 1], color=FAINT, lw=1.0, zorder=3)
    axes.set_xlim(-0.35, len(shown) + 0.02)
    axes.set_ylim(bottom, 1.02)
    names = [p.key.replace(".", "\n", 1) for p in shown]
    axes.set_xticks(range(len(shown)), names, fontsize=8.5, color=INK)
    axes.xaxis.tick_top()
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if any(p.when for p in shown):
        axes.text(-0.33, ABSENT, "not\nsearched", fontsize=7.5, color=FAINT, va="center")
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap=tints),
        cax=figure.add_axes(
            (0.917, 0.03 + 0.82 * -bottom / (1.02 - bottom), 0.012, 0.82 / (1.02 - bottom))
        ),
        ticks=MaxNLocator(6),
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, length=2, colors=FAINT, labelcolor=INK)
    bar.set_label(title_of(facts.objective), fontsize=9, color=INK)
    figure.legend(loc="upper right", bbox_to_anchor=(0.992, 1.0), frameon=False, fontsize=9,
                  labelcolor=INK)  # fmt: skip
    return figure


def _axis(axes: Axes, place: int, parameter: Parameter) -> None:
    """One of the parallel axes, with the ends of the range or all choices beside it."""
    axes.plot([place, place], [0, 1], color=FAINT, lw=1.0, zorder=3)
    of = parameter.distribution
    choices = side_by_side(parameter)
    if choices is None:
        ends = (of.low, of.high)  # type: ignore[union-attr]
        marks = [(0.0, value_text(ends[0])), (1.0, value_text(ends[1]))]
    else:
        last = max(len(choices) - 1, 1)
        marks = [(number / last, text) for text, number in choices.items()]
    for height, text in marks:
        axes.text(
            place - 0.03, height, text, fontsize=7.5, color=INK, ha="right", va="center", zorder=6,
            bbox={"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _height(parameter: Parameter, suggestion: Mapping[str, Any], aside: float) -> float:
    """Where a trial passes a parameter's axis: 0 to 1, below where it does not have it."""
    if parameter.key not in suggestion:
        return ABSENT + aside
    value, of = suggestion[parameter.key], parameter.distribution
    choices = side_by_side(parameter)
    if choices is not None:
        return choices.get(value_text(value), 0) / max(len(choices) - 1, 1) + aside
    low, high = of.low, of.high  # type: ignore[union-attr]
    if low == high:
        return 0.5
    if of.log:  # type: ignore[union-attr]
        low, high, value = np.log([low, high, value])
    return float(np.clip((value - low) / (high - low), 0, 1))
