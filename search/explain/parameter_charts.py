"""Charts of a search over its parameters one by one: slices, importances, and the front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
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
from dtsinn.search.explain.ranges import place_side_by_side
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
