"""Pictures of tracers and protocols: the curves obey the kinetics, the lines are the curves."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.protocol import load_protocol, protocol_names, protocol_of_frames
from dtsinn.core.tracer import PARAMETERS, Tracer, load_tracer, tracer_names
from dtsinn.plots.style import png
from dtsinn.plots.tracers import (
    BRAIN,
    draw_protocols,
    draw_tracers,
    protocol_timeline,
    tracer_curves,
    tracer_sheet,
)
from dtsinn.simulation.input_function import blood_curve, plasma_and_blood
from dtsinn.simulation.kinetics import frame_averages, time_grid
from dtsinn.simulation.typical_curves import MINUTES, typical_curves


def lines_of(axes: Axes) -> dict[str, NDArray[np.float64]]:
    """Lines with a label: not those that lead to a name."""
    lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines}
    return {label: line for label, line in lines.items() if label and label[0] != "_"}


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", ["fdg", "fmz"])
def test_typical_curves_are_the_present_activity_decay_corrected_per_dose_and_weight(
    name: str,
) -> None:
    tracer = load_tracer(name)
    curves = typical_curves(tracer)
    edges = np.array([0.0, 1790.0, 1800.0, 1810.0])
    times = time_grid(3600.0, np.array([*edges, 60 * tracer.input.delay_min]))
    inputs = plasma_and_blood(tracer.input, tracer.decay_constant, 0.0, times)
    kinetics = np.array([[getattr(t, p) for p in PARAMETERS] for t in tracer.tissues.values()])
    averages = frame_averages(kinetics, times, *inputs, tracer.decay_constant, edges)
    present = averages[:, 1:].mean(axis=1)
    suv = tracer.input.reference_weight_kg / tracer.input.reference_dose_MBq
    for tissue, value in zip(tracer.tissues, present, strict=True):
        drawn = np.interp(30.0, curves.minutes, curves.tissues[tissue])
        assert drawn == pytest.approx(value * 2 ** (1800 / tracer.half_life) * suv, rel=1e-3)
    blood = blood_curve(tracer.input, np.array([30.0]))[0] * suv
    assert np.interp(30.0, curves.minutes, curves.blood) == pytest.approx(blood, rel=1e-3)


def test_curves_do_not_depend_on_the_isotope_the_reference_dose_or_the_weight() -> None:
    tracer = load_tracer("rb82")
    curves = typical_curves(tracer)
    long_lived = typical_curves(dataclasses.replace(tracer, isotope="own", half_life=1e6))
    feng = tracer.input.feng
    assert feng is not None
    doubled = dataclasses.replace(
        tracer.input,
        feng=dataclasses.replace(feng, A1=2 * feng.A1, A2=2 * feng.A2, A3=2 * feng.A3),
        reference_dose_MBq=2 * tracer.input.reference_dose_MBq,
    )
    of_more = typical_curves(dataclasses.replace(tracer, input=doubled))
    for tissue, curve_T in curves.tissues.items():
        assert np.array_equal(curve_T, long_lived.tissues[tissue])
        np.testing.assert_allclose(curve_T, of_more.tissues[tissue], rtol=1e-9)


@pytest.mark.parametrize("name", tracer_names())
def test_every_tracer_has_finite_curves_that_start_at_nothing(name: str) -> None:
    tracer = load_tracer(name)
    curves = typical_curves(tracer)
    assert curves.minutes[0] < 60 * tracer.input.delay_min
    assert curves.minutes[-1] == pytest.approx(MINUTES, abs=0.5)
    for curve_T in (*curves.tissues.values(), curves.blood, curves.plasma):
        assert np.isfinite(curve_T).all()
        assert (curve_T >= 0).all()
        assert curve_T[0] == 0 < curve_T[-1]
        assert curve_T.max() < 100
    assert (curves.plasma <= curves.blood * (1 + 1e-12)).all()


def test_trapping_with_constant_release_of_nothing_never_falls() -> None:
    """An irreversible tissue without blood keeps what it took (k2 = 0)."""
    tracer = load_tracer("fdg")
    trap = dataclasses.replace(tracer.tissues["frontal"], k2=0.0, k3=0.0, k4=0.0, vB=0.0)
    kept_T = typical_curves(dataclasses.replace(tracer, tissues={"trap": trap})).tissues["trap"]
    assert (np.diff(kept_T) >= -1e-6).all()
    blood = typical_curves(tracer)
    taken = trap.K1 * np.trapezoid(blood.plasma, blood.minutes)
    assert kept_T[-1] == pytest.approx(taken, rel=0.01)


@pytest.mark.parametrize("name", ["fdg", "rb82"])
def test_each_tissue_is_drawn_and_named_once(name: str) -> None:
    tracer = load_tracer(name)
    figure = tracer_curves(tracer)
    curves = typical_curves(tracer)
    brain, body, blood = figure.axes
    for axes, inside in ((brain, True), (body, False)):
        expected = {n: c for n, c in curves.tissues.items() if (n in BRAIN) == inside}
        drawn = lines_of(axes)
        different = {curve_T.tobytes() for curve_T in expected.values()}
        assert {curve_T.tobytes() for curve_T in drawn.values()} == different
        assert len(drawn) == len(axes.texts) == len(different)
        for label, curve_T in drawn.items():
            assert np.array_equal(curve_T, expected[label])
        assert axes.get_ylim()[1] >= max(curve_T.max() for curve_T in expected.values())
    if name == "rb82":
        assert "frontal and 9 more" in [text.get_text() for text in brain.texts]
    assert np.array_equal(lines_of(blood)["blood and plasma (no metabolites)"], curves.blood)
    assert blood.get_yscale() == "log"
    assert brain.get_ylabel() == "SUV, decay-corrected to the injection"


def test_names_beside_the_lines_do_not_overlap() -> None:
    for name in ("fmz", "fdg", "met"):
        for axes in tracer_curves(load_tracer(name)).axes[:2]:
            heights = sorted(text.get_position()[1] for text in axes.texts)
            assert np.diff(heights).min() > 0.05
            assert heights[0] >= 0
            assert heights[-1] <= 1 + 1e-9


def test_metabolites_set_plasma_apart_from_blood() -> None:
    tracer = load_tracer("fmz")
    lines = lines_of(tracer_curves(tracer).axes[2])
    assert list(lines) == ["whole blood", "parent in plasma"]
    assert lines["parent in plasma"][-1] < 0.5 * lines["whole blood"][-1]


def test_the_title_says_what_is_injected_and_what_is_left() -> None:
    said = [text.get_text() for text in tracer_curves(load_tracer("fmz")).texts]
    left = 100 * math.exp(-load_tracer("fmz").decay_constant * 5400)
    assert said[0] == "11C-FMZ"
    assert f"C-11, half-life 20.4 min: {left:.2g} % of the activity is left" in said[1]
    assert said[1].endswith("after a bolus")
    short = [text.get_text() for text in tracer_curves(load_tracer("rb82")).texts][1]
    assert "half-life 75 s: less than 0.01 %" in short
    assert short.endswith("after a 30 s infusion")
    slow = dataclasses.replace(load_tracer("fdg"), isotope="Zr-89", half_life=282240.0)
    assert "half-life 78.4 h: 99 %" in [t.get_text() for t in tracer_curves(slow).texts][1]


def test_a_tracer_of_one_tissue_is_drawn() -> None:
    tracer = load_tracer("fdg")
    nothing = dataclasses.replace(tracer.tissues["csf"], K1=0.0, vB=0.0)
    alone = dataclasses.replace(tracer, tissues={"tumour": nothing})
    figure = tracer_curves(alone)
    assert "no tissue" in texts_of(figure)
    assert png(figure)
    assert png(tracer_sheet([alone]))


def test_the_sheet_has_a_tile_per_tracer_with_all_its_curves() -> None:
    tracers = [load_tracer(name) for name in ("fdg", "fmz", "nh3", "rb82", "flt")]
    figure = tracer_sheet(tracers)
    assert [axes.get_title("left") for axes in figure.axes] == [t.label for t in tracers]
    for axes, tracer in zip(figure.axes, tracers, strict=True):
        curves = typical_curves(tracer)
        drawn = [np.asarray(line.get_ydata()).tobytes() for line in axes.lines]
        expected = [curve_T.tobytes() for curve_T in (*curves.tissues.values(), curves.blood)]
        assert sorted(drawn) == sorted(expected)
        highest = max(float(curve_T.max()) for curve_T in curves.tissues.values())
        assert highest < axes.get_ylim()[1] < 1.5 * highest
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["brain", "body", "blood"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["putamen", "myocardium"]


def test_a_timeline_is_to_scale_and_marks_both_injections() -> None:
    protocols = [load_protocol(name) for name in protocol_names()]
    figure = protocol_timeline(protocols)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [p.name for p in protocols]
    rows = [part for part in axes.collections if isinstance(part, PolyCollection)]
    for protocol, row, number in zip(protocols, rows, range(len(rows)), strict=True):
        boxes = [path.vertices[:, 0] for path in row.get_paths()]
        np.testing.assert_allclose(
            [(box.min(), box.max()) for box in boxes],
            np.column_stack([protocol.frame_edges[:-1], protocol.frame_edges[1:]]) / 60,
        )
        marks = axes.lines[2 * number : 2 * number + 2]
        assert [60 * mark.get_xdata()[0] for mark in marks] == pytest.approx(
            protocol.injection_time
        )
        assert marks[0].get_color() != marks[1].get_color()
    longest = max(protocol.end for protocol in protocols) / 60
    assert axes.get_xlim()[0] < 0 < longest < axes.get_xlim()[1]
    assert texts_of(figure).count("18 frames") == sum(p.frames == 18 for p in protocols)


def test_injections_at_once_are_both_seen() -> None:
    protocol = protocol_of_frames("once", [0, 60], [60, 60], [0, 0])
    (axes,) = protocol_timeline([protocol]).axes
    first, second = axes.lines
    assert first.get_linewidth() > second.get_linewidth()
    texts: list[Any] = [*axes.texts]
    places = {text.get_text(): text.xyann[0] for text in texts if text.get_text() in "12"}
    assert places["2"] - places["1"] >= 8


def test_one_tracer_gets_a_file_and_several_a_sheet_too(tmp_path: Path) -> None:
    fdg, fmz = load_tracer("fdg"), load_tracer("fmz")
    assert [path.name for path in draw_tracers([fdg], tmp_path / "one")] == ["fdg.png"]
    mine = dataclasses.replace(fmz, name="fmz-2")
    paths = draw_tracers([fdg, mine], tmp_path / "two")
    assert [path.name for path in paths] == ["tracers.png", "fdg.png", "fmz-2.png"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in paths
    )
    assert paths[1].read_bytes() == (tmp_path / "one" / "fdg.png").read_bytes()
    sheet, curves, _ = (matplotlib.image.imread(path).shape for path in paths)
    assert curves[:2] == (517, 1452)
    assert sheet[1] > 700


def test_all_protocols_get_one_file(tmp_path: Path) -> None:
    path = draw_protocols([load_protocol("p1"), load_protocol("p3")], tmp_path / "new")
    assert path == tmp_path / "new" / "protocols.png"
    assert matplotlib.image.imread(path).shape[1] == 1375


def test_pictures_repeat_and_leave_no_global_figure() -> None:
    def drawn(tracer: Tracer) -> list[bytes]:
        figures = (
            tracer_curves(tracer),
            tracer_sheet([tracer]),
            protocol_timeline([load_protocol("p1")]),
        )
        return [png(figure) for figure in figures]

    assert drawn(load_tracer("fmz")) == drawn(load_tracer("fmz"))
    assert Gcf.get_num_fig_managers() == 0
