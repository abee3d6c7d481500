"""Pictures of one separated subject: images beside the truth, and regional curves.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. Every function returns a
matplotlib figure that no global state knows of (:mod:`dtsinn.plots.style`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.data.body import body_mask, mean_curves, truth_of
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.plots.style import (
    ACTIVITY,
    DPI,
    ERROR,
    FAINT,
    INK,
    colour_bar,
    heading,
    injection_line,
    minutes_text,
    region_style,
    shown_frames,
    text_width,
    tidy,
)
from dtsinn.plots.views import (
    decay_factors,
    left_of,
    readout_regions,
    setting,
    show_frame,
    view_of,
    who,
)

COLUMNS = 6
"""Frames shown by :func:`separation`."""
CURVES = 6
"""Regions of each tracer that :func:`regional_curves` shows."""


def separation(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Truth, prediction and error of both tracers in several frames of the fullest slice.

    All are corrected for decay since the tracer's injection, or late frames would be black; a
    tracer has one scale for its truth and its prediction, and one for its errors, of all frames.

    Args:
        samples: One subject, with the truth.
        predicted_NKTYX: The answer, kBq/mL, not decay-corrected.
        header: Of its store.
    """
    view = view_of(samples, header)
    frames = shown_frames(header.protocol.frames, COLUMNS)
    factor_KTYX = np.stack([decay_factors(header, k)[frames] for k in (0, 1)])[..., None, None]
    truth_KTYX, answer_KTYX = (
        factor_KTYX * np.stack([view.images(image_NKTYX[:, k], frames) for k in (0, 1)])
        for image_NKTYX in (truth_of(samples), predicted_NKTYX)
    )
    across = 1.32
    down = across * view.aspect
    left = left_of([name.upper() for name in header.tracers])
    width = max(left + len(frames) * across, 6.0) + 0.95
    figure = Figure(figsize=(width, 6 * down + 1.35), dpi=DPI)
    inches = figure.get_size_inches()
    grid = figure.add_gridspec(
        7,
        len(frames),
        height_ratios=[1, 1, 1, 0.16, 1, 1, 1],
        left=left / inches[0],
        right=(left + len(frames) * across) / inches[0],
        bottom=0.12 / inches[1],
        top=1 - 0.82 / inches[1],
        wspace=0.03,
        hspace=0.0,
    )
    for tracer in (0, 1):
        rows = (truth_KTYX[tracer], answer_KTYX[tracer])
        _tracer_rows(figure, grid, 4 * tracer, rows, view.body, header, tracer)
    for column, frame in enumerate(frames):
        span = minutes_text(
            header.protocol.frame_start[frame], header.protocol.frame_duration[frame]
        )
        figure.axes[column].set_title(f"{span} min", fontsize=9, color=INK, pad=5)
    said = f"{view.where}   ·   decay-corrected   ·   {setting(header)}"
    heading(figure, view.who, said)
    return figure


