"""The grid of an evaluation as heat maps: a number and a colour in every square.

They are tables of a page, not pictures: sharp on paper, to be scrolled on a phone, read aloud.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

from matplotlib import colormaps
from matplotlib.colors import to_hex

from dtsinn.evaluation.findings import CellFindings, find_in
from dtsinn.evaluation.limits import KINETIC_BIAS, WORST_REGION
from dtsinn.evaluation.results import CellResult, Evaluation
from dtsinn.plots.style import INK

FEWEST_CELLS = 3
"""Of a heat map; of fewer a table says it."""
MOST_COLUMNS = 6
"""That stand side by side on a page."""
AXES: dict[str, Callable[[CellResult], str]] = {
    "pair": lambda cell: " + ".join(tracer.upper() for tracer in cell.tracers),
    "protocol": lambda cell: cell.protocol,
    "phantom": lambda cell: cell.phantom,
    "population": lambda cell: cell.population,
    "conditions": lambda cell: cell.conditions or "as usual",
    "noise": lambda cell: cell.noise,
}
"""What a grid may vary, and how it is called in a cell; those at the end become columns."""
GAIN, BIAS = "RdBu", "Oranges"
GAIN_SPAN = 3.0
"""dB at the ends of the scale, at most; beyond, the number tells."""
DARK = 0.5
"""Luma of a background on which text is white (weights of ITU-R BT.601)."""
Found = Mapping[str, CellFindings]


@dataclass(frozen=True, kw_only=True)
class Square:
    """One cell of the grid in one heat map."""

    text: str
    background: str
    """Colour, hexadecimal."""
    ink: str
    """Colour of the text, dark or white, whichever can be read."""
    strong: bool
    """Whether it is a failure."""
    title: str
    """The cell and the number with its interval, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One measure of one model over the whole grid."""

    title: str
    corner: str
    """What rows and columns are."""
    heads: tuple[tuple[tuple[str, int], ...], ...]
    """Lines of column heads: text, and over how many columns it stands."""
    rows: tuple[tuple[str, tuple[Square | None, ...]], ...]
    """Name, and squares; None where the suite has no such cell."""
    scale: tuple[tuple[str, str], ...]
    """Colours and their values, from one end to the other."""
    note: str
    """How failures are marked."""


def draw_heat_maps(evaluation: Evaluation) -> list[HeatMap]:
    """The heat maps of every model; none where the suite has fewer than three cells.

    The cell of a user's store is no part of the grid.
    """
    cells = [cell for cell in evaluation.cells if cell.source == "simulated"]
    if len(cells) < FEWEST_CELLS:
        return []
    maps = []
    for model in evaluation.models:
        found = {
            cell.key: find_in(cell, scores)
            for cell in cells
            for scores in cell.models
            if scores.model == model.name and scores.applicable
        }
        of = f"{model.name}: " if len(evaluation.models) > 1 else ""
        maps += [_map_gain(cells, found, of), _map_bias(cells, found, of)]
    return maps


def arrange(
    cells: Sequence[CellResult],
) -> tuple[list[str], list[str], dict[tuple[tuple[str, ...], tuple[str, ...]], CellResult]]:
    """Names of the axes along rows and columns, and each cell by its values on both.

    Axes on which all cells agree are left out. Where two cells would share a square, every cell
    has a row of its own.
    """
    values = [{name: of(cell) for name, of in AXES.items()} for cell in cells]
    levels = {name: list(dict.fromkeys(value[name] for value in values)) for name in AXES}
    varied = [name for name in AXES if len(levels[name]) > 1]
    columns: list[str] = []
    while len(varied) > 1:
        wider = [varied[-1], *columns]
        if prod(len(levels[name]) for name in wider) > MOST_COLUMNS:
            break
        columns, varied = wider, varied[:-1]
    places = {
        (tuple(value[n] for n in varied), tuple(value[n] for n in columns)): cell
        for value, cell in zip(values, cells, strict=True)
    }
    if len(places) < len(cells):
        titles = [cell.title for cell in cells]
        unique = len(set(titles)) == len(titles)
        return ["cell"], [], {((c.title if unique else c.key,), ()): c for c in cells}
    return varied, columns, places


def _map_gain(cells: Sequence[CellResult], found: Found, of: str) -> HeatMap:
    """The PSNR over that of the linear map; white is level."""
    gains = [abs(one.gain.psnr.mean) for one in found.values() if one.gain is not None]
    span = min(max([0.5, *gains]), GAIN_SPAN)

    def paint(cell: CellResult) -> Square:
        gain = found[cell.key].gain if cell.key in found else None
        if gain is None:
            return _absent(cell)
        mark = {"loses to": " ▼", "beats": " ▲"}.get(gain.verdict, "")
        return _square(
            f"{gain.psnr.mean:+z.1f}{mark}",
            (GAIN, 0.5 + 0.5 * gain.psnr.mean / span),
            f"{cell.title}: {gain.psnr.text(1, '+')} dB, {gain.verdict} the linear map",
            strong=gain.verdict == "loses to",
        )

    return _lay_out(
        cells,
        paint,
        title=f"{of}PSNR over the linear map, dB",
        scale=[
            (_colour(GAIN, 0.5 + 0.5 * p), _number(f"{p * span:+.1f}"))
            for p in (-1, -0.5, 0, 0.5, 1)
        ],
        note="▼ and a frame: the interval in pairs of subjects lies below 0. ▲: above 0. Neither: "
        "level, or too few subjects.",
    )


def _map_bias(cells: Sequence[CellResult], found: Found, of: str) -> HeatMap:
    """The kinetic bias; the scale ends at twice its limit."""
    top = 2 * KINETIC_BIAS.most

    def paint(cell: CellResult) -> Square:
        measures = found[cell.key].measures if cell.key in found else {}
        if KINETIC_BIAS not in measures:
            return _absent(cell)
        bias, worst = measures[KINETIC_BIAS], measures[WORST_REGION]
        over = bias > KINETIC_BIAS.most
        return _square(
            f"{bias:.1f}" + " ▼" * over,
            (BIAS, bias / top),
            f"{cell.title}: {bias:.1f} %, worst region {worst:.1f} %",
            strong=over,
        )

    return _lay_out(
        cells,
        paint,
        title=f"{of}kinetic_bias, %",
        scale=[(_colour(BIAS, p), f"{p * top:.0f}") for p in (0, 0.25, 0.5, 0.75, 1)],
        note=f"▼ and a frame: above {KINETIC_BIAS.text}.",
    )


def _lay_out(
    cells: Sequence[CellResult],
    paint: Callable[[CellResult], Square],
    *,
    title: str,
    scale: Sequence[tuple[str, str]],
    note: str,
) -> HeatMap:
    row_axes, column_axes, places = arrange(cells)
    columns = list(dict.fromkeys(column for _, column in places))
    rows = list(dict.fromkeys(row for row, _ in places))
    return HeatMap(
        title=title,
        corner=" \\ ".join(", ".join(axes) for axes in (row_axes, column_axes) if axes),
        heads=tuple(_head(columns, level) for level in range(len(column_axes))),
        rows=tuple(
            (
                ", ".join(row),
                tuple(
                    paint(places[row, column]) if (row, column) in places else None
                    for column in columns
                ),
            )
            for row in rows
        ),
        scale=tuple(scale),
        note=note,
    )


def _head(columns: Sequence[tuple[str, ...]], level: int) -> tuple[tuple[str, int], ...]:
    """One line of heads: equal neighbours under equal heads above are one."""
    grouped = groupby(columns, key=lambda column: column[: level + 1])
    return tuple((values[level], len(list(same))) for values, same in grouped)


def _absent(cell: CellResult) -> Square:
    reasons = {scores.reason for scores in cell.models if scores.reason}
    why = "; ".join(sorted(reasons)) or "cannot be told"
    return Square(
        text="n/a", background="#ffffff", ink="#616e7c", strong=False, title=f"{cell.title}: {why}"
    )


def _square(text: str, colour: tuple[str, float], title: str, *, strong: bool) -> Square:
    background = _colour(*colour)
    red, green, blue = (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < DARK
    return Square(
        text=_number(text),
        background=background,
        ink="#ffffff" if dark else INK,
        strong=strong,
        title=title,
    )


def _number(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _colour(name: str, place: float) -> str:
    """A colour of a map; the ends of maps, too dark for numbers on them, are left out."""
    low, high = (0.1, 0.9) if name == GAIN else (0.0, 0.75)
    return to_hex(colormaps[name](low + (high - low) * min(max(place, 0.0), 1.0)))
