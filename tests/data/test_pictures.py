"""Pictures of a store: what they show is what the store holds, whatever the store lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.errors import StoreError
from dtsinn.core.protocol import protocol_of_frames
from dtsinn.core.seeds import generator
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.plots.stores import curves, draw_store, montage
from dtsinn.plots.style import png
from dtsinn.plots.sums import sum_check
from dtsinn.plots.views import decay_factors, largest_regions, readout_regions, setting, view_of

REGIONS = ("outside", "rim", "core")
LN2 = float(np.log(2))
CheckTexts = Callable[[Figure], None]
FINE = [20.0] * 6 + [60.0] * 8 + [300.0] * 10 + [600.0] * 3


@pytest.fixture
def samples(small_store: Store) -> Samples:
    return next(small_store.subjects("train"))


def write_store(
    path: Path,
    durations: Sequence[float],
    injections: tuple[float, float],
    *,
    size: tuple[int, int] = (24, 32),
    slices: int = 2,
    truth: bool = True,
    regions: bool = True,
    gain: float = 1.0,
    noise: float = 0.0,
) -> Store:
    """A store of one ``test`` subject, a disk in a rim; the mixture is ``gain`` times the sum."""
    starts = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    plan = StorePlan(
        tracers=("ptsm", "atsm"),
        protocol=protocol_of_frames("mine", starts.tolist(), durations, injections),
        half_life=(582.0, 582.0),
        size=size,
        voxel_size=(3.0, 2.0),
        subject=("s-3fa9c1",) * slices,
        slice_position=tuple(4.0 * n for n in range(slices)),
        split=("test",) * slices,
        region_names=REGIONS if regions else (),
        has_truth=truth,
        block=slices,
    )
    y, x = np.mgrid[: size[0], : size[1]]
    radius_YX = np.hypot((y - size[0] / 2) * 3.0, (x - size[1] / 2) * 2.0)
    label_YX = (radius_YX < 28).astype(np.uint8) + (radius_YX < 12)
    uptake_KR = np.array([[0.0, 5.0, 20.0], [0.0, 8.0, 3.0]])
    end_T = starts + np.array(durations)
    minute_KT = np.clip(end_T - np.array(injections)[:, None], 0, None) / 60
    tracers_KTYX = np.einsum("kt,kyx->ktyx", np.tanh(minute_KT / 20), uptake_KR[:, label_YX])
    mixture_NTYX = np.repeat(gain * tracers_KTYX.sum(axis=0)[None], slices, axis=0)
    mixture_NTYX += noise * generator(3).standard_normal(mixture_NTYX.shape) * (label_YX > 0)
    arrays = {"mixture": mixture_NTYX.astype(np.float32)}
    if truth:
        arrays["tracers"] = np.repeat(tracers_KTYX[None], slices, axis=0).astype(np.float32)
    if regions:
        arrays["regions"] = np.repeat(label_YX[None], slices, axis=0).astype(np.uint8)
    writer = StoreWriter(str(path), plan)
    writer.begin()
    writer.write(0, arrays)
    writer.seal()
    return open_store(str(path))


def the_subject(store: Store) -> Samples:
    return next(store.subjects("test"))


def images_of(figure: Figure) -> list[NDArray[np.floating]]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def steps_of(axes: Axes) -> dict[str, NDArray[np.float64]]:
    """Step lines by their label."""
    patches: list[Any] = [*axes.patches]
    return {str(patch.get_label()): patch.get_data().values for patch in patches}


def plot_of(figure: Figure, quantity: str) -> Axes:
    """The plot with this quantity on its y axis."""
    (axes,) = (axes for axes in figure.axes if axes.get_ylabel() == quantity)
    return axes


def panels_of(figure: Figure) -> dict[str, Axes]:
    """Plots with step lines, by their titles."""
    return {axes.get_title("left"): axes for axes in figure.axes if axes.patches}


class Watched(Store):
    """Remembers what is read."""

    asked: list[int]

    def read(self, index_N: Sequence[int] | NDArray[np.intp]) -> Samples:
        self.asked.extend(int(index) for index in index_N)
        return super().read(index_N)


def test_the_first_subjects_of_train_and_val_are_read_and_drawn_the_same_each_time(
    small_store: Store, tmp_path: Path
) -> None:
    store = Watched(small_store.group, small_store.arrays, small_store.header)
    store.asked = []
    folder = tmp_path / "new" / "folder"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "montage.png").write_bytes(b"older")
    paths = draw_store(store, folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    kinds = ("montage.png", "curves.png", "sum.png")
    assert names == [f"{split}/{kind}" for split in ("train", "val") for kind in kinds]

    firsts = [next(small_store.subjects(split)) for split in ("train", "val")]
    assert store.asked == [*firsts[0].index_N, *firsts[1].index_N]
    for path, draw in zip(paths, (montage, curves, sum_check), strict=False):
        assert path.read_bytes() == png(draw(firsts[0], small_store.header))
    for path in paths:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 400
        assert max(image.shape[:2]) < 1800
        assert image[..., :3].std() > 0.1
    assert len({path.read_bytes() for path in paths}) == len(paths)
    assert Gcf.get_num_fig_managers() == 0


def test_a_montage_shows_every_frame_of_the_fullest_slice_on_one_scale_per_series(
    small_store: Store, samples: Samples
) -> None:
    figure = montage(samples, small_store.header)
    fullest = int((samples.regions_NYX > 0).sum(axis=(1, 2)).argmax())
    rows, columns = view_of(samples, small_store.header).window
    shown = images_of(figure)
    assert len(shown) == 3 * 18
    header = small_store.header
    corrected = [
        samples.tracers_NKTYX[:, k] * decay_factors(header, k)[:, None, None] for k in (0, 1)
    ]
    series = (samples.mixture_NTYX, *corrected)
    body_YX = (samples.regions_NYX > 0)[fullest]
    norms = [axes.images[0].norm for axes in figure.axes if axes.images]
    for number, image_NTYX in enumerate(series):
        of_series = slice(18 * number, 18 * (number + 1))
        assert np.array_equal(np.array(shown[of_series]), image_NTYX[fullest][:, rows, columns])
        assert {norm.vmin for norm in norms[of_series]} == {0}
        brightest = image_NTYX[fullest][:, body_YX].max()
        assert [norm.vmax for norm in norms[of_series]] == [pytest.approx(brightest)] * 18
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == 3 * titles[:18]
    assert titles[:6] == [
        "0–2.5 min", "2.5–5 min", "5–7.5 min", "7.5–10 min", "10–15 min", "15–20 min",
    ]  # fmt: skip
    assert [axes.get_ylabel() for axes in figure.axes].count("kBq/mL") == 3
    marks = [axes.texts[0].get_text() for axes in figure.axes if axes.images]
    found = {place: mark for place, mark in enumerate(marks) if mark}
    assert found == {0: "↓FMZ", 6: "↓FDG", 18: "↓FMZ", 36 + 6: "↓FDG"}


def test_curves_are_the_regional_means_over_the_frames(
    small_store: Store, samples: Samples
) -> None:
    figure = curves(samples, small_store.header)
    panels = panels_of(figure)
    names, regions_NYX = small_store.header.region_names, samples.regions_NYX
    kept = readout_regions(regions_NYX, names, small_store.header.tracers, 6)
    assert list(panels) == list(kept.values())
    for name, axes in panels.items():
        part_NYX = regions_NYX == names.index(name)
        assert f"{part_NYX.sum()} pixels" in [text.get_text() for text in axes.texts]
        drawn = steps_of(axes)
        assert list(drawn) == ["mixture", "FMZ", "FDG"]
        for frame in range(18):
            mixture = samples.mixture_NTYX[:, frame][part_NYX].mean(dtype=np.float64)
            assert drawn["mixture"][frame] == pytest.approx(mixture, rel=1e-6)
            for k, tracer in enumerate(("FMZ", "FDG")):
                mean = samples.tracers_NKTYX[:, k, frame][part_NYX].mean(dtype=np.float64)
                assert drawn[tracer][frame] == pytest.approx(mean, rel=1e-6)
        edges = axes.patches[0].get_data().edges  # type: ignore[attr-defined]
        np.testing.assert_allclose(edges, np.array(small_store.header.protocol.frame_edges) / 60)
        assert [line.get_xdata()[0] for line in axes.lines] == [0, 20]
        assert {axes.get_ylim() for axes in panels.values()} == {axes.get_ylim()}
    styles = [patch.get_linestyle() for patch in next(iter(panels.values())).patches]
    assert styles == ["--", "-", "-"]


def test_small_maps_show_where_each_region_is(small_store: Store, samples: Samples) -> None:
    figure = curves(samples, small_store.header)
    for name, axes in panels_of(figure).items():
        (small,) = axes.child_axes
        part_NYX = samples.regions_NYX == small_store.header.region_names.index(name)
        map_YX = np.asarray(small.images[0].get_array())
        sample = int(part_NYX.sum(axis=(1, 2)).argmax())
        assert np.array_equal(map_YX == 2, part_NYX[sample])
        assert np.array_equal(map_YX > 0, samples.regions_NYX[sample] > 0)


def test_the_sum_picture_measures_the_noise_of_each_frame(
    small_store: Store, samples: Samples
) -> None:
    figure = sum_check(samples, small_store.header)
    difference_NTYX = samples.mixture_NTYX - samples.tracers_NKTYX.sum(axis=1)
    fullest = int((samples.regions_NYX > 0).sum(axis=(1, 2)).argmax())
    rows, columns = view_of(samples, small_store.header).window
    shown = images_of(figure)
    for image_YX, frame in zip(shown, (1, 4, 7, 10, 13, 16), strict=True):
        np.testing.assert_array_equal(image_YX, difference_NTYX[fullest, frame, rows, columns])
    norms = [axes.images[0].norm for axes in figure.axes if axes.images]
    assert {-norm.vmin for norm in norms} == {norm.vmax for norm in norms}
    assert len({norm.vmax for norm in norms}) == 1

    statistics = plot_of(figure, "difference, % of the mean sum")
    drawn = steps_of(statistics)
    body_NYX = samples.regions_NYX > 0
    for frame in range(18):
        of_frame = difference_NTYX[:, frame][body_NYX].astype(np.float64)
        mean = samples.tracers_NKTYX.sum(axis=1)[:, frame][body_NYX].mean(dtype=np.float64)
        noise = 100 * of_frame.std() / mean
        assert drawn["standard deviation"][frame] == pytest.approx(noise, rel=1e-4)
        assert drawn["mean"][frame] == pytest.approx(100 * of_frame.mean() / mean, abs=1e-3)

    density = plot_of(figure, "mixture, kBq/mL")
    counted = density.collections[0].get_array().sum()
    assert counted == pytest.approx(18 * body_NYX.sum(), rel=1e-3)  # but for the outermost pixels
    assert density.get_xlabel().startswith("sum")


def test_a_mixture_that_is_not_the_sum_shows(tmp_path: Path) -> None:
    store = write_store(tmp_path / "off.zarr", FINE, (60, 1230), gain=1.2, noise=0.1)
    figure = sum_check(the_subject(store), store.header)
    statistics = plot_of(figure, "difference, % of the mean sum")
    means_T = steps_of(statistics)["mean"]
    assert np.isnan(means_T[:3]).all(), "nothing is injected yet"
    np.testing.assert_allclose(means_T[-10:], 20, atol=0.2)
    assert "total mixture / total sum = 1.200" in [axes.get_title("left") for axes in figure.axes]
    png(figure)


def test_without_noise_the_mixture_lies_on_the_line(tmp_path: Path) -> None:
    store = write_store(tmp_path / "exact.zarr", [60.0] * 5, (0, 60))
    figure = sum_check(the_subject(store), store.header)
    statistics = plot_of(figure, "difference, % of the mean sum")
    for value_T in steps_of(statistics).values():
        np.testing.assert_allclose(value_T, 0, atol=1e-4)
    density = plot_of(figure, "mixture, kBq/mL")
    counts = density.collections[0].get_array().reshape(140, 140)
    assert counts.sum() == np.diag(counts).sum() > 0
    png(figure)


@pytest.mark.parametrize("regions", [True, False])
@pytest.mark.parametrize("truth", [True, False])
def test_stores_that_lack_something_are_drawn(tmp_path: Path, truth: bool, regions: bool) -> None:
    frames = [300.0] * 3
    store = write_store(
        tmp_path / "bare.zarr", frames, (0, 330), truth=truth, regions=regions, noise=0.2
    )
    samples = the_subject(store)
    names = [path.name for path in draw_store(store, tmp_path / "out")]
    assert names == ["montage.png", "curves.png", *(["sum.png"] if truth else [])]
    assert len(images_of(montage(samples, store.header))) == (3 if truth else 1) * 3
    panels = panels_of(curves(samples, store.header))
    assert list(panels) == (["rim", "core"] if regions else ["body", "whole image"])
    for axes in panels.values():
        assert list(steps_of(axes)) == ["mixture", *(["PTSM", "ATSM"] if truth else [])]
    if not regions:
        whole_T = samples.mixture_NTYX.mean(axis=(0, 2, 3), dtype=np.float64)
        drawn_T = steps_of(panels["whole image"])["mixture"]
        np.testing.assert_allclose(drawn_T, whole_T, rtol=1e-6)
        body_T = steps_of(panels["body"])["mixture"]
        disk_NTYX = samples.mixture_NTYX.transpose(0, 2, 3, 1)[samples.mixture_NTYX[:, -1] > 1]
        np.testing.assert_allclose(body_T, disk_NTYX.mean(axis=0, dtype=np.float64), rtol=1e-5)


def test_an_injection_in_a_frame_that_is_left_out_is_marked_at_the_next(tmp_path: Path) -> None:
    store = write_store(tmp_path / "fine.zarr", [60.0] * 36, (0, 960), truth=False)
    figure = montage(the_subject(store), store.header)
    marked = {
        axes.get_title(): axes.texts[0].get_text()
        for axes in figure.axes
        if axes.images and axes.texts[0].get_text()
    }
    assert marked == {"1–2 min": "↓PTSM", "17–18 min": "↓ATSM"}
    assert len(images_of(figure)) == 18
    assert "18 of 36 frames" in figure.texts[-1].get_text()


@pytest.mark.parametrize("truth", [True, False])
def test_one_slice_of_one_frame_is_drawn(tmp_path: Path, truth: bool) -> None:
    store = write_store(
        tmp_path / "one.zarr", [600.0], (0, 30), slices=1, size=(30, 18), truth=truth
    )
    for path in draw_store(store, tmp_path / "out"):
        assert path.parent.name == "test"
        assert min(matplotlib.image.imread(path).shape[:2]) > 300
    figure = montage(the_subject(store), store.header)
    (first, *_) = (axes for axes in figure.axes if axes.images)
    assert first.get_aspect() == 1.5
    assert first.texts[0].get_text() == "↓PTSM  ↓ATSM"


def test_an_empty_scan_is_drawn_whole(tmp_path: Path) -> None:
    store = write_store(tmp_path / "empty.zarr", [60.0, 60.0], (0, 60), gain=0.0, regions=False)
    samples = the_subject(store)
    nothing = dataclasses.replace(samples, tracers_NKTYX=np.zeros_like(samples.tracers_NKTYX))
    assert view_of(nothing, store.header).body_NYX.all()
    for draw in (montage, curves, sum_check):
        assert png(draw(nothing, store.header))


@pytest.mark.parametrize("injections", [(0, 250), (0, 1200), (0, 5400)])
def test_no_text_is_cut_or_lies_over_another_or_over_an_image(
    small_store: Store, samples: Samples, check_texts: CheckTexts, injections: tuple[float, float]
) -> None:
    protocol = small_store.header.protocol
    header = dataclasses.replace(
        small_store.header,
        tracers=("raclopride", "fluoroestradiol-18"),
        protocol=protocol_of_frames(
            "a-protocol-with-a-long-name", [*protocol.frame_start, 5400.0],
            [*protocol.frame_duration, 2800.0], injections,
        ),
    )  # fmt: skip
    last = {"mixture_NTYX": samples.mixture_NTYX[:, -1:]}
    longer = dataclasses.replace(
        samples,
        mixture_NTYX=np.append(samples.mixture_NTYX, last["mixture_NTYX"], axis=1),
        tracers_NKTYX=np.append(samples.tracers_NKTYX, samples.tracers_NKTYX[:, :, -1:], axis=2),
    )
    for draw in (montage, curves, sum_check):
        check_texts(draw(longer, header))


def test_tracers_are_shown_corrected_for_decay_until_next_to_nothing_is_left(
    small_store: Store, samples: Samples
) -> None:
    short_lived = dataclasses.replace(small_store.header, half_life=(75.0, 6588.0))
    factor_T = decay_factors(short_lived, 0)
    assert factor_T[0] == pytest.approx(150 * LN2 / 75 / (1 - 2**-2))
    assert np.isfinite(factor_T[:3]).all()
    assert np.isnan(factor_T[3:]).all(), "after nine minutes 1 in 147 is left"
    late_T = decay_factors(short_lived, 1)
    assert (late_T[:6] == 1).all(), "before the injection there is nothing to correct"
    assert late_T[-1] == pytest.approx(2 ** (3900 / 6588), rel=1e-3)
    figure = montage(samples, short_lived)
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.images]
    assert ["decayed" in texts for texts in said[18:36]] == [False] * 3 + [True] * 15
    assert "tracers decay-corrected, one scale each" in figure.texts[-1].get_text()


@pytest.mark.parametrize(
    ("tracers", "names", "expected"),
    [
        (("raclopride", "fdg"), ["csf", "white", "frontal", "putamen", "caudate"],
         ["putamen", "frontal", "caudate", "white"]),
        (("mine", "yours"), ["csf", "white", "frontal"], ["white", "frontal"]),
        (("mine", "yours"), ["csf"], ["csf"]),
    ],
)  # fmt: skip
def test_the_regions_that_the_tracers_are_given_for_come_first_and_csf_never(
    tracers: tuple[str, str], names: list[str], expected: list[str]
) -> None:
    sizes = [9, 8, 5, 1, 1][: len(names)]
    regions_NYX = np.repeat(np.arange(1, len(names) + 1), sizes).astype(np.uint8)[None, None]
    kept = readout_regions(regions_NYX, ("outside", *names), tracers, 4)
    assert list(kept.values()) == expected
    assert [names[label - 1] for label in kept] == expected


def test_the_sum_picture_wants_the_truth(tmp_path: Path) -> None:
    store = write_store(tmp_path / "bare.zarr", [60.0], (0, 0), truth=False)
    with pytest.raises(StoreError) as caught:
        sum_check(the_subject(store), store.header)
    assert str(caught.value) == (
        "this store has no true tracers; wanted a store with the array 'tracers'"
    )


def test_a_label_without_a_name_is_called_after_its_number() -> None:
    regions_NYX = np.array([[[0, 0, 0, 0, 2, 2, 3, 3, 3, 1]]], np.uint8)
    assert largest_regions(regions_NYX, REGIONS, 2) == {3: "region 3", 2: "core"}
    assert largest_regions(np.zeros((1, 2, 2), np.uint8), REGIONS, 2) == {}


def test_the_setting_leaves_out_what_is_unknown(small_store: Store) -> None:
    header = small_store.header
    assert setting(header) == "FMZ + FDG   ·   protocol p1   ·   brain   ·   mid noise"
    assert setting(dataclasses.replace(header, phantom="", noise="")) == (
        "FMZ + FDG   ·   protocol p1"
    )
