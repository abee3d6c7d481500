"""Pictures of one separated subject: images beside the truth, and regional curves.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. Every function returns a
matplotlib figure that no global state knows of; :func:`png` turns it into bytes.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.data.store import Samples, StoreHeader
from dtsinn.evaluation import metrics

INK, FAINT = "#1f2933", "#7b8794"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours that people with colour-blindness tell apart (Okabe and Ito 2008)."""
ACTIVITY, ERROR = "inferno", "berlin"
"""Perceptually uniform maps, both black at zero."""
COLUMNS = 6
"""Frames shown by :func:`separation`."""
CURVES = 6
"""Regions shown by :func:`regional_curves`, the largest ones."""


def png(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def separation(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Truth, prediction and error of both tracers in several frames of the fullest slice.

    Args:
        samples: One subject, with the truth.
        predicted_NKTYX: The answer, kBq/mL.
        header: Of its store.
    """
    body_NYX = metrics.body_mask(samples, header.protocol)
    n = int(body_NYX.sum(axis=(1, 2)).argmax())
    window = _bounding_box(body_NYX[n])
    frames = _shown_frames(header.protocol.frames)
    truth_KTYX = metrics.truth_of(samples)[n][:, frames][:, :, *window]
    answer_KTYX = predicted_NKTYX[n][:, frames][:, :, *window]

    height, width = truth_KTYX.shape[-2:]
    across = 1.32
    down = across * height * header.voxel_size[0] / (width * header.voxel_size[1])
    figure = Figure(figsize=(0.95 + len(frames) * across + 0.95, 6 * down + 1.35), dpi=110)
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
        start = header.protocol.frame_start[frame] / 60
        end = start + header.protocol.frame_duration[frame] / 60
        figure.axes[column].set_title(f"{start:g}–{end:g} min", fontsize=9, color=INK, pad=5)
    where = f"slice {n + 1} of {len(samples.slice_N)} at {round(float(samples.slice_N[n]))} mm"
    _heading(figure, f"Subject {samples.subject_N[0]}", f"{where}   ·   {_setting(header)}")
    return figure


def regional_curves(
    samples: Samples, predicted_NKTYX: NDArray[np.floating[Any]], header: StoreHeader
) -> Figure:
    """Time-activity curves of the largest regions: lines are the truth, markers the answer."""
    protocol = header.protocol
    regions_NYX, names = samples.regions_NYX, header.region_names
    if regions_NYX is None:
        regions_NYX = metrics.body_mask(samples, protocol).astype(np.uint8)
        names = ("outside", "body")
    truth_NKTYX = metrics.truth_of(samples)
    minute_T = (np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2) / 60
    figure = Figure(figsize=(11, 4.3), dpi=110)
    panels: list[Axes] = list(
        figure.subplots(
            1, 2, gridspec_kw={"left": 0.065, "right": 0.865, "bottom": 0.13, "top": 0.78}
        )
    )
    figure.subplots_adjust(wspace=0.16)
    kept = _largest(regions_NYX, names)
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
    _heading(figure, f"Subject {samples.subject_N[0]}", f"regional curves   ·   {_setting(header)}")
    return figure


def tidy(axes: Axes) -> None:
    """The look that all plots share: two thin spines, small grey ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cbd2d9")
    axes.tick_params(colors=FAINT, labelsize=8.5, length=3, labelcolor=INK)


def _curve_axes(axes: Axes, header: StoreHeader, tracer: int) -> None:
    injection = header.protocol.injection_time[tracer] / 60
    top = axes.get_ylim()[1]
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), top * 1.02)
    axes.axvline(injection, color=FAINT, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axes.annotate(
        "injection",
        (injection, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=FAINT,
    )
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
            axes.imshow(image_YX, cmap=colours, norm=norm, aspect=aspect, interpolation="nearest")
            axes.set_axis_off()
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
    _colour_bar(figure, shades[0][2], ACTIVITY, boxes[1].y0, boxes[0].y1, "kBq/mL")
    _colour_bar(figure, shades[2][2], ERROR, boxes[2].y0, boxes[2].y1, "kBq/mL")


def _colour_bar(
    figure: Figure, norm: Normalize, colours: str, low: float, high: float, label: str
) -> None:
    width = float(figure.get_size_inches()[0])
    margin = 0.12 * (high - low)
    place = (1 - 0.83 / width, low + margin / 2, 0.11 / width, high - low - margin)
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap=colormaps[colours]), cax=figure.add_axes(place)
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, colors=FAINT, labelcolor=INK)
    bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=8.5, color=INK)


def _heading(figure: Figure, title: str, subtitle: str) -> None:
    width, height = figure.get_size_inches()
    left = 0.16 / width
    figure.text(left, 1 - 0.14 / height, title, va="top", fontsize=12, color=INK, weight="bold")
    figure.text(left, 1 - 0.38 / height, subtitle, va="top", fontsize=9, color=FAINT)


def _setting(header: StoreHeader) -> str:
    pair = " + ".join(tracer.upper() for tracer in header.tracers)
    parts = [pair, f"protocol {header.protocol.name}", header.phantom]
    return "   ·   ".join(
        [*filter(None, parts), *([f"{header.noise} noise"] if header.noise else [])]
    )


def _shown_frames(frames: int) -> list[int]:
    """Middles of equal groups of frames: early short ones and late long ones."""
    count = min(COLUMNS, frames)
    return [int((group + 0.5) * frames / count) for group in range(count)]


def _bounding_box(body_YX: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The body with two pixels of air around it."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(body_YX.any(axis=axis))
        ends = (used[0], used[-1]) if used.size else (0, body_YX.shape[1 - axis] - 1)
        spans.append(slice(max(int(ends[0]) - 2, 0), int(ends[1]) + 3))
    return spans[0], spans[1]


def _largest(regions_NYX: NDArray[np.uint8], names: tuple[str, ...]) -> list[str]:
    """Names of the largest regions, largest first."""
    sizes = np.bincount(regions_NYX.ravel())
    sizes[0] = 0
    order = [int(label) for label in np.argsort(-sizes, kind="stable") if sizes[label] > 0]
    return [names[i] if i < len(names) else f"region {i}" for i in order[:CURVES]]
