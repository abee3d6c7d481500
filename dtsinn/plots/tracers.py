"""Pictures of tracers and protocols: what can be known before anything is simulated.

Shape letters: T point in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from dtsinn.core.display import duration
from dtsinn.core.protocol import Protocol
from dtsinn.core.tracer import Tracer
from dtsinn.plots.style import (
    DPI,
    FAINT,
    INK,
    SERIES,
    grid_lines,
    heading,
    region_style,
    spread,
    tidy,
    write_figure,
)
from dtsinn.simulation.anatomy import brain
from dtsinn.simulation.input_function import FloatArray
from dtsinn.simulation.typical_curves import MINUTES, Curves, typical_curves

BRAIN = frozenset({*brain.LABELS[1:], "tumour"})
"""Tissues of the head; a tracer's other tissues are the body's."""
LABEL_GAP = 0.052
"""Distance of the names beside a plot, as a part of its height."""
SHEET_ACROSS = 4
BLOOD_COLOUR = "#9aa5b1"
BOX, BOX_EDGE = "#d9e2ec", "#829ab1"


def draw_tracers(tracers: Sequence[Tracer], folder: Path) -> list[Path]:
    """Draw each tracer's curves as ``NAME.png``, and several together as ``tracers.png``.

    Args:
        tracers: At least one.
        folder: Where to; made if it is missing, older files are replaced.

    Returns:
        The files, the one of all tracers first.

    Raises:
        RunError: A file cannot be written.
    """
    paths = []
    if len(tracers) > 1:
        paths.append(write_figure(tracer_sheet(tracers), folder / "tracers.png"))
    paths += [write_figure(tracer_curves(one), folder / f"{one.name}.png") for one in tracers]
    return paths


def draw_protocols(protocols: Sequence[Protocol], folder: Path) -> Path:
    """Draw the timeline of protocols as ``protocols.png``.

    Args:
        protocols: At least one.
        folder: Where to; made if it is missing, an older file is replaced.

    Returns:
        The file.

    Raises:
        RunError: It cannot be written.
    """
    return write_figure(protocol_timeline(protocols), folder / "protocols.png")


def tracer_curves(tracer: Tracer) -> Figure:
    """Typical curves of all tissues of a tracer, of its blood and of its plasma.

    Args:
        tracer: What is injected.
    """
    curves = typical_curves(tracer)
    figure = Figure(figsize=(13.2, 4.7), dpi=DPI)
    places = ((0.042, 0.245), (0.425, 0.215), (0.765, 0.222))
    brain_axes, body_axes, blood_axes = (
        figure.add_axes((left, 0.115, width, 0.67)) for left, width in places
    )
    _tissue_lines(brain_axes, curves.minutes, _tissues(curves, inside=BRAIN))
    _tissue_lines(body_axes, curves.minutes, _tissues(curves, outside=BRAIN))
    _blood_lines(blood_axes, curves)
    titles = ("brain", "body", "blood (logarithmic)")
    for axes, title in zip((brain_axes, body_axes, blood_axes), titles, strict=True):
        _minutes_axis(axes)
        axes.set_title(title, loc="left", fontsize=10.5, color=INK)
        axes.set_xlabel("time after the injection, min", fontsize=9, color=INK)
        grid_lines(axes, "y")
        tidy(axes)
    brain_axes.set_ylabel("SUV, decay-corrected to the injection", fontsize=9, color=INK)
    percent = 100 * math.exp(-tracer.decay_constant * 60 * MINUTES)
    left = f"{percent:.2g} %" if percent >= 0.01 else "less than 0.01 %"
    given = f"{tracer.input.infusion_s:g} s infusion" if tracer.input.infusion_s else "bolus"
    facts = (
        tracer.target,
        f"{_isotope(tracer)}: {left} of the activity is left after {MINUTES:g} min",
        f"typical kinetics after a {given}",
    )
    heading(figure, tracer.label, "   ·   ".join(facts))
    return figure


def tracer_sheet(tracers: Sequence[Tracer]) -> Figure:
    """All tracers side by side: tissues of the brain, of the body, and blood.

    Each tracer has its own scale, up to its brightest tissue; blood is cut off above.

    Args:
        tracers: At least one.
    """
    across = min(SHEET_ACROSS, len(tracers))
    rows = math.ceil(len(tracers) / across)
    size = (max(0.55 + 3.1 * across, 6.5), 0.95 + 2.3 * rows)
    figure = Figure(figsize=size, dpi=DPI)
    for number, tracer in enumerate(tracers):
        row, column = divmod(number, across)
        left, top = 0.55 + 3.1 * column, 1.1 + 2.3 * row
        axes = figure.add_axes(
            (left / size[0], 1 - (top + 1.6) / size[1], 2.65 / size[0], 1.6 / size[1])
        )
        _tile(axes, tracer)
        if column == 0:
            axes.set_ylabel("SUV", fontsize=9, color=INK)
        if number + across >= len(tracers):
            axes.set_xlabel("time after the injection, min", fontsize=9, color=INK)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(),
        loc="upper right",
        bbox_to_anchor=(1 - 0.1 / size[0], 1 - 0.05 / size[1]),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    said = "typical kinetics, SUV decay-corrected to the injection; the brightest tissues are named"
    heading(figure, "Tracers", said)
    return figure


def protocol_timeline(protocols: Sequence[Protocol]) -> Figure:
    """Frames as boxes and injections as lines, one row per protocol, all on one scale.

    Args:
        protocols: At least one.
    """
    height = 1.3 + 0.62 * len(protocols)
    figure = Figure(figsize=(12.5, height), dpi=DPI)
    bottom, top = 0.5 / height, 1 - 0.75 / height
    axes = figure.add_axes((0.085, bottom, 0.89, top - bottom))
    for row, protocol in enumerate(protocols):
        _protocol_row(axes, row, protocol)
    axes.set_ylim(len(protocols) - 0.45, -0.6)
    end = max(protocol.end for protocol in protocols) / 60
    axes.set_xlim(-0.004 * end, 1.004 * end)
    axes.set_yticks(range(len(protocols)), [protocol.name for protocol in protocols])
    axes.set_xlabel("time since the start of the scan, min", fontsize=9, color=INK)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=10)
    heading(figure, "Protocols", "boxes: frames; 1 and 2: injections of the two tracers")
    return figure


def _tissues(
    curves: Curves, *, inside: Set[str] | None = None, outside: Set[str] = frozenset()
) -> dict[str, FloatArray]:
    """Some tissues' curves, the highest at the end last."""
    kept = [n for n in curves.tissues if n not in outside and (inside is None or n in inside)]
    return {n: curves.tissues[n] for n in sorted(kept, key=lambda n: curves.tissues[n][-1])}


