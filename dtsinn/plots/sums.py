"""The picture that shows whether the tracers add up to the mixture.

Shape letters: N sample (slice), T frame, Y X pixel, P body pixel.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from dtsinn.data.body import truth_of
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.plots.style import (
    DPI,
    ERROR,
    FAINT,
    INK,
    SERIES,
    colour_bar,
    grid_lines,
    heading,
    show_image,
    shown_frames,
    tidy,
)
from dtsinn.plots.views import (
    LEFT,
    Floats,
    View,
    axes_at,
    frame_axis,
    frame_title,
    label_room,
    pixel_curves,
    setting,
    view_of,
)

FRAMES = 6
"""Frames whose difference is shown."""
COUNTS = "viridis_r"
FAINTEST = 0.05
"""Part of the largest mean below which a frame has no percentage: next to nothing is there yet."""
BINS = 140
"""Cells of the density per axis."""


def sum_check(samples: Samples, header: StoreHeader) -> Figure:
    """The mixture against the sum of the tracers: noise, and what does not add up.

    Above, the difference in some frames of the fullest slice. Below, over the body pixels of all
    slices: mean and standard deviation of the difference in each frame as a part of the mean
    of the sum; and how often which mixture meets which sum.

    Args:
        samples: One subject, with the truth.
        header: Of its store.

    Raises:
        StoreError: The store holds no truth.
    """
    sum_NTYX = truth_of(samples).sum(axis=1)
    view = view_of(samples, header)
    frames = shown_frames(header.protocol.frames, FRAMES)
    tile = min(9.05 / len(frames), 2.6)
    below = 0.95 + tile * view.aspect + 0.6
    size = (11.0, below + 3.2 + 0.55)
    figure = Figure(figsize=size, dpi=DPI)
    _difference_images(figure, view, samples.mixture_NTYX - sum_NTYX, frames, tile)
    sum_PT = pixel_curves(sum_NTYX, view.body_NYX)
    mixture_PT = pixel_curves(samples.mixture_NTYX, view.body_NYX)
    _relative_difference(axes_at(figure, (LEFT, below, 4.9, 3.2)), header, sum_PT, mixture_PT)
    density = axes_at(figure, (6.75, below, 3.2, 3.2))
    norm = _density(density, sum_PT, mixture_PT)
    box = density.get_position()
    place = (box.x1 + 0.15 / size[0], box.y0, box.y1)
    colour_bar(figure, norm, COUNTS, place, "pixels × frames")
    heading(
        figure,
        f"{view.who}: mixture minus the sum of the tracers",
        f"images: {view.where}; plots: body, all slices   ·   {setting(header)}",
    )
    return figure


def _difference_images(
    figure: Figure, view: View, difference_NTYX: Floats, frames: list[int], tile: float
) -> None:
    image_TYX = view.images(difference_NTYX, frames)
    # Scaled to the bulk: a single pixel at an edge would turn the rest black.
    worst = max(float(np.percentile(np.abs(image_TYX[:, view.body]), 99.5)), 1e-6)
    norm = Normalize(-worst, worst)
    for place, frame in enumerate(frames):
        box = (LEFT + place * tile, 0.95, tile - 0.05, tile * view.aspect)
        axes = axes_at(figure, box)
        show_image(axes, image_TYX[place], ERROR, norm, view.pixel_aspect)
        frame_title(axes, view.header.protocol, frame)
    width, height = figure.get_size_inches()
    left = (LEFT + len(frames) * tile + 0.1) / width
    low, high = 1 - (0.95 + tile * view.aspect) / height, 1 - 0.95 / height
    colour_bar(figure, norm, ERROR, (left, low, high), "kBq/mL")


def _relative_difference(
    axes: Axes, header: StoreHeader, sum_PT: Floats, mixture_PT: Floats
) -> None:
    """Mean and spread of the difference in each frame, in percent of the mean sum."""
    mean_T = sum_PT.mean(axis=0, dtype=np.float64)
    known_T = np.where(mean_T > FAINTEST * mean_T.max(), mean_T, np.nan)
    difference_PT = mixture_PT - sum_PT
    minute_T = np.array(header.protocol.frame_edges) / 60
    statistics = (
        ("standard deviation", SERIES[2], difference_PT.std(axis=0, dtype=np.float64)),
        ("mean", INK, difference_PT.mean(axis=0, dtype=np.float64)),
    )
    axes.axhline(0, color=FAINT, lw=0.8)
    for label, colour, value_T in statistics:
        percent_T = 100 * value_T / known_T
        axes.stairs(percent_T, minute_T, baseline=None, color=colour, lw=1.6, label=label)
    bottom, top = axes.get_ylim()
    room = label_room(axes, header) + 0.02  # the names of the tracers stand there
    axes.set_ylim(bottom, bottom + (top - bottom) / (1 - room))
    frame_axis(axes, header)
    grid_lines(axes, "y")
    tidy(axes)
    axes.set_xlabel("time since the start of the scan, min", fontsize=9, color=INK)
    axes.set_ylabel("difference, % of the mean sum", fontsize=9, color=INK)
    below = (1, 1 - room)  # the names of the tracers
    axes.legend(loc="upper right", bbox_to_anchor=below, frameon=False, fontsize=9, labelcolor=INK)


def _density(axes: Axes, sum_PT: Floats, mixture_PT: Floats) -> LogNorm:
    """How often which mixture meets which sum, with the line where both are equal."""
    both_P = np.concatenate([sum_PT.ravel(), mixture_PT.ravel()])
    low, high = (float(end) for end in np.percentile(both_P, (0.01, 99.99)))
    edges = np.linspace(min(low, 0.0), max(high, 1e-6), BINS + 1)
    count_XY, _, _ = np.histogram2d(sum_PT.ravel(), mixture_PT.ravel(), bins=(edges, edges))
    norm = LogNorm(1, max(float(count_XY.max()), 2.0))
    axes.pcolormesh(edges, edges, np.ma.masked_equal(count_XY.T, 0), cmap=COUNTS, norm=norm)
    ends = [edges[0], edges[-1]]
    axes.plot(ends, ends, color=INK, lw=0.9, ls=(0, (4, 3)), label="equal")
    total = float(sum_PT.sum(dtype=np.float64))
    if total > 0:
        ratio = float(mixture_PT.sum(dtype=np.float64)) / total
        said = f"total mixture / total sum = {ratio:.3f}"
        axes.set_title(said, fontsize=9, color=INK, loc="left")
    axes.set_xlabel("sum of the tracers, kBq/mL", fontsize=9, color=INK)
    axes.set_ylabel("mixture, kBq/mL", fontsize=9, color=INK)
    tidy(axes)
    return norm
