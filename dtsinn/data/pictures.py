"""Pictures of a store: what to look at before its numbers are trusted.

Of one subject: the frames of the mixture and of both tracers, regional curves, and whether the
tracers add up to the mixture. Shape letters: N sample (slice), T frame, Y X pixel.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.figures import (
    ACTIVITY,
    DPI,
    FAINT,
    INK,
    SERIES,
    colour_bar,
    heading,
    show_image,
    shown_frames,
    tidy,
    write_figure,
)
from dtsinn.core.protocol import CONTIGUITY_S
from dtsinn.data.layout import SPLITS
from dtsinn.data.picture_view import (
    LEFT,
    Floats,
    View,
    axes_at,
    frame_axis,
    frame_title,
    largest_regions,
    pixel_curves,
    setting,
    view_of,
)
from dtsinn.data.store import Samples, Store, StoreHeader
from dtsinn.data.sum_picture import sum_check

SUBJECTS = 2
"""Subjects drawn by :func:`draw_store`."""
FRAMES, ACROSS = 18, 9
"""Frames shown by :func:`montage`, and how many of them stand in a row."""
REGIONS, PANELS_ACROSS = 6, 3
"""Regions shown by :func:`curves`, the largest ones, and how many plots stand in a row."""


def draw_store(store: Store, folder: Path) -> list[Path]:
    """Draw the first subject of the first two splits that have one, in the order of the splits.

    That is ``train`` and ``val`` where the store has them, so that nobody gets used to what
    decides later. Each subject gets a folder, named after its split, with ``montage.png``,
    ``curves.png`` and, where the store has the truth, ``sum.png``; older ones are replaced.

    Args:
        store: What to draw; only the subjects that are drawn are read.
        folder: Where to; made if it is missing.

    Returns:
        The files, in that order.

    Raises:
        StoreError: A sample of such a subject is damaged.
        RunError: A file cannot be written.
    """
    paths = []
    splits = [split for split in SPLITS if store.subject_count(split)][:SUBJECTS]
    for split in splits:
        samples = next(store.subjects(split))
        drawn = {"montage": montage, "curves": curves}
        if samples.tracers_NKTYX is not None:
            drawn["sum"] = sum_check
        for name, draw in drawn.items():
            path = folder / split / f"{name}.png"
            paths.append(write_figure(draw(samples, store.header), path))
    return paths


def montage(samples: Samples, header: StoreHeader) -> Figure:
    """Frames of the mixture and, with the truth, of both tracers in the fullest slice.

    The mixture and each tracer have their own scale, common to all their frames: from 0 to the
    maximum in the body.

    Args:
        samples: One subject.
        header: Of its store.
    """
    view = view_of(samples, header)
    frames = shown_frames(header.protocol.frames, FRAMES)
    series = _series(view)
    across = min(ACROSS, len(frames))
    tile = min(max(1.15, 6.0 / across), 2.6)
    group = math.ceil(len(frames) / across) * (tile * view.aspect + 0.24) + 0.16
    size = (max(LEFT + across * tile + 1.0, 7.0), 0.7 + len(series) * group)
    figure = Figure(figsize=size, dpi=DPI)
    for number, (name, colour, image_NTYX) in enumerate(series):
        marks = [tracer for tracer in header.tracers if name in ("mixture", tracer.upper())]
        top = 0.68 + number * group
        _frame_images(figure, view, image_NTYX, frames, (tile, top, across), marks)
        place = (0.16 / size[0], 1 - (top + 0.2) / size[1])
        figure.text(*place, name, va="top", fontsize=11, fontweight="bold", color=colour)
    some = "" if len(frames) == header.protocol.frames else f"{len(frames)} of "
    shown = f"{some}{header.protocol.frames} frame{'s' * (header.protocol.frames > 1)}"
    heading(figure, view.who, f"{shown}, {view.where}   ·   {setting(header)}")
    return figure


def curves(samples: Samples, header: StoreHeader) -> Figure:
    """Curves of the largest regions, each frame's average drawn over its duration.

    Without regions, those of the body, as the mixture shows it, and of the whole image. The small
    maps show the slice in which the region is largest.

    Args:
        samples: One subject.
        header: Of its store.
    """
    view = view_of(samples, header)
    parts = _parts(view)
    across = min(PANELS_ACROSS, len(parts))
    size = (0.75 + across * 3.55, 1.15 + math.ceil(len(parts) / across) * 2.6)
    figure = Figure(figsize=size, dpi=DPI)
    panels: list[Axes] = []
    for number, (name, part_NYX) in enumerate(parts.items()):
        row, column = divmod(number, across)
        box = (0.7 + column * 3.55, 1.2 + row * 2.6, 3.2, 1.95)
        first = panels[0] if panels else None
        axes = axes_at(figure, box, sharex=first, sharey=first)
        _part_curves(axes, view, part_NYX)
        _part_title(axes, view, name, part_NYX)
        if column == 0:
            axes.set_ylabel("activity, kBq/mL", fontsize=9, color=INK)
        if number + across >= len(parts):
            axes.set_xlabel("time since the start of the scan, min", fontsize=9, color=INK)
        panels.append(axes)
    highest = panels[0].get_ylim()[1] * 1.08  # the names of the tracers stand there
    panels[0].set_ylim(min(0.0, *(axes.dataLim.y0 for axes in panels)), highest)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / size[0], 1 - 0.05 / size[1]),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    what = "largest regions" if samples.regions_NYX is not None else "no regions in this store"
    heading(figure, view.who, f"{what}, mean of all slices   ·   {setting(header)}")
    return figure


def _series(view: View) -> list[tuple[str, str, Floats]]:
    """Name, colour and [N, T, Y, X] images of the mixture and, with the truth, of each tracer."""
    series: list[tuple[str, str, Floats]] = [("mixture", INK, view.samples.mixture_NTYX)]
    truth_NKTYX = view.samples.tracers_NKTYX
    if truth_NKTYX is not None:
        for tracer, name in enumerate(view.header.tracers):
            series.append((name.upper(), SERIES[tracer], truth_NKTYX[:, tracer]))
    return series


def _frame_images(
    figure: Figure,
    view: View,
    image_NTYX: Floats,
    frames: list[int],
    grid: tuple[float, float, int],
    injected: list[str],
) -> None:
    """Images of one series and their colour bar; ``grid`` is tile and top (inches), columns."""
    tile, top, across = grid
    down = tile * view.aspect + 0.24
    image_TYX = view.images(image_NTYX, frames)
    first = {name: _first_shown(view, name, frames) for name in injected}
    norm = Normalize(0, max(float(image_TYX[:, view.body].max()), 1e-6))
    for place, frame in enumerate(frames):
        row, column = divmod(place, across)
        box = (LEFT + column * tile, top + row * down + 0.2, tile - 0.04, down - 0.24)
        axes = axes_at(figure, box)
        show_image(axes, image_TYX[place], ACTIVITY, norm, view.pixel_aspect)
        frame_title(axes, view.header.protocol, frame)
        mark = "  ".join(f"↓{name.upper()}" for name in injected if first[name] == frame)
        axes.text(0.03, 0.97, mark, transform=axes.transAxes, va="top", fontsize=7, color="white")
    width, height = figure.get_size_inches()
    rows = math.ceil(len(frames) / across)
    low, high = 1 - (top + rows * down) / height, 1 - (top + 0.2) / height
    left = (LEFT + across * tile + 0.1) / width
    colour_bar(figure, norm, ACTIVITY, (left, low, high), "kBq/mL")


def _first_shown(view: View, tracer: str, frames: list[int]) -> int:
    """The first of ``frames`` that ends after the injection of ``tracer``; -1 when none does."""
    protocol = view.header.protocol
    time = protocol.injection_time[view.header.tracers.index(tracer)] + CONTIGUITY_S
    return next((frame for frame in frames if protocol.frame_edges[frame + 1] > time), -1)


def _parts(view: View) -> dict[str, NDArray[np.bool_]]:
    """What curves are drawn of, by name."""
    regions_NYX = view.samples.regions_NYX
    if regions_NYX is None or not regions_NYX.any():
        return {"body": view.body_NYX, "whole image": np.ones_like(view.body_NYX)}
    kept = largest_regions(regions_NYX, view.header.region_names, REGIONS)
    return {name: regions_NYX == label for label, name in kept.items()}


def _part_curves(axes: Axes, view: View, part_NYX: NDArray[np.bool_]) -> None:
    """Mean over a part's pixels: the mixture dashed, the tracers solid."""
    minute_T = np.array(view.header.protocol.frame_edges) / 60
    for name, colour, image_NTYX in _series(view):
        curve_T = pixel_curves(image_NTYX, part_NYX).mean(axis=0, dtype=np.float64)
        style = "--" if name == "mixture" else "-"
        axes.stairs(curve_T, minute_T, baseline=None, color=colour, ls=style, lw=1.4, label=name)
    frame_axis(axes, view.header)
    tidy(axes)


def _part_title(axes: Axes, view: View, name: str, part_NYX: NDArray[np.bool_]) -> None:
    """The part's name, its size, and a small map of it."""
    axes.set_title(name, loc="left", y=1.06, pad=0, fontsize=10.5, color=INK)
    pixels = f"{int(part_NYX.sum())} pixels"
    axes.text(0.83, 1.06, pixels, transform=axes.transAxes, fontsize=8.5, color=FAINT, ha="right")
    sample = int(part_NYX.sum(axis=(1, 2)).argmax())
    map_YX = view.body_NYX[sample].astype(int)
    map_YX[part_NYX[sample]] = 2
    small = axes.inset_axes((0.85, 1.03, 0.15, 0.2))
    colours = ListedColormap(["white", "#d5dbe1", INK])
    show_image(small, map_YX, colours, Normalize(0, 2), view.pixel_aspect)