def _tissue_lines(axes: Axes, minute_T: FloatArray, tissues: Mapping[str, FloatArray]) -> None:
    """Lines with their names at the right, those of equal curves together."""
    together: dict[bytes, list[str]] = {}
    for name, curve_T in tissues.items():
        together.setdefault(curve_T.tobytes(), []).append(name)
    if not together:
        axes.text(0.5, 0.5, "no tissue", transform=axes.transAxes, ha="center", color=FAINT)
        return
    highest = max(float(curve_T.max()) for curve_T in tissues.values()) or 1.0
    axes.set_ylim(0, 1.05 * highest)
    ends = [float(tissues[names[0]][-1]) / (1.05 * highest) for names in together.values()]
    heights = spread(ends, LABEL_GAP)
    for number, names in enumerate(together.values()):
        style = region_style(names[0])
        colour = style["color"]
        axes.plot(minute_T, tissues[names[0]], lw=1.4, label=names[0], **style)
        leader = Line2D([1, 1.05], [ends[number], heights[number]], color=colour, lw=0.9)
        leader.set(transform=axes.transAxes, clip_on=False)
        axes.add_artist(leader)
        said = ", ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} more"
        place = (1.06, heights[number])
        axes.text(*place, said, transform=axes.transAxes, va="center", fontsize=8.5, color=INK)


