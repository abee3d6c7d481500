"""Figures: the colours, axes and headings that all pictures share, and their way to a PNG file.

A figure belongs to no global state (no pyplot), so that it can be drawn in any process or thread,
and the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from dtsinn.core.causes import in_our_words
from dtsinn.core.display import minutes_text as minutes_text
from dtsinn.core.display import short as short

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Colours that people with colour-blindness tell apart (Okabe and Ito 2008)."""
REGION_COLOURS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
    "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""Ten colours that people with colour-blindness tell apart (Petroff 2021, arXiv 2107.02270)."""
REGION_NAMES = (
    ("frontal", "occipital", "putamen", "white", "caudate",
     "brainstem", "temporal", "cerebellum", "parietal", "thalamus"),
    ("hippocampus", "tumour", "necrosis", "csf"),
    ("liver", "bone", "myocardium", "lung", "lesion",
     "mediastinum", "muscle", "airway", "background", "blood"),
)  # fmt: skip
"""Regions of the phantoms: of the brain solid and dashed, of the body solid again."""
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


def region_style(name: str) -> dict[str, Any]:
    """Colour and line style of a region: the same in every figure, whatever else stands there."""
    for row, names in enumerate(REGION_NAMES):
        if name in names:
            return {"color": REGION_COLOURS[names.index(name)], "ls": "--" if row == 1 else "-"}
    place = zlib.crc32(name.encode())  # not hash(): that differs from process to process
    return {"color": REGION_COLOURS[place % 10], "ls": ("-", "--")[place // 10 % 2]}


@cache
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text of a font size in points, inches."""
    if not text.strip():
        return 0.0
    font = FontProperties(weight=weight)
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) / 72


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """Title and grey subtitle in the top left corner, in the uppermost 0.55 inch.

    Text that is wider than the figure is set smaller.
    """
    width, height = figure.get_size_inches()
    left = 0.16 / width
    lines = ((0.14, title, 12.0, INK, "bold"), (0.38, subtitle, 9.0, FAINT, "normal"))
    for top, text, size, colour, weight in lines:
        # Drawn text is up to 4 % wider than its outlines, as its letters stand on whole pixels.
        room = 0.96 * (width - 0.3) / max(text_width(text, size, weight), 1e-6)
        fitting = size * min(1.0, room)
        place = (left, 1 - top / height)
        figure.text(*place, text, va="top", fontsize=fitting, color=colour, weight=weight)


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
    axes: Axes,
    minute: float,
    label: str,
    *,
    colour: str = FAINT,
    row: int = 0,
    side: Literal["left", "right"] = "right",
) -> None:
    """A dashed line over the whole height at ``minute``, its label beside its top.

    Args:
        axes: Where to; x is minutes.
        minute: Time of the injection.
        label: What to write.
        colour: Of line and label.
        row: Lines of text by which the label stands lower, beside another one.
        side: Of the line on which the label stands.
    """
    axes.axvline(minute, color=colour, lw=0.9, ls=(0, (4, 3)), zorder=0)
    axes.annotate(
        label,
        (minute, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4 if side == "right" else -4, -2 - 10 * row),
        textcoords="offset points",
        ha="left" if side == "right" else "right",
        va="top",
        fontsize=8,
        color=colour,
        bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none"},  # over another line
    )


def shown_frames(frames: int, most: int) -> list[int]:
    """Indices of at most ``most`` frames, the middles of equal groups: early and late ones."""
    count = min(most, frames)
    return [int((group + 0.5) * frames / count) for group in range(count)]


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
