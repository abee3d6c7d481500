"""Dot charts: a row for each method, a tick for each seed, a dot for their mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from dtsinn.plots.style import INK, grid_lines, tidy

X_LABEL = "PSNR on unseen subjects, dB"


def draw_dots(axes: Axes, place: int, seeds: Sequence[float], colour: str) -> None:
    """Draw one row: a tick for each seed where there are several, and their mean."""
    if len(seeds) > 1:
        axes.plot(list(seeds), [place] * len(seeds), "|", ms=13, mew=1.2, color=colour)
    axes.plot(float(np.mean(seeds)), place, "o", ms=9, mec="white", mew=1, color=colour, zorder=3)


def frame_rows(axes: Axes, names: Sequence[str], label: str) -> None:
    """Name the rows from the top to the bottom, and the axis below them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.margins(x=0.08)
    axes.set_xlabel(label, fontsize=9.5, color=INK)
    grid_lines(axes, "x")
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
