"""Pictures of one separated subject: images beside the truth, and regional curves.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. Every function returns a
matplotlib figure that no global state knows of (:mod:`dtsinn.core.figures`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.figures import (
    ACTIVITY,
    DPI,
    ERROR,
    FAINT,
    INK,
    SERIES,
    body_window,
    colour_bar,
    heading,
    injection_line,
    minutes_text,
    show_image,
    shown_frames,
    tidy,
)
from dtsinn.data.body import body_mask
from dtsinn.data.picture_view import largest_regions, setting
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.evaluation import metrics

COLUMNS = 6
"""Frames shown by :func:`separation`."""
CURVES = 6
"""Regions shown by :func:`regional_curves`, the largest ones."""


def separation(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Truth, prediction and error of both tracers in several frames of the fullest slice.

    Args:
        samples: One subject, with the truth.
        predicted_NKTYX: The answer, kBq/mL.
        header: Of its store.
    """
    body_NYX = body_mask(samples, header.protocol)
    n = int(body_NYX.sum(axis=(1, 2)).argmax())
    window = body_window(body_NYX[n])
    frames = shown_frames(header.protocol.frames, COLUMNS)
    truth_KTYX = metrics.truth_of(samples)[n][:, frames][:, :, *window]
    answer_KTYX = predicted_NKTYX[n][:, frames][:, :, *window]

    height, width = truth_KTYX.shape[-2:]
    across = 1.32
    down = across * height * header.voxel_size[0] / (width * header.voxel_size[1])
    figure = Figure(figsize=(0.95 + len(frames) * across + 0.95, 6 * down + 1.35), dpi=DPI)
    inches = figure.get_size_inches()
    grid = figure.add_gridspec(
        7,
        len(frames),
        height_ratios=[1, 1, 1, 0.16, 1, 1, 1],
        left=0.95 / inches[0],
        right=1 - 0.95 / inches[0],
        bottom=0.12 / inches[1],
        top=1 - 0.82 / inches[1],
        wspace=0.03,
        hspace=0.0,
    )
    for tracer in (0, 1):
        rows = (truth_KTYX[tracer], answer_KTYX[tracer])
        _tracer_rows(figure, grid, 4 * tracer, rows, body_NYX[n][window], header, tracer)
    for column, frame in enumerate(frames):
        span = minutes_text(
            header.protocol.frame_start[frame], header.protocol.frame_duration[frame]
        )
        figure.axes[column].set_title(f"{span} min", fontsize=9, color=INK, pad=5)
    where = f"slice {n + 1} of {len(samples.slice_N)} at {round(float(samples.slice_N[n]))} mm"
    heading(figure, f"Subject {samples.subject_N[0]}", f"{where}   ·   {setting(header)}")
    return figure


def regional_curves(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Time-activity curves of the largest regions: lines are the truth, markers the answer."""
    protocol = header.protocol
    regions_NYX, names = samples.regions_NYX, header.region_names
    if regions_NYX is None:
        regions_NYX = body_mask(samples, protocol).astype(np.uint8)
        names = ("outside", "body")
    truth_NKTYX = metrics.truth_of(samples)
    minute_T = (np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2) / 60
    figure = Figure(figsize=(11, 4.3), dpi=DPI)
    panels: list[Axes] = list(
        figure.subplots(
            1, 2, gridspec_kw={"left": 0.065, "right": 0.865, "bottom": 0.13, "top": 0.78}
        )
    )
    figure.subplots_adjust(wspace=0.16)
    kept = largest_regions(regions_NYX, names, CURVES).values()
    for tracer, axes in enumerate(panels):
        true, answered = (
            metrics.regional_curves(image[:, tracer], regions_NYX, names)
            for image in (truth_NKTYX, predicted_NKTYX)
        )
        for colour, name in zip(SERIES, kept, strict=False):
            axes.plot(minute_T, true[name], color=colour, lw=1.5, label=name)
            axes.plot(
                minute_T, answered[name], "o", ms=4, mfc="none", mew=1.1, color=colour, zorder=3
            )
        _curve_axes(axes, header, tracer)
    panels[0].set_ylabel("activity, kBq/mL", color=INK, fontsize=9)
    legend = panels[1].legend(
        loc="upper left",
        bbox_to_anchor=(1.02, 1.02),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.4,
        title="line: truth\ncircle: prediction\n",
        title_fontsize=8.5,
        alignment="left",
    )
    legend.get_title().set_color(FAINT)
    heading(figure, f"Subject {samples.subject_N[0]}", f"regional curves   ·   {setting(header)}")
    return figure


def _curve_axes(axes: Axes, header: StoreHeader, tracer: int) -> None:
    injection = header.protocol.injection_time[tracer] / 60
    top = axes.get_ylim()[1]
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), top * 1.02)
    injection_line(axes, injection, "injection")
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
    brightest = max(float(truth_TYX[:, body_YX].max()), 1e-6)
    # Scaled to the bulk of the errors: a single pixel at an edge would turn the rest black.
    worst = max(float(np.percentile(np.abs(error_TYX[:, body_YX]), 99.5)), brightest * 1e-3)
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
            show_image(axes, image_YX, colours, norm, aspect)
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
    left = 1 - 0.83 / float(figure.get_size_inches()[0])
    activity, error = (left, boxes[1].y0, boxes[0].y1), (left, boxes[2].y0, boxes[2].y1)
    colour_bar(figure, shades[0][2], ACTIVITY, activity, "kBq/mL")
    colour_bar(figure, shades[2][2], ERROR, error, "kBq/mL")
