"""Charts of a search over its parameters one by one: slices, importances, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from optuna.distributions import CategoricalDistribution

from dtsinn.core.display import value_text
from dtsinn.plots.style import DPI, FAINT, INK, SERIES, grid_lines, tidy
from dtsinn.search.explain.facts import Facts
from dtsinn.search.explain.importance import Importances, rank_trials
from dtsinn.search.explain.marks import WIDTH, draw_dots, draw_legend, value_limits
from dtsinn.search.explain.naming import title_of
from dtsinn.search.explain.ranges import side_by_side
from dtsinn.search.space.space import Parameter

COLUMNS = 4
"""Of slices side by side."""


def explained(found: Importances) -> Figure:
    """The share of the variance that each parameter explains, and what chance gives."""
    rows = found.rows
    height = 0.9 + 0.3 * len(rows)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    names = [f"{row.key} *" if row.condition else row.key for row in rows]
    left = min(0.03 + 0.0074 * max(map(len, names)), 0.4)
    axes = figure.add_axes((left, 0.5 / height, 0.975 - left, 1 - 0.86 / height))
    places = range(len(rows))
    colours = [SERIES[0] if row.matters else "#9aa5b1" for row in rows]
    axes.barh(places, [100 * row.share for row in rows], height=0.62, color=colours)
    axes.plot([100 * row.chance for row in rows], places, "|", ms=11, mew=1.8, color=SERIES[1])
    axes.set_yticks(places, names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, max(8.0, *(108 * max(row.share, row.chance) for row in rows)))
    axes.set_xlabel("variance that the parameter explains alone, %", fontsize=9, color=INK)
    grid_lines(axes, "x")
    tidy(axes)
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.spines["left"].set_visible(False)
    handles = [
        axes.plot([], [], "s", color=SERIES[0], label="more than chance")[0],
        axes.plot([], [], "s", color="#9aa5b1", label="no more than chance")[0],
        axes.plot([], [], "|", ms=11, mew=1.8, color=SERIES[1], label="most by chance")[0],
    ]
    if any(row.condition for row in rows):
        handles += axes.plot([], [], " ", label="* among the trials that have it")
    figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=(0.992, 1.0), ncols=len(handles),
        frameon=False, fontsize=9, labelcolor=INK, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip
    return figure


def slices(facts: Facts, found: Importances) -> Figure:
    """The objective against each parameter, trial by trial."""
    shown = rank_trials(facts, found)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    height = 0.75 + 2.2 * rows
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    panels = figure.subplots(
        rows, columns, squeeze=False, sharey=True,
        gridspec_kw={"left": 0.065, "right": 0.985, "bottom": 0.55 / height,
                     "top": 1 - 0.62 / height, "wspace": 0.08, "hspace": 0.42},
    )  # fmt: skip
    limits = value_limits(list(facts.final.values()), facts.objective.maximise)
    for number, axes in enumerate(panels.flat):
        if number >= len(shown):
            axes.set_axis_off()
            continue
        _slice(axes, facts, shown[number], limits)
        if number % columns:
            axes.tick_params(axis="y", length=0)
    for row in panels:
        row[0].set_ylabel(title_of(facts.objective), fontsize=8.5, color=INK)
    draw_legend(figure, facts, list(facts.final), [])
    return figure


def pareto(facts: Facts) -> Figure:
    """Trials between two objectives at a time, and those that nobody dominates."""
    others = facts.objectives[1:]
    columns = min(len(others), 2)
    rows = -(-len(others) // columns)
    height = 0.5 + 3.6 * rows
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    panels = figure.subplots(
        rows, columns, squeeze=False, sharey=True,
        gridspec_kw={"left": 0.07, "right": 0.985, "bottom": 0.52 / height,
                     "top": 1 - 0.42 / height, "wspace": 0.08, "hspace": 0.3},
    )  # fmt: skip
    limits = value_limits([own[0] for own in facts.values.values()], facts.objective.maximise)
    for place, axes in enumerate(panels.flat):
        if place >= len(others):
            axes.set_axis_off()
            continue
        wide = value_limits(
            [own[place + 1] for own in facts.values.values()], others[place].maximise
        )
        dots = {
            name: (float(np.clip(own[place + 1], *wide)), own[0])
            for name, own in facts.values.items()
        }
        draw_dots(axes, facts, dots, limits)
        front = sorted(dots[name] for name in facts.front)
        style: dict[str, Any] = {"color": INK, "lw": 1.2, "zorder": 4}
        if len(others) == 1:
            # What the front dominates is bounded by a stair, not by straight lines.
            stair = "steps-pre" if others[place].maximise else "steps-post"
            axes.plot(*np.array(front).T, drawstyle=stair, **style)
        axes.scatter(*np.array(front).T, s=52, fc="none", ec=INK, lw=1.3, zorder=5)
        axes.set_ylim(*limits)
        axes.set_xlim(*wide)
        axes.set_xlabel(title_of(others[place]), fontsize=9, color=INK)
        grid_lines(axes, "y")
        tidy(axes)
    panels[0][0].set_ylabel(title_of(facts.objective), fontsize=9, color=INK)
    ring = panels[0][0].plot(
        [], [], "o", ms=7, mfc="none", mec=INK, label=f"{len(facts.front)} on the Pareto front"
    )
    draw_legend(figure, facts, list(facts.values), ring)
    return figure


def _slice(axes: Axes, facts: Facts, parameter: Parameter, limits: tuple[float, float]) -> None:
    of, key = parameter.distribution, parameter.key
    places = side_by_side(parameter)
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
    axes.set_ylim(*limits)
    if places is not None:
        axes.set_xticks(list(places.values()), _short(list(places)))
        axes.set_xlim(-0.5, len(places) - 0.5)
    elif not isinstance(of, CategoricalDistribution) and of.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
        axes.xaxis.set_major_formatter(lambda value, _: value_text(float(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    if places is None:
        axes.set_xlim(*_with_margin(parameter))
    if dots:
        best = facts.best
        if best is not None and best.name in dots:
            axes.plot(*dots[best.name], "o", ms=8, mfc="none", mec=INK, mew=1.4, zorder=5)
    else:
        axes.text(0.5, 0.5, "no trial has it", transform=axes.transAxes, ha="center", color=FAINT,
                  fontsize=9)  # fmt: skip
    axes.set_title(key, loc="left", fontsize=9, color=INK, pad=4)
    grid_lines(axes, "y")
    tidy(axes)
    if places is not None and len(places) > COLUMNS:
        axes.tick_params(axis="x", labelsize=7)


def _with_margin(parameter: Parameter) -> tuple[float, float]:
    """Both ends of a range of numbers, with a little air on its own scale."""
    of = parameter.distribution
    low, high = float(of.low), float(of.high)  # type: ignore[union-attr]
    if of.log:  # type: ignore[union-attr]
        air = (high / low) ** 0.05
        return low / air, high * air
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air


def _short(names: Sequence[str]) -> list[str]:
    """Names of choices that fit side by side below a slice."""
    most = max(int(36 / max(len(names), 1)), 5)
    return [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
