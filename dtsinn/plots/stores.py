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

from dtsinn.core.protocol import CONTIGUITY_S
from dtsinn.data.layout import SPLITS
from dtsinn.data.store import Samples, Store, StoreHeader
from dtsinn.plots.style import (
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
from dtsinn.plots.sums import sum_check
from dtsinn.plots.views import (
    Floats,
    View,
    axes_at,
    decay_factors,
    frame_axis,
    frame_title,
    label_room,
    left_of,
    pixel_curves,
    readout_regions,
    setting,
    show_frame,
    view_of,
)

SUBJECTS = 2
"""Subjects drawn by :func:`draw_store`."""
FRAMES, ACROSS = 18, 9
"""Frames shown by :func:`montage`, and how many of them stand in a row."""
REGIONS, PANELS_ACROSS = 6, 3
"""Regions shown by :func:`curves`, and how many plots stand in a row."""
TITLE, MARK = 0.2, 0.13
"""Room for the times of a frame above its image and for the mark of an injection, inches."""
NARROWEST = 7.6
"""Width that headings and legends need, inches."""


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
    maximum in the body. The tracers are corrected for decay since their injection, or their late
    frames would be black; the mixture, which decays with two half-lives, is as measured.

    Args:
        samples: One subject.
        header: Of its store.
    """
    view = view_of(samples, header)
    frames = shown_frames(header.protocol.frames, FRAMES)
    series = _series(view)
    across = min(ACROSS, len(frames))
    tile = min(max(1.15, 6.0 / across), 2.6)
    group = math.ceil(len(frames) / across) * (tile * view.aspect + MARK + TITLE + 0.04) + 0.16
    left = left_of([name for name, _, _ in series])
    size = (max(left + across * tile + 1.0, NARROWEST), 0.75 + len(series) * group)
    figure = Figure(figsize=size, dpi=DPI)
    for number, (name, colour, image_NTYX) in enumerate(series):
        marks = [tracer for tracer in header.tracers if name in ("mixture", tracer.upper())]
        if number:
            image_NTYX = image_NTYX * decay_factors(header, number - 1)[:, None, None]
        top = 0.7 + number * group
        _frame_images(figure, view, image_NTYX, frames, (left, tile, top, across), marks)
        place = (0.16 / size[0], 1 - (top + MARK + TITLE) / size[1])
        figure.text(*place, name, va="top", fontsize=11, fontweight="bold", color=colour)
    some = "" if len(frames) == header.protocol.frames else f"{len(frames)} of "
    shown = f"{some}{header.protocol.frames} frame{'s' * (header.protocol.frames > 1)}"
    corrected = "; tracers decay-corrected, one scale each" if len(series) > 1 else ", one scale"
    heading(figure, view.who, f"{shown}{corrected}   ·   {view.where}   ·   {setting(header)}")
    return figure


def curves(samples: Samples, header: StoreHeader) -> Figure:
    """Curves of the tracers' own regions, each frame's average drawn over its duration.

    They are not decay-corrected, so that they add up. Without regions, those of the body, as the
    mixture shows it, and of the whole image. The small maps show the slice in which the region is
    largest.

    Args:
        samples: One subject.
        header: Of its store.
    """
    view = view_of(samples, header)
    parts = _parts(view)
    across = min(PANELS_ACROSS, len(parts))
    size = (max(0.75 + across * 3.55, NARROWEST), 1.15 + math.ceil(len(parts) / across) * 2.6)
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
    lowest = min(0.0, *(axes.dataLim.y0 for axes in panels), 0.0)
    highest = max(axes.dataLim.y1 for axes in panels)
    room = label_room(panels[0], header)  # the names of the tracers stand there
    panels[0].set_ylim(lowest, lowest + (max(highest - lowest, 1e-6)) / (1 - room))
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / size[0], 1 - 0.05 / size[1]),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    what = "" if samples.regions_NYX is not None else "no regions in this store, "
    said = f"{what}mean of all slices, not decay-corrected"
    heading(figure, view.who, f"{said}   ·   {setting(header)}")
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
    grid: tuple[float, float, float, int],
    injected: list[str],
) -> None:
    """Images of one series and their colour bar; ``grid`` is left, tile, top (inches), columns."""
    left, tile, top, across = grid
    above = MARK + TITLE
    down = tile * view.aspect + above + 0.04
    image_TYX = view.images(image_NTYX, frames)
    first = {name: _first_shown(view, name, frames) for name in injected}
    in_body = image_TYX[:, view.body]
    norm = Normalize(0, max(float(in_body[np.isfinite(in_body)].max(initial=0.0)), 1e-6))
    for place, frame in enumerate(frames):
        row, column = divmod(place, across)
        box = (left + column * tile, top + row * down + above, tile - 0.04, tile * view.aspect)
        axes = axes_at(figure, box)
        right = column > across / 2  # a long name is wider than its image
        mark = "  ".join(f"↓{name.upper()}" for name in injected if first[name] == frame)
        axes.annotate(
            mark, (int(right), 1), xycoords="axes fraction", xytext=(0, 72 * TITLE), fontsize=7,
            textcoords="offset points", color=INK, annotation_clip=False,
            ha="right" if right else "left",
        )  # fmt: skip
        show_frame(axes, image_TYX[place], ACTIVITY, norm, view.pixel_aspect)
        frame_title(axes, view.header.protocol, frame)
    width, height = figure.get_size_inches()
    rows = math.ceil(len(frames) / across)
    low, high = 1 - (top + rows * down) / height, 1 - (top + above) / height
    colour_bar(figure, norm, ACTIVITY, ((left + across * tile + 0.1) / width, low, high), "kBq/mL")


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
    kept = readout_regions(regions_NYX, view.header.region_names, view.header.tracers, REGIONS)
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
    count = int(part_NYX.sum())
    pixels = f"{count} pixel{'s' * (count != 1)}"
    axes.text(0.83, 1.06, pixels, transform=axes.transAxes, fontsize=8.5, color=FAINT, ha="right")
    sample = int(part_NYX.sum(axis=(1, 2)).argmax())
    map_YX = view.body_NYX[sample].astype(int)
    map_YX[part_NYX[sample]] = 2
    small = axes.inset_axes((0.85, 1.03, 0.15, 0.2))
    colours = ListedColormap(["white", "#d5dbe1", INK])
    show_image(small, map_YX, colours, Normalize(0, 2), view.pixel_aspect)