def _blood_lines(axes: Axes, curves: Curves) -> None:
    """Whole blood and, where metabolites make it another, the parent in plasma."""
    same = np.array_equal(curves.blood, curves.plasma)
    name = "blood and plasma (no metabolites)" if same else "whole blood"
    axes.plot(curves.minutes, curves.blood, color=INK, lw=1.4, label=name)
    if not same:
        label = "parent in plasma"
        axes.plot(curves.minutes, curves.plasma, color=INK, lw=1.4, ls="--", label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(0.5 * float(curves.plasma[-1]), 2 * float(curves.blood.max()))
    axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=INK)


def _tile(axes: Axes, tracer: Tracer) -> None:
    """One tracer of the sheet."""
    curves = typical_curves(tracer)
    highest = 0.0
    groups = (
        ("brain", SERIES[0], _tissues(curves, inside=BRAIN)),
        ("body", SERIES[1], _tissues(curves, outside=BRAIN)),
    )
    for group, colour, tissues in groups:
        for number, curve_T in enumerate(tissues.values()):
            label = group if number == 0 else None
            axes.plot(curves.minutes, curve_T, color=colour, lw=0.9, label=label)
        if tissues:
            brightest = max(tissues, key=lambda name: float(tissues[name].max()))
            _name_peak(axes, curves.minutes, tissues[brightest], brightest, colour)
            highest = max(highest, float(tissues[brightest].max()))
    axes.plot(curves.minutes, curves.blood, color=BLOOD_COLOUR, lw=1, ls="--", label="blood")
    axes.set_ylim(0, 1.22 * (highest or 1.0))
    _minutes_axis(axes)
    axes.set_title(tracer.label, loc="left", fontsize=10, color=INK)
    axes.set_title(_isotope(tracer), loc="right", fontsize=8, color=FAINT)
    tidy(axes)


def _name_peak(
    axes: Axes, minute_T: FloatArray, curve_T: FloatArray, name: str, colour: str
) -> None:
    """A name above the highest point of a line."""
    peak = int(curve_T.argmax())
    sides = ("left", "center", "right")
    axes.annotate(
        name,
        (minute_T[peak], curve_T[peak]),
        xytext=(0, 3),
        textcoords="offset points",
        ha=sides[int(3 * minute_T[peak] / (MINUTES + 1))],
        fontsize=8,
        color=colour,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _minutes_axis(axes: Axes) -> None:
    axes.set_xlim(0, MINUTES)
    axes.set_xticks(np.linspace(0, MINUTES, 4))


def _protocol_row(axes: Axes, row: int, protocol: Protocol) -> None:
    boxes = [
        (start / 60, seconds / 60)
        for start, seconds in zip(protocol.frame_start, protocol.frame_duration, strict=True)
    ]
    axes.broken_barh(boxes, (row - 0.17, 0.42), facecolor=BOX, edgecolor=BOX_EDGE, lw=0.6)
    same = protocol.injection_time[0] == protocol.injection_time[1]
    for tracer, time in enumerate(protocol.injection_time):
        colour = SERIES[tracer]
        wide = 5.0 if same and tracer == 0 else 2.2  # so that both are seen
        axes.plot([time / 60] * 2, [row - 0.24, row + 0.25], color=colour, lw=wide)
        axes.annotate(
            str(tracer + 1),
            (time / 60, row - 0.24),
            xytext=(10 * tracer - 5 if same else 0, 1),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            fontweight="bold",
            color=colour,
        )
    axes.annotate(
        f"{protocol.frames} frames",
        (protocol.end / 60, row - 0.19),
        ha="right",
        va="bottom",
        fontsize=8,
        color=FAINT,
    )


def _isotope(tracer: Tracer) -> str:
    return f"{tracer.isotope}, half-life {duration(tracer.half_life, 2)}"
