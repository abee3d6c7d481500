"""What the charts of a search share: figures, colours and markers of outcomes, limits, legends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dtsinn.plots.style import DPI, FAINT, INK, SERIES, grid_lines, tidy
from dtsinn.search.explain.facts import OUTCOMES, Facts

COLOURS = {
    "finished": SERIES[0],
    "pruned": FAINT,
    "infeasible": SERIES[1],
    "failed": SERIES[3],
    "killed": SERIES[5],
    "running": SERIES[4],
}
"""Colours of outcomes; grey is the usual end."""
MARKERS = {
    "finished": "o",
    "pruned": "v",
    "infeasible": "X",
    "failed": "s",
    "killed": "D",
    "running": ">",
}
"""Markers of outcomes, for those who do not see the colours."""
CROWD = 200
"""Trials from which on markers have no rims."""
WIDTH = 11.0
"""Width of all figures, inch."""


def new_figure(height: float) -> Figure:
    """An empty figure of a height in inch, in which everything finds its place by itself."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)  # inch
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout=layout)


def draw_dots(
    axes: Axes,
    facts: Facts,
    dots: Mapping[str, tuple[float, float]],
    limits: tuple[float, float],
) -> None:
    """A marker per trial by outcome; what lies outside the limits stands at their edge, hollow."""
    size = float(np.clip(140 * max(len(dots), 1) ** -0.5, 7, 34))
    for outcome, marker in MARKERS.items():
        own = [dot for name, dot in dots.items() if facts.outcome_of(name) == outcome]
        if not own:
            continue
        across, heights = np.array(own).T
        inside = (heights >= limits[0]) & (heights <= limits[1])
        edge = np.clip(heights, *limits)
        style: dict[str, Any] = {
            "s": size,
            "marker": marker,
            "color": COLOURS[outcome],
            "zorder": 3,
        }
        rim = 0.5 if len(dots) < CROWD else 0.0
        axes.scatter(across[inside], edge[inside], lw=rim, ec="white", alpha=0.85, **style)
        style |= {"facecolors": "none", "clip_on": False}
        axes.scatter(across[~inside], edge[~inside], lw=1.0, **style)
    axes.set_ylim(*limits)


def choose_value_limits(values: Sequence[float], maximise: bool) -> tuple[float, float]:
    """Ends of an axis that shows the better values well; the worst ones may lie outside."""
    found = np.asarray(values, dtype=float)
    low, high = (float(part) for part in (found.min(), found.max()))
    quarter, half = np.quantile(found, [0.25, 0.5] if maximise else [0.75, 0.5])
    reach = 4 * abs(half - quarter) + 1e-9
    if maximise:
        low = max(low, min(quarter - reach, high - 1e-9))
    else:
        high = min(high, max(quarter + reach, low + 1e-9))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def finish(axes: Axes, across: str = "", up: str = "") -> None:
    """The names of both axes, and the look that all charts share."""
    axes.set_xlabel(across, fontsize=9, color=INK)
    axes.set_ylabel(up, fontsize=9, color=INK)
    grid_lines(axes, "y")
    tidy(axes)


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Names of what is drawn, in a line above everything."""
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.3,
        columnspacing=1.4,
    )


def draw_outcome_legend(
    figure: Figure, facts: Facts, names: Iterable[str], extra: Sequence[Artist] = ()
) -> None:
    """The outcomes that occur among the named trials with their numbers."""
    counts = Counter(map(facts.outcome_of, names))
    axes = figure.axes[0]
    legend(
        figure,
        [
            *extra,
            *(
                axes.plot([], [], ls="", marker=MARKERS[end], ms=6, mew=0, color=COLOURS[end],
                          label=f"{counts[end]} {end}")[0]
                for end in OUTCOMES
                if counts[end]
            ),
        ],
    )  # fmt: skip
