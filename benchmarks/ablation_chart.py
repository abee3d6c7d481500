"""The chart of the ablation: how well each variant separates, and how well its inverse mixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.plots.style import INK, SERIES, grid_lines, heading, png, tidy


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant; a value for each seed."""

    name: str
    psnr: Sequence[float]
    """Test subjects, both tracers, dB."""
    mixing_error: Sequence[float]
    """Relative error of mixing the true tracers, a fraction."""


def ablation_chart(rows: Sequence[Row], steps: int) -> bytes:
    """Two dot charts side by side as PNG: one row a variant, ticks the seeds, dots their means."""
    height = 0.36 * len(rows) + 1.5
    figure = Figure(figsize=(10.0, height))
    figure.subplots_adjust(
        left=0.27, right=0.98, top=1 - 0.72 / height, bottom=0.62 / height, wspace=0.08
    )
    left, right = figure.subplots(1, 2)
    _dots(left, [row.psnr for row in rows], SERIES[0])
    _dots(right, [[100 * error for error in row.mixing_error] for row in rows], SERIES[1])
    left.set_yticks(range(len(rows)), [row.name for row in rows])
    right.set_yticks([])
    right.set_xlim(0, 108 * max(max(row.mixing_error) for row in rows))
    left.set_xlabel("PSNR on unseen subjects, dB", fontsize=9.5, color=INK)
    right.set_xlabel("error of mixing the true tracers, %", fontsize=9.5, color=INK)
    heading(
        figure,
        "What the backward loss teaches",
        f"{steps} steps each; dots: mean of the seeds, ticks: single seeds",
    )
    return png(figure, dpi=150)


def _dots(axes: Axes, values: Sequence[Sequence[float]], colour: str) -> None:
    for place, seeds in enumerate(values):
        axes.plot(list(seeds), [place] * len(seeds), "|", ms=12, mew=1.2, color=colour)
        axes.plot(float(np.mean(seeds)), place, "o", ms=8, mec="white", mew=1, color=colour)
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.margins(x=0.08)
    grid_lines(axes, "x")
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
