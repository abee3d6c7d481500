"""A montage of one tracer of one subject: mixture, truth, answer, relative error, with regions.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. The figure belongs to no global
state (:mod:`dtsinn.plots.style`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.data.body import truth_of
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.plots.style import (
    ACTIVITY,
    DPI,
    ERROR,
    FAINT,
    INK,
    colour_bar,
    heading,
    minutes_text,
    region_style,
    show_image,
    shown_frames,
    text_width,
)
from dtsinn.plots.views import (
    NO_IMAGE,
    View,
    axes_at,
    decay_factors,
    readout_regions,
    view_of,
)

Floats = NDArray[np.floating[Any]]
FRAMES = 3
"""Columns, spread over the frames from the tracer's injection on."""
OUTLINED = 10
"""Regions that are outlined, at most."""
ACROSS, LEFT, BAR, TOP, GAP = 1.3, 0.34, 0.95, 0.84, 0.06
"""Inches: an image, the names of the rows, the colour bars, the heading, between rows."""
APART = 1
"""Pixels between frames."""
ERROR_SPAN = 50.0
"""% at the ends of the scale of relative errors, the same in every montage."""
FAINTEST = 0.1
"""Part of the frame's maximum below which the truth has no relative error: it is shown grey."""


def montage(
    samples: Samples,
    predicted_NKTYX: Floats,
    header: StoreHeader,
    tracer: int,
    title: str,
    subtitle: str,
) -> Figure:
    """Mixture, truth, answer and relative error of one tracer in the subject's fullest slice.

    Truth and answer are corrected for decay since the tracer's injection and share a colour scale;
    the mixture is as measured. The tracer's own regions are outlined on the truth.

    Args:
        samples: One subject, with the truth.
        predicted_NKTYX: The answer, kBq/mL, not decay-corrected.
        header: Of its store.
        tracer: 0 or 1.
        title: Of the figure.
        subtitle: Below it, in small.
    """
    view = view_of(samples, header)
    frames = _frames_of(header, tracer)
    factor_T = decay_factors(header, tracer)[frames][:, None, None]
    mixture_TYX = view.images(samples.mixture_NTYX, frames)
    truth_TYX = factor_T * view.images(truth_of(samples)[:, tracer], frames)
    answer_TYX = factor_T * view.images(predicted_NKTYX[:, tracer], frames)
    rows = (
        ("mixture", mixture_TYX, ACTIVITY, _from_zero(mixture_TYX, view), "kBq/mL, as measured"),
        ("truth", truth_TYX, ACTIVITY, _from_zero(truth_TYX, view), "kBq/mL"),
        ("answer", answer_TYX, ACTIVITY, _from_zero(truth_TYX, view), "kBq/mL"),
        (
            "relative error",
            relative_error(answer_TYX, truth_TYX),
            ERROR,
            Normalize(-ERROR_SPAN, ERROR_SPAN),
            "% of the truth",
        ),
    )
    regions = _regions(view, header.tracers[tracer])
    legend = 0.2 * (-(-len(regions) // _legend_columns(regions)) if regions else 0) + 0.42
    across = len(frames) * ACROSS
    strip_pixels = len(frames) * (view.body.shape[1] + APART) - APART
    down = across / strip_pixels * view.body.shape[0] * view.pixel_aspect
    width, height = LEFT + across + BAR, TOP + len(rows) * (down + GAP) + legend
    figure = Figure(figsize=(width, height), dpi=DPI)
    tops = [TOP + row * (down + GAP) for row in range(len(rows))]
    for top, (name, image_TYX, colours, norm, _) in zip(tops, rows, strict=True):
        axes = axes_at(figure, (LEFT, top, across, down))
        colour_map = colormaps[colours].with_extremes(bad=NO_IMAGE)
        show_image(axes, _strip(image_TYX), colour_map, norm, view.pixel_aspect)
        _part_frames(axes, len(frames), view.body.shape)
        middle = 1 - (top + down / 2) / height
        figure.text(
            0.16 / width, middle, name, rotation=90, ha="center", va="center", fontsize=9, color=INK
        )
    steps = (view.body.shape[1] + APART) * np.arange(len(frames))
    _title_frames(figure.axes[0], header, frames, steps + view.body.shape[1] / 2 - 0.5)
    if view.left_at_left:
        _mark_sides(figure.axes[0], view.body.shape)
    _outline(figure.axes[1], regions, steps)
    for first, last in ((0, 0), (1, 2), (3, 3)):  # truth and answer share one
        ends = (1 - (tops[last] + down) / height, 1 - tops[first] / height)
        _, _, colours, norm, unit = rows[first]
        colour_bar(figure, norm, colours, ((width - BAR + 0.06) / width, *ends), unit)
    _name_regions(figure, regions, view)
    heading(figure, title, subtitle)
    return figure


def relative_error(answer_TYX: Floats, truth_TYX: Floats) -> Floats:
    """100 (answer / truth - 1), %; NaN where the truth is too faint, or has decayed."""
    with np.errstate(invalid="ignore"):
        top_T = np.nanmax(np.where(np.isfinite(truth_TYX), truth_TYX, 0.0), axis=(1, 2))
        there_TYX = truth_TYX > np.maximum(FAINTEST * top_T, 1e-9)[:, None, None]
    error_TYX = np.full(truth_TYX.shape, np.nan)
    np.divide(answer_TYX, truth_TYX, out=error_TYX, where=there_TYX)
    return 100 * (error_TYX - 1)


def region_edges(inside_YX: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[lines, 2, 2] the pixel edges around a region: both ends of each, x and y."""
    padded = np.pad(inside_YX, 1)
    y, x = np.nonzero(padded[:, 1:] != padded[:, :-1])  # edges between columns
    upright = np.stack([np.stack([x, y - 1], -1), np.stack([x, y], -1)], 1)
    y, x = np.nonzero(padded[1:] != padded[:-1])
    level = np.stack([np.stack([x - 1, y], -1), np.stack([x, y], -1)], 1)
    return np.concatenate([upright, level]) - 0.5


def _frames_of(header: StoreHeader, tracer: int) -> list[int]:
    """Frames that start at or after the tracer's injection and have not decayed."""
    first = header.protocol.first_frame(tracer)
    known = np.flatnonzero(np.isfinite(decay_factors(header, tracer)))
    there = [int(frame) for frame in known if frame >= first] or [first]
    return [there[place] for place in shown_frames(len(there), FRAMES)]


def _from_zero(image_TYX: Floats, view: View) -> Normalize:
    """From zero to the brightest pixel of the body."""
    return Normalize(0, max(float(np.nan_to_num(image_TYX[:, view.body]).max(initial=0.0)), 1e-6))


def _regions(view: View, tracer: str) -> Mapping[str, NDArray[np.bool_]]:
    """The tracer's own regions in the slice that is shown, by name."""
    regions_NYX = view.samples.regions_NYX
    if regions_NYX is None:
        return {}
    label_YX = regions_NYX[view.sample][view.window]
    own = load_tracer(tracer).readout_regions if tracer in tracer_names() else ()
    known = readout_regions(regions_NYX, view.header.region_names, [tracer], OUTLINED)
    if any(name in own for name in known.values()):
        known = {label: name for label, name in known.items() if name in own}
    inside = {name: label_YX == label for label, name in known.items()}
    return {name: part_YX for name, part_YX in inside.items() if part_YX.any()}


def _strip(image_TYX: Floats) -> Floats:
    """[Y, T X] the frames side by side, some pixels apart."""
    apart = np.pad(image_TYX, ((0, 0), (0, 0), (0, APART)), constant_values=np.nan)
    strip_YX: Floats = apart.transpose(1, 0, 2).reshape(image_TYX.shape[1], -1)[:, :-APART]
    return strip_YX


def _part_frames(axes: Axes, frames: int, shape: tuple[int, ...]) -> None:
    """White between the frames of a strip."""
    for frame in range(1, frames):
        edge = frame * (shape[1] + APART) - APART - 0.5
        axes.axvspan(edge, edge + APART, color="white", lw=0)


def _title_frames(
    axes: Axes, header: StoreHeader, frames: Sequence[int], middles: NDArray[np.floating[Any]]
) -> None:
    """The times of the frames above a strip."""
    protocol = header.protocol
    for frame, middle in zip(frames, middles, strict=True):
        span = minutes_text(protocol.frame_start[frame], protocol.frame_duration[frame])
        axes.annotate(
            f"{span} min", (middle, 1), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
            textcoords="offset points", ha="center", va="bottom", fontsize=9, color=INK,
        )  # fmt: skip


def _outline(
    axes: Axes, regions: Mapping[str, NDArray[np.bool_]], steps: NDArray[np.integer[Any]]
) -> None:
    """The edges of the regions in every frame of a strip."""
    for name, inside_YX in regions.items():
        style = region_style(name)
        edges = region_edges(inside_YX)[:: 2 if style["ls"] == "--" else 1]  # every other: dashed
        lines = [edge + np.array([step, 0]) for step in steps for edge in edges]
        outline = LineCollection(lines, colors=style["color"], linewidths=0.9)
        axes.add_collection(outline, autolim=False)


def _mark_sides(axes: Axes, shape: tuple[int, ...]) -> None:
    """L and R in the lower corners of a strip's first frame."""
    rows, columns = shape
    for x, side, align in ((0.5, "L", "left"), (columns - 1.5, "R", "right")):
        axes.text(x, rows - 1.5, side, ha=align, va="bottom", fontsize=8.5, fontweight="bold",
                  color="white")  # fmt: skip


def _legend_columns(regions: Mapping[str, Any]) -> int:
    widest = max((text_width(name, 8.5) for name in regions), default=0.0) + 0.5
    return max(int((LEFT + FRAMES * ACROSS + BAR - 0.2) / widest), 1)


def _name_regions(figure: Figure, regions: Mapping[str, Any], view: View) -> None:
    """The legend of the outlines, and which side is which."""
    sides = "L, R: the patient's left and right" if view.left_at_left else (
        "The store does not say which side is left"
    )  # fmt: skip
    width, height = figure.get_size_inches()
    figure.text(0.12 / width, 0.1 / height, sides, fontsize=8.5, color=FAINT, va="bottom")
    if not regions:
        return
    handles = [Line2D([], [], lw=1.6, **region_style(name)) for name in regions]
    figure.legend(
        handles,
        list(regions),
        loc="lower left",
        bbox_to_anchor=(0.05 / width, 0.24 / height),
        ncols=_legend_columns(regions),
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        handlelength=1.5,
        columnspacing=1.0,
        handletextpad=0.5,
        labelspacing=0.25,
        borderpad=0.1,
    )
