"""Pictures of a separated scan: mixture and both tracers, curves, and what the sum leaves.

Shape letters: K tracer (2), T frame, R region, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from dtsinn.core.display import minutes_text
from dtsinn.core.protocol import Protocol
from dtsinn.plots.style import (
    ACTIVITY,
    DPI,
    ERROR,
    FAINT,
    INK,
    REGION_COLOURS,
    SERIES,
    body_window,
    colour_bar,
    grid_lines,
    injection_line,
    show_image,
    shown_frames,
    tidy,
)

FloatArray = npt.NDArray[np.floating[Any]]
COLUMNS = 6
"""Frames that are shown."""
ROWS = 12
"""Regions whose curves and residuals are shown, the largest first."""


def draw_slice(
    images_3TYX: FloatArray,
    body_YX: npt.NDArray[np.bool_],
    names: Sequence[str],
    factor_3T: FloatArray,
    protocol: Protocol,
    aspect: float,
) -> Figure:
    """Mixture and both tracers of one slice in several frames, left and right marked.

    Args:
        images_3TYX: Mixture, first and second tracer, kBq/mL, columns along RAS x.
        body_YX: The body.
        names: Of the three.
        factor_3T: By which each frame is multiplied: the tracers' decay correction.
        protocol: Frames and injections.
        aspect: Height of a pixel over its width.
    """
    window = body_window(body_YX)
    rows, columns = body_YX[window].shape
    frames = shown_frames(protocol.frames, COLUMNS)
    across, left, top = 1.4, 1.0, 0.34
    down = across * rows / columns * aspect
    width, height = left + len(frames) * across + 0.95, 3 * down + top + 0.1
    figure = Figure(figsize=(width, height), dpi=DPI)
    for row, name in enumerate(names):
        shown = images_3TYX[row][frames][:, *window] * factor_3T[row][frames][:, None, None]
        norm = Normalize(0.0, max(float(np.percentile(shown, 99.8)), 1e-6))
        upper = 1 - (top + row * down) / height
        for column, frame in enumerate(frames):
            place = (
                (left + column * across) / width,
                upper - 0.96 * down / height,
                0.97 * across / width,
                0.96 * down / height,
            )
            axes = figure.add_axes(place)
            show_image(axes, shown[column], ACTIVITY, norm, aspect)
            if row == 0:
                start, duration = protocol.frame_start[frame], protocol.frame_duration[frame]
                axes.set_title(
                    f"{minutes_text(start, duration)} min", fontsize=8.5, color=INK, pad=4
                )
            if column == 0:
                for text, x, side in (("L", 0.03, "left"), ("R", 0.97, "right")):
                    axes.text(
                        x, 0.04, text, transform=axes.transAxes, ha=side, color="white", fontsize=9
                    )  # fmt: skip
        middle = upper - down / 2 / height
        figure.text(0.12 / width, middle, name, fontsize=11, weight="bold", color=INK, va="center")
        edge = (left + len(frames) * across + 0.06) / width
        colour_bar(figure, norm, ACTIVITY, (edge, upper - down / height, upper), "kBq/mL")
    return figure


def draw_curves(
    curves: Sequence[tuple[str, Sequence[str], FloatArray, FloatArray]], unit: str
) -> Figure:
    """Regional curves of several images, side by side.

    Args:
        curves: Title, regions, minutes [T] and values [R, T] of each.
        unit: Of the values.
    """
    figure = Figure(figsize=(10.5, 3.6), dpi=DPI)
    for column, (title, regions, minute_T, value_RT) in enumerate(curves):
        axes = figure.add_subplot(1, len(curves), column + 1)
        tidy(axes)
        grid_lines(axes, "y")
        for place, (region, value_T) in enumerate(zip(regions[:ROWS], value_RT, strict=False)):
            axes.plot(minute_T, value_T, marker="o", ms=2.5, lw=1.2, label=region,
                      color=REGION_COLOURS[place % 10], ls="-" if place < 10 else "--")  # fmt: skip
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("min", fontsize=9, color=INK)
        if column == 0:
            axes.set_ylabel(unit, fontsize=9, color=INK)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=8, frameon=False, labelcolor=INK)
    longest = max((len(name) for name in labels), default=4)
    figure.tight_layout(rect=(0, 0, 1 - 0.02 - 0.007 * min(longest + 5, 30), 1))
    return figure


def draw_residuals(
    percent_RT: FloatArray, regions: Sequence[str], protocol: Protocol, tracers: Sequence[str]
) -> Figure:
    """What the answers' sum misses the mixture by, in percent, by region and frame."""
    shown_RT = np.nan_to_num(percent_RT[:ROWS])
    most = max(float(np.abs(shown_RT).max()), 1.0)
    height = 0.9 + 0.26 * len(shown_RT)
    figure = Figure(figsize=(10.0, height + 0.5), dpi=DPI)
    axes = figure.add_axes((0.16, 0.45 / (height + 0.5), 0.70, (height - 0.3) / (height + 0.5)))
    norm = Normalize(-most, most)
    edges = np.array(protocol.frame_edges) / 60
    axes.pcolormesh(edges, np.arange(len(shown_RT) + 1), shown_RT, cmap=ERROR, norm=norm)
    axes.invert_yaxis()
    axes.set_yticks(np.arange(len(shown_RT)) + 0.5, list(regions[:ROWS]), fontsize=8.5)
    axes.set_xlabel("min", fontsize=9, color=INK)
    axes.tick_params(colors=FAINT, labelcolor=INK, length=0)
    for k, time in enumerate(protocol.injection_time):
        injection_line(axes, time / 60, tracers[k].upper(), colour=SERIES[k], row=k)
    low = 0.45 / (height + 0.5)
    colour_bar(figure, norm, ERROR, (0.88, low, low + (height - 0.3) / (height + 0.5)), "%")
    return figure
