"""Figures: the colours, axes and headings that all pictures share, and their way to a PNG file.

A figure belongs to no global state (no pyplot), so that it can be drawn in any process or thread,
and the same numbers give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from dtsinn.core.causes import in_our_words

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours that people with colour-blindness tell apart (Okabe and Ito 2008)."""
ACTIVITY, ERROR = "inferno", "berlin"
"""Perceptually uniform maps, both black at zero."""
DPI = 110


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as PNG bytes; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as the PNG file ``path``, in place of an older one; makes its folder.

    Returns:
        ``path``.

    Raises:
        RunError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(figure))
    except OSError as error:
        raise in_our_words(error, f"{path} cannot be written") from None
    return path


def tidy(axes: Axes) -> None:
    """The look that all plots share: two thin spines, small grey ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cbd2d9")
    axes.tick_params(colors=FAINT, labelsize=8.5, length=3, labelcolor=INK)


def grid_lines(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Thin grey lines at the ticks of one axis, behind everything."""
    axes.grid(axis=axis, color=GRID, lw=0.8)
    axes.set_axisbelow(True)


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """Title and grey subtitle in the top left corner, in the uppermost 0.55 inch."""
    width, height = figure.get_size_inches()
    left = 0.16 / width
    figure.text(left, 1 - 0.14 / height, title, va="top", fontsize=12, color=INK, weight="bold")
    figure.text(left, 1 - 0.38 / height, subtitle, va="top", fontsize=9, color=FAINT)


def colour_bar(
    figure: Figure, norm: Normalize, colours: str, place: tuple[float, float, float], label: str
) -> Axes:
    """A colour bar beside a row of images; 0.83 inch must be free to the right of its left edge.

    Args:
        figure: Where to.
        norm: What value is what colour.
        colours: Name of the colour map.
        place: Left edge, lower and upper end of the row, as fractions of the figure.
        label: Quantity or unit.

    Returns:
        The axes of the bar.
    """
    left, low, high = place
    margin = 0.12 * (high - low)
    width = 0.11 / float(figure.get_size_inches()[0])
    bar = figure.colorbar(
        ScalarMappable(norm=norm, cmap=colormaps[colours]),
        cax=figure.add_axes((left, low + margin / 2, width, high - low - margin)),
        ticks=LogLocator() if isinstance(norm, LogNorm) else MaxNLocator(4),
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, colors=FAINT, labelcolor=INK)
    bar.set_label(label, fontsize=8.5, color=INK)
    return bar.ax


def injection_line(
    axes: Axes, minute: float, label: str, *, colour: str = FAINT, row: int = 0
) -> None:
    """A dashed line over the whole height at ``minute``, its label to the right of its top.

    Args:
        axes: Where to; x is minutes.
        minute: Time of the injection.
        label: What to write.
        colour: Of line and label.
        row: Lines of text by which the label stands lower, beside another one.
    """
    axes.axvline(minute, color=colour, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axes.annotate(
        label,
        (minute, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, -2 - 10 * row),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color=colour,
    )


def shown_frames(frames: int, most: int) -> list[int]:
    """Indices of at most ``most`` frames, the middles of equal groups: early and late ones."""
    count = min(most, frames)
    return [int((group + 0.5) * frames / count) for group in range(count)]


def minutes_text(start_s: float, duration_s: float) -> str:
    """A frame as people write it, such as ``2.5–5``; seconds in, minutes out."""
    return f"{short(start_s / 60)}–{short((start_s + duration_s) / 60)}"


def short(number: float) -> str:
    """A number with at most two decimals, and none that are zero."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def body_window(body_YX: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the body with two pixels of air around it; all where there is none."""
    spans = []
    for axis in (1, 0):
        used = np.flatnonzero(body_YX.any(axis=axis))
        ends = (used[0], used[-1]) if used.size else (0, body_YX.shape[1 - axis] - 1)
        spans.append(slice(max(int(ends[0]) - 2, 0), int(ends[1]) + 3))
    return spans[0], spans[1]


def show_image(
    axes: Axes, image_YX: NDArray[Any], colours: str | Colormap, norm: Normalize, aspect: float
) -> None:
    """An image without axes; ``aspect`` is the height of a pixel over its width."""
    axes.imshow(image_YX, cmap=colours, norm=norm, aspect=aspect, interpolation="nearest")
    axes.set_axis_off()


def spread(heights: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Ascending heights, moved as little as keeps them ``gap`` apart and between 0 and 1.

    For names beside lines that end close together. Without what the gaps need, the places still
    ascend: the nearest such ones (least squares) are an isotonic regression.
    """
    steps = gap * np.arange(len(heights))
    placed = isotonic_regression(np.asarray(heights) - steps).x
    return np.asarray(np.clip(placed, 0.0, max(1.0 - steps[-1], 0.0)) + steps)