def regional_curves(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Time-activity curves of each tracer's own regions: lines are the truth, markers the answer.

    They are not decay-corrected.
    """
    protocol = header.protocol
    regions_NYX, names = samples.regions_NYX, header.region_names
    if regions_NYX is None:
        regions_NYX = body_mask(samples, protocol).astype(np.uint8)
        names = ("outside", "body")
    truth_NKTYX = truth_of(samples)
    minute_T = (np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2) / 60
    kept = [
        list(readout_regions(regions_NYX, names, [name], CURVES).values())
        for name in header.tracers
    ]
    named = list(dict.fromkeys(name for own in kept for name in own))
    legend_width = 0.75 + max(1.0, *(text_width(name, 9) for name in named))
    width = 9.5 + legend_width
    figure = Figure(figsize=(width, 4.3), dpi=DPI)
    right = 1 - legend_width / width
    places = {"left": 0.7 / width, "right": right, "bottom": 0.13, "top": 0.78, "wspace": 0.16}
    panels: list[Axes] = list(figure.subplots(1, 2, gridspec_kw=places))
    lines = {}
    for tracer, axes in enumerate(panels):
        true, answered = (
            mean_curves(image[:, tracer], regions_NYX, names)
            for image in (truth_NKTYX, predicted_NKTYX)
        )
        for name in kept[tracer]:
            style = region_style(name)
            lines[name] = axes.plot(minute_T, true[name], lw=1.5, label=name, **style)[0]
            marks: dict[str, Any] = {
                "ms": 4,
                "mfc": "none",
                "mew": 1.1,
                "color": style["color"],
                "zorder": 3,
            }
            axes.plot(minute_T, answered[name], "o", **marks)
        _curve_axes(axes, header, tracer)
    panels[0].set_ylabel("activity, kBq/mL", color=INK, fontsize=9)
    legend = panels[1].legend(
        handles=[lines[name] for name in named],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.02),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.8,
        title="line: truth\ncircle: prediction\n",
        title_fontsize=8.5,
        alignment="left",
    )
    legend.get_title().set_color(FAINT)
    said = f"regional curves, not decay-corrected   ·   {setting(header)}"
    heading(figure, who(samples), said)
    return figure


def _curve_axes(axes: Axes, header: StoreHeader, tracer: int) -> None:
    injection = header.protocol.injection_time[tracer] / 60
    top = axes.get_ylim()[1]
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), top * 1.02)
    late = injection > 0.7 * header.protocol.end / 60  # to its right there is no room
    injection_line(axes, injection, "injection", side="left" if late else "right")
    axes.set_xlim(-1, header.protocol.end / 60)
    axes.set_xlabel("time since the start of the scan, min", color=INK, fontsize=9)
    axes.set_title(header.tracers[tracer].upper(), loc="left", fontsize=10.5, color=INK)
    tidy(axes)


def _tracer_rows(
    figure: Figure,
    grid: Any,
    top_row: int,
    rows: tuple[NDArray[Any], NDArray[Any]],
    body_YX: NDArray[np.bool_],
    header: StoreHeader,
    tracer: int,
) -> None:
    """Three rows of images (truth, prediction, error) and their two colour bars."""
    truth_TYX, answer_TYX = rows
    error_TYX = answer_TYX - truth_TYX
    shown_T = np.isfinite(truth_TYX).all(axis=(1, 2))
    brightest = max(float(truth_TYX[shown_T][:, body_YX].max(initial=0.0)), 1e-6)
    # Scaled to the bulk of the errors: a single pixel at an edge would turn the rest black.
    errors = np.append(np.abs(error_TYX[shown_T][:, body_YX]), 0.0)
    worst = max(float(np.percentile(errors, 99.5)), brightest * 1e-3)
    shades = (
        (truth_TYX, ACTIVITY, Normalize(0, brightest), "truth"),
        (answer_TYX, ACTIVITY, Normalize(0, brightest), "prediction"),
        (error_TYX, ERROR, Normalize(-worst, worst), "error"),
    )
    aspect = header.voxel_size[0] / header.voxel_size[1]
    first_of_row = []
    for row, (image_TYX, colours, norm, name) in enumerate(shades):
        for column, image_YX in enumerate(image_TYX):
            axes = figure.add_subplot(grid[top_row + row, column])
            show_frame(axes, image_YX, colours, norm, aspect)
            if column == 0:
                first_of_row.append(axes)
                axes.text(
                    -0.08,
                    0.5,
                    name,
                    transform=axes.transAxes,
                    ha="right",
                    va="center",
                    fontsize=9,
                    color=INK,
                )
    first_of_row[0].text(
        -0.08,
        0.86,
        header.tracers[tracer].upper(),
        transform=first_of_row[0].transAxes,
        ha="right",
        va="center",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    boxes = [axes.get_position() for axes in first_of_row]
    last = figure.axes[-1].get_position().x1
    left = last + 0.12 / float(figure.get_size_inches()[0])
    activity, error = (left, boxes[1].y0, boxes[0].y1), (left, boxes[2].y0, boxes[2].y1)
    colour_bar(figure, shades[0][2], ACTIVITY, activity, "kBq/mL")
    colour_bar(figure, shades[2][2], ERROR, error, "kBq/mL")
