"""Charts of a search over its parameters: slices, importances, the front, and all in parallel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dtsinn.core.display import value_text
from dtsinn.plots.style import FAINT, INK, SERIES, grid_lines, tidy
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances, rank_parameters
from dtsinn.search.explain.marks import (
    choose_value_limits,
    draw_dots,
    draw_outcome_legend,
    finish,
    legend,
    new_figure,
)
from dtsinn.search.explain.ranges import find_place, place_side_by_side
from dtsinn.search.space.space import Parameter

COLUMNS = 4
"""Number of slices side by side."""
NO_MORE = "#9aa5b1"
"""Colour of what explains no more than chance does."""


def draw_importances(found: Importances) -> Figure:
    """The share of the variance that each parameter explains, and what chance gives."""
    rows = found.rows
    figure = new_figure(0.9 + 0.3 * len(rows))
    axes = figure.subplots()
    places = range(len(rows))
    colours = [SERIES[0] if row.matters else NO_MORE for row in rows]
    axes.barh(places, [100 * row.share for row in rows], height=0.62, color=colours)
    chance = axes.plot(
        [100 * row.chance for row in rows], places, "|", ms=11, mew=1.8, color=SERIES[1],
        label="most by chance",
    )  # fmt: skip
    axes.set_yticks(places, [f"{row.key} *" if row.condition else row.key for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(8.0, *(108 * max(row.share, row.chance) for row in rows)))
    axes.set_xlabel("variance that the parameter explains alone, %", fontsize=9, color=INK)
    grid_lines(axes, "x")
    tidy(axes)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.spines["left"].set_visible(False)
    handles = [
        axes.plot([], [], "s", color=SERIES[0], label="more than chance")[0],
        axes.plot([], [], "s", color=NO_MORE, label="no more than chance")[0],
        *chance,
    ]
    if any(row.condition for row in rows):
        handles += axes.plot([], [], " ", label="* among the trials that have it")
    legend(figure, handles)
    return figure


def draw_slices(facts: Facts, found: Importances) -> Figure:
    """The objective against each parameter, trial by trial."""
    shown = rank_parameters(facts, found)
    figure, panels = _make_panels(len(shown), COLUMNS, 2.2)
    limits = choose_value_limits(list(facts.final.values()), facts.objective.maximise)
    for number, (axes, parameter) in enumerate(zip(panels, shown, strict=True)):
        _draw_slice(axes, facts, parameter, limits)
        if number % COLUMNS:
            axes.tick_params(axis="y", length=0)
        else:
            axes.set_ylabel(facts.objective.label, fontsize=8.5)
    draw_outcome_legend(figure, facts, facts.final)
    return figure


def draw_pareto(facts: Facts) -> Figure:
    """Trials between two objectives at a time, and those that nobody dominates."""
    others = facts.objectives[1:]
    figure, panels = _make_panels(len(others), 2, 3.6)
    limits = choose_value_limits(
        [own[0] for own in facts.values.values()], facts.objective.maximise
    )
    for place, (axes, other) in enumerate(zip(panels, others, strict=True), 1):
        wide = choose_value_limits([own[place] for own in facts.values.values()], other.maximise)
        dots = {
            name: (float(np.clip(own[place], *wide)), own[0]) for name, own in facts.values.items()
        }
        draw_dots(axes, facts, dots, limits)
        front = zip(*sorted(dots[name] for name in facts.front), strict=True)
        across, heights = map(np.array, front)
        if len(others) == 1:
            # What the front dominates is bounded by a stair, not by straight lines.
            stair = "steps-pre" if other.maximise else "steps-post"
            axes.plot(across, heights, drawstyle=stair, color=INK, lw=1.2, zorder=4)
        axes.scatter(across, heights, s=52, fc="none", ec=INK, lw=1.3, zorder=5)
        axes.set_xlim(*wide)
        finish(axes, other.label)
    panels[0].set_ylabel(facts.objective.label)
    ring = panels[0].plot(
        [], [], "o", ms=7, mfc="none", mec=INK, label=f"{len(facts.front)} on the Pareto front"
    )
    draw_outcome_legend(figure, facts, facts.values, ring)
    return figure


def _make_panels(count: int, most: int, height: float) -> tuple[Figure, list[Axes]]:
    """So many panels in rows of at most ``most``, each as high as that in inch."""
    columns = min(count, most)
    rows = -(-count // columns)
    figure = new_figure(0.5 + height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, list(panels[:count])


def _draw_slice(
    axes: Axes, facts: Facts, parameter: Parameter, limits: tuple[float, float]
) -> None:
    of, key = parameter.distribution, parameter.key
    places = place_side_by_side(parameter)
    rng = np.random.default_rng(0)
    dots = {}
    for name, value in facts.final.items():
        suggestion = facts.history.trials[name].suggestion
        if key not in suggestion:
            continue
        across = suggestion[key]
        if places is not None:
            # A little to the side, so that trials with the same choice are told apart.
            across = places.get(value_text(across), 0) + float(rng.uniform(-0.16, 0.16))
        dots[name] = (float(across), value)
    draw_dots(axes, facts, dots, limits)
    finish(axes)
    if places is not None:
        axes.set_xticks(list(places.values()), _shorten_names(list(places)))
        axes.set_xlim(-0.5, len(places) - 0.5)
    else:
        axes.plot([of.low, of.high], [limits[0]] * 2, alpha=0)  # type: ignore[union-attr]
        axes.xaxis.set_major_locator(MaxNLocator(4))
        if of.log:  # type: ignore[union-attr]
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
            axes.xaxis.set_major_formatter(lambda value, _: value_text(float(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
    if facts.best is not None and facts.best.name in dots:
        axes.plot(*dots[facts.best.name], "o", ms=8, mfc="none", mec=INK, mew=1.4, zorder=5)
    if not dots:
        axes.text(0.5, 0.5, "no trial has it", transform=axes.transAxes, ha="center", color=FAINT,
                  fontsize=9)  # fmt: skip
    axes.set_title(key, loc="left", fontsize=9, color=INK, pad=4)
    if places is not None and len(places) > COLUMNS:
        axes.tick_params(axis="x", labelsize=7)


def _shorten_names(names: Sequence[str]) -> list[str]:
    """Names of choices that fit side by side below a slice."""
    most = max(int(36 / max(len(names), 1)), 5)
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]


AXES = 10
"""Parameters that a chart of parallel axes holds at most; those that explain most."""
ABSENT = -0.13
"""Where a trial passes an axis that it does not have, below the axis from 0 to 1."""
ASIDE = 0.02
"""A little up or down, so that trials with the same choice are told apart."""
COLOURS = "viridis"
"""Perceptually uniform, and told apart by people with colour-blindness."""


def draw_parallel(facts: Facts, found: Importances) -> Figure:
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
