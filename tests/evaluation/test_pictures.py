"""Pictures: what they show is what was measured."""

from __future__ import annotations

import dataclasses
import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.text import Text

from dtsinn.data.body import mean_curves
from dtsinn.evaluation import charts
from dtsinn.evaluation.results import CellResult, ModelScores, summarise
from dtsinn.evaluation.score import score_subjects
from dtsinn.plots import separations
from dtsinn.plots.montage import ERROR_SPAN, montage, region_edges, relative_error
from dtsinn.plots.style import png


@pytest.fixture
def answer(samples):
    return samples.tracers_NKTYX * np.float32(1.1)


def test_separation_shows_truth_answer_and_error_on_shared_scales(scene, samples, answer):
    figure = separations.separation(samples, answer, scene.header)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 36  # 6 rows of 6 frames
    for tracer in (0, 1):
        rows = [images[18 * tracer + 6 * row :][:6] for row in range(3)]
        truth, answered, error = rows
        assert {image.norm.vmax for image in truth} == {image.norm.vmax for image in answered}
        assert {image.norm.vmin for image in truth + answered} == {0}
        assert all(image.norm.vmin == -image.norm.vmax for image in error)
        for three in zip(truth, answered, error, strict=True):
            shown = [np.asarray(image.get_array()) for image in three]
            np.testing.assert_allclose(shown[2], shown[1] - shown[0], atol=1e-6)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels.count("kBq/mL") == 4


def test_separation_titles_are_the_frames_it_shows(scene, samples, answer):
    figure = separations.separation(samples, answer, scene.header)
    assert [axes.get_title() for axes in figure.axes[:6]] == [
        "2.5–5 min",
        "10–15 min",
        "22.5–25 min",
        "30–35 min",
        "45–50 min",
        "70–80 min",
    ]


def test_curves_are_the_regional_means_against_minutes(scene, samples, answer):
    figure = separations.regional_curves(samples, answer, scene.header)
    protocol = scene.header.protocol
    for tracer, axes in enumerate(figure.axes):
        lines = {line.get_label(): line for line in axes.lines}
        true = mean_curves(
            samples.tracers_NKTYX[:, tracer], samples.regions_NYX, scene.header.region_names
        )
        for region, curve_T in true.items():
            np.testing.assert_allclose(lines[region].get_ydata(), curve_T)
            assert lines[region].get_xdata()[-1] == pytest.approx(85)
        injection = protocol.injection_time[tracer] / 60
        assert any(list(line.get_xdata()) == [injection] * 2 for line in axes.lines)


def test_no_text_is_cut_whatever_the_tracers_are_called(scene, samples, answer, check_texts):
    long = dataclasses.replace(scene.header, tracers=("raclopride", "fluoroestradiol-18"))
    for draw in (separations.separation, separations.regional_curves):
        check_texts(draw(samples, answer, long))
    named = [
        text.get_text() for text in separations.separation(samples, answer, long).axes[0].texts
    ]
    assert "RACLOPRIDE" in named


def test_late_frames_are_corrected_for_decay_and_decayed_ones_are_left_out(scene, samples, answer):
    header = dataclasses.replace(scene.header, half_life=(75.0, 6588.0))
    figure = separations.separation(samples, answer, header)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    shown = [not np.isnan(np.asarray(image.get_array(), dtype=float)).any() for image in images]
    assert shown == 3 * [True, *[False] * 5] + 18 * [True]
    assert np.isfinite([image.norm.vmax for image in images]).all()


def test_bias_has_one_axis_for_both_tracers(scene):
    scores = score_subjects(lambda mixture: np.stack((mixture, mixture / 3), 1), scene, "val")
    model = ModelScores(model="net", subjects=tuple(scores), summary=summarise(scores))
    cell = CellResult(
        key="store", source="store", tracers=scene.header.tracers, protocol="p1", noise="mid",
        phantom="rings", store_digest="", models=(model,), floor=None, differences=(),
    )  # fmt: skip
    first, second = charts.regional_bias(cell).axes
    assert first.get_xlim() == second.get_xlim()
    assert cell.subjects == model.summary.psnr.n == 3


def test_pictures_without_regions_show_the_body(scene, samples, answer):
    bare = dataclasses.replace(samples, regions_NYX=None)
    figure = separations.regional_curves(bare, answer, scene.header)
    assert "body" in [line.get_label() for line in figure.axes[0].lines]
    assert len(separations.separation(bare, answer, scene.header).axes) == 40


def test_png_is_an_image_repeats_and_leaves_no_global_figure(scene, samples, answer):
    first, second = (png(separations.separation(samples, answer, scene.header)) for _ in range(2))
    assert first == second
    image = matplotlib.image.imread(io.BytesIO(first))
    assert min(image.shape[:2]) > 500
    assert Gcf.get_num_fig_managers() == 0


def draw_montage(samples, answer, header, tracer=1):
    return montage(samples, answer, header, tracer, "FDG", "a subject")


def test_a_montage_shows_mixture_truth_answer_and_relative_error(scene, samples, answer):
    figure = draw_montage(samples, answer, scene.header)
    mixture, truth, answered, error = (axes.images[0] for axes in figure.axes if axes.images)
    assert truth.norm.vmax == answered.norm.vmax
    assert (error.norm.vmin, error.norm.vmax) == (-ERROR_SPAN, ERROR_SPAN)
    shown = np.ma.getdata(error.get_array())
    there = np.isfinite(shown)
    assert there.any()
    np.testing.assert_allclose(shown[there], 10, rtol=1e-4)  # the answer is 1.1 times the truth
    assert np.nanmax(np.ma.getdata(mixture.get_array())) <= samples.mixture_NTYX.max()
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert bars == ["kBq/mL, as measured", "kBq/mL", "% of the truth"]


def test_a_montage_marks_sides_where_they_are_known_and_names_regions(scene, samples, answer):
    figure = draw_montage(samples, answer, scene.header)
    assert [text.get_text() for text in figure.axes[0].texts[-2:]] == ["L", "R"]
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"frontal", "putamen"}
    unknown = dataclasses.replace(scene.header, phantom="", origin="imported")
    texts = [text.get_text() for text in draw_montage(samples, answer, unknown).findobj(Text)]
    assert "L" not in texts
    assert "The store does not say which side is left" in texts


def test_no_text_of_a_montage_is_cut(scene, samples, answer, check_texts):
    unknown = dataclasses.replace(scene.header, phantom="", origin="imported")  # no letters on it
    check_texts(draw_montage(samples, answer, unknown))


def test_relative_errors_are_left_out_where_the_truth_is_faint():
    truth = np.array([[[10.0, 0.5, 0.0, 5.0]]])
    found = relative_error(truth * 1.2, truth)
    np.testing.assert_allclose(found, [[[20, np.nan, np.nan, 20]]])


def test_edges_of_a_region_go_around_it():
    inside = np.zeros((4, 5), dtype=bool)
    inside[1, 1:3] = True
    edges = region_edges(inside)
    assert len(edges) == 6  # a rectangle of one by two pixels
    assert (edges[..., 0].min(), edges[..., 0].max()) == (0.5, 2.5)
    assert (edges[..., 1].min(), edges[..., 1].max()) == (0.5, 1.5)
    lengths = np.abs(np.diff(edges, axis=1)).sum(axis=(1, 2))
    np.testing.assert_array_equal(lengths, 1)
