"""Figures: the same figure gives the same file, and no global state knows of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from dtsinn.core.errors import RunError
from dtsinn.plots.style import (
    ACTIVITY,
    body_window,
    colour_bar,
    heading,
    injection_line,
    minutes_text,
    png,
    region_style,
    short,
    show_image,
    shown_frames,
    spread,
    tidy,
    write_figure,
)


def a_figure() -> Figure:
    figure = Figure(figsize=(5, 3), dpi=100)
    axes = figure.add_axes((0.1, 0.1, 0.6, 0.6))
    tidy(axes)
    axes.plot([0, 20], [1, 2])
    injection_line(axes, 12, "FDG")
    colour_bar(figure, Normalize(0, 7), ACTIVITY, (0.8, 0.1, 0.7), "kBq/mL")
    heading(figure, "Title", "subtitle")
    return figure


def test_the_same_figure_gives_the_same_bytes_and_leaves_no_global_figure() -> None:
    first = png(a_figure())
    assert first == png(a_figure())
    assert matplotlib.image.imread(io.BytesIO(first)).shape[:2] == (330, 550)
    assert Gcf.get_num_fig_managers() == 0


def test_a_figure_is_written_into_a_new_folder_and_in_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "figure.png"
    assert write_figure(a_figure(), path) == path
    written = path.read_bytes()
    path.write_bytes(b"old")
    write_figure(a_figure(), path)
    assert path.read_bytes() == written == png(a_figure())


def test_a_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError) as caught:
        write_figure(a_figure(), tmp_path / "taken" / "figure.png")
    assert "taken/figure.png cannot be written; got " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_injection_is_a_line_at_its_minute_with_its_name() -> None:
    axes = Figure().add_subplot()
    injection_line(axes, 20, "FDG")
    injection_line(axes, 21, "FMZ", row=1)
    assert [list(line.get_xdata()) for line in axes.lines] == [[20, 20], [21, 21]]
    first, second = axes.texts
    assert [first.get_text(), second.get_text()] == ["FDG", "FMZ"]
    assert second.xyann[1] < first.xyann[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("norm", [Normalize(-2, 9), LogNorm(1, 300)])
def test_a_colour_bar_spans_its_scale(norm: Normalize) -> None:
    bar = colour_bar(Figure(figsize=(8, 4)), norm, ACTIVITY, (0.85, 0.1, 0.9), "kBq/mL")
    assert bar.get_ylim() == pytest.approx((norm.vmin, norm.vmax))
    assert bar.get_ylabel() == "kBq/mL"


def test_an_image_shows_its_numbers_and_the_shape_of_its_pixels() -> None:
    image_YX = np.arange(12.0).reshape(3, 4)
    axes = Figure().add_subplot()
    show_image(axes, image_YX, ACTIVITY, Normalize(0, 11), 2.5)
    assert np.array_equal(axes.images[0].get_array(), image_YX)
    assert axes.get_aspect() == 2.5
    assert not axes.axison


@given(frames=st.integers(1, 400), most=st.integers(1, 20))
def test_shown_frames_are_ascending_spread_and_never_too_many(frames: int, most: int) -> None:
    shown = shown_frames(frames, most)
    assert len(shown) == min(frames, most)
    gaps = np.diff([-1, *shown, frames])
    assert (gaps > 0).all()
    assert max(gaps) <= np.ceil(frames / len(shown)) + 1
    if frames <= most:
        assert shown == list(range(frames))


def test_frames_are_written_in_minutes_without_idle_zeros() -> None:
    assert minutes_text(150, 150) == "2.5–5"
    assert minutes_text(0, 20) == "0–0.33"
    assert minutes_text(3000, 600) == "50–60"
    assert [short(x) for x in (0, 100, 9.983, 0.004)] == ["0", "100", "9.98", "0"]


def test_a_region_has_one_colour_in_every_figure_and_process() -> None:
    brain = (
        "csf",
        "white",
        "frontal",
        "parietal",
        "temporal",
        "occipital",
        "hippocampus",
        "thalamus",
        "caudate",
        "putamen",
        "cerebellum",
        "brainstem",
        "tumour",
        "necrosis",
    )
    body = ("muscle", "bone", "airway", "blood", "myocardium", "liver", "lung", "mediastinum",
            "lesion", "necrosis", "background")  # fmt: skip
    for names in (brain, body):
        assert len({tuple(region_style(name).values()) for name in names}) == len(names)
    assert region_style("putamen") == {"color": "#bd1f01", "ls": "-"}
    assert region_style("my own region") == {"color": "#a96b59", "ls": "-"}, "whatever hash() says"


def test_a_long_heading_is_set_smaller_and_not_cut(check_texts: Callable[[Figure], None]) -> None:
    figure = Figure(figsize=(4, 2))
    heading(figure, "A title " * 9, "a subtitle " * 11)
    check_texts(figure)


def test_the_window_holds_the_body_and_a_little_air() -> None:
    body_YX = np.zeros((20, 30), bool)
    body_YX[5:9, 1:12] = True
    rows, columns = body_window(body_YX)
    assert (rows, columns) == (slice(3, 11), slice(0, 14))
    assert body_YX[rows, columns].sum() == body_YX.sum()
    everything = np.ones((4, 6), bool)
    assert everything[body_window(~everything)].shape == everything.shape


@given(heights=st.lists(st.floats(0, 1), min_size=1, max_size=19))
def test_names_are_moved_apart_in_order_and_inside(heights: list[float]) -> None:
    placed = spread(sorted(heights), 0.05)
    assert (np.diff(placed) >= 0.05 - 1e-9).all()
    assert placed[0] >= 0
    assert placed[-1] <= 1 + 1e-9


def test_names_that_stand_apart_stay_and_others_move_to_both_sides() -> None:
    assert np.array_equal(spread([0.1, 0.5, 0.9], 0.05), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread([0.2, 0.5, 0.5, 0.5], 0.1), [0.2, 0.4, 0.5, 0.6])
