"""The chart of a set: PSNR of each method, both tracers, every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dtsinn.plots.style import INK, SERIES, grid_lines, heading, png, tidy

LINK = "#c9d2dc"
BAND = "#eef4fb"


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One row: a method and its seeds."""

    name: str
    seeds: Sequence[tuple[float, ...]]
    """Per seed the PSNR of each tracer, dB."""
    ours: bool = False
    """Whether the row is highlighted."""


def dot_chart(rows: Sequence[Dots], tracers: tuple[str, str], title: str) -> bytes:
    """A dot chart as PNG: one row a method, ordered as given, the mean written beside it."""
    height = 0.46 * len(rows) + 1.5
    figure = Figure(figsize=(9.2, height))
    figure.subplots_adjust(left=0.28, right=0.9, top=1 - 0.88 / height, bottom=0.6 / height)
    axes = figure.add_subplot()
    for place, row in enumerate(rows):
        if row.ours:
            axes.axhspan(place - 0.42, place + 0.42, color=BAND, zorder=0, lw=0)
        _row(axes, place, row)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.margins(x=0.06)
    axes.set_xlabel("PSNR on unseen subjects, dB", fontsize=9.5, color=INK)
    grid_lines(axes, "x")
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=INK)
    heading(
        figure, title, "dots: mean of the seeds; ticks: single seeds; right: mean of both tracers"
    )
    handles = [
        axes.plot([], [], "o", ms=8, color=colour, label=tracer.upper())[0]
        for tracer, colour in zip(tracers, SERIES, strict=False)
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.99, 1 - 0.3 / height),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    return png(figure, dpi=150)


def _row(axes: Axes, place: int, row: Dots) -> None:
    psnr = np.array(row.seeds)
    means = psnr.mean(axis=0)
    axes.plot([means.min(), means.max()], [place, place], color=LINK, lw=3, zorder=1)
    for tracer, colour in zip(range(psnr.shape[1]), SERIES, strict=False):
        if len(psnr) > 1:
            axes.plot(psnr[:, tracer], [place] * len(psnr), "|", ms=13, mew=1.2, color=colour)
        axes.plot(means[tracer], place, "o", ms=9, mec="white", mew=1, color=colour, zorder=3)
    axes.annotate(
        f"{means.mean():.1f} dB".replace("-", "−"),
        (1.015, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=10,
        color=INK,
    )
