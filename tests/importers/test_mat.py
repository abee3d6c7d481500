"""The published code's layout: what is read is what was written, paired by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dtsinn.core.protocol import load_protocol
from dtsinn.core.seeds import generator
from dtsinn.importers.mat.subjects import natural_order

from .mat_study import (
    COLUMNS,
    FRAMES,
    KINDS,
    PEOPLE,
    ROWS,
    SLICES,
    STEMS,
    WRITERS,
    Study,
    images,
    plain,
    write_v7,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.mark.parametrize("version", WRITERS)
def test_images_come_back_as_they_were_written_whatever_the_version(
    study: Study, version: str
) -> None:
    for kind in KINDS:
        for stem in STEMS:
            study.write(kind, stem, by=WRITERS[version])
    source = study.open()
    for number, person in enumerate(PEOPLE):
        read = source.read(number)
        stems = [f"{person}_sample{z}" for z in SLICES]
        for k, kind in enumerate(["fmz", "fdg"]):
            written_SYXT = np.stack([images(kind, stem) for stem in stems])
            expected_STYX = 40.0 * written_SYXT.transpose(0, 3, 1, 2)
            assert np.allclose(read["tracers"][:, k], expected_STYX, rtol=1e-6)
        assert np.allclose(read["mixture"], read["tracers"].sum(axis=1), rtol=1e-5)
        assert read["mixture"].shape == (2, FRAMES, ROWS, COLUMNS)


def test_what_the_source_says_of_itself(study: Study) -> None:
    source = study.open(plain(splits={PEOPLE[1]: "test"}))
    shape = source.shape
    assert shape.tracers == ("fmz", "fdg")
    assert shape.protocol == load_protocol("p1")
    assert shape.half_life == (1224.0, 6588.0)
    assert shape.size == (ROWS, COLUMNS)
    assert shape.voxel_size == (2.5, 2.0)
    assert shape.has_truth is True
    assert [subject.identity for subject in source.subjects] == list(PEOPLE)
    assert [subject.split for subject in source.subjects] == [None, "test"]
    assert [subject.slice_position for subject in source.subjects] == [(6.0, 30.0)] * 2
    told = repr(source) + repr(shape)
    assert not any(person in told for person in PEOPLE)


def test_slices_are_in_the_order_of_their_numbers(study: Study) -> None:
    mixture = study.open().read(0)["mixture"]
    for place, z in enumerate(SLICES):
        written = images("hybrid", f"{PEOPLE[0]}_sample{z}")
        assert np.allclose(mixture[place], 40.0 * written.transpose(2, 0, 1), rtol=1e-6)
    assert sorted(["s10", "s2", "s1b", "s1"], key=natural_order) == ["s1", "s1b", "s2", "s10"]


@pytest.mark.parametrize(("unit", "factor"), [("kBq/mL", 1.0), ("Bq/mL", 1e-3)])
def test_units_are_converted(study: Study, unit: str, factor: float) -> None:
    scaled = study.open().read(0)["mixture"]
    converted = study.open(plain(scale=None, units=unit)).read(0)["mixture"]
    assert np.allclose(converted, scaled / 40.0 * factor, rtol=1e-6)


def test_rows_and_columns_can_be_turned(study: Study) -> None:
    as_stored = study.open().read(1)
    turned = study.open(plain(rows="back_to_front", columns="right_to_left")).read(1)
    for name, array in as_stored.items():
        assert np.array_equal(turned[name], array[..., ::-1, ::-1])
    assert np.array_equal(
        study.open(plain(rows="back_to_front")).read(1)["mixture"],
        as_stored["mixture"][..., ::-1, :],
    )


def test_a_mixture_needs_no_truth(study: Study) -> None:
    for kind in ("fmz", "fdg"):
        for path in (study.folder / kind).iterdir():
            path.unlink()
        (study.folder / kind).rmdir()
    source = study.open(plain(truth=False))
    assert source.shape.has_truth is False
    assert list(source.read(0)) == ["mixture"]
    assert "fmz: there is no such folder in the source; try folders" in study.refusal()


def test_folders_tracers_and_protocol_can_be_ones_own(study: Study, tmp_path: Path) -> None:
    (study.folder / "hybrid").rename(study.folder / "both")
    (study.folder / "fmz").rename(study.folder / "one")
    (study.folder / "fdg").rename(study.folder / "dtbz")
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndescription: mine\nsource: uncited\ninjections: [0, 60]\nframes: [[18, 20]]\n"
    )
    source = study.open(
        plain(
            tracers={"flt": 6588, "dtbz": 1224},
            protocol="mine.yaml",
            folders={"mixture": "both", "flt": "one"},
        )
    )
    assert source.shape.tracers == ("flt", "dtbz")
    assert source.shape.half_life == (6588.0, 1224.0)
    assert source.shape.protocol.end == 360.0
    assert np.allclose(
        source.read(0)["tracers"][0, 1],
        40.0 * images("fdg", STEMS[0]).transpose(2, 0, 1),
        rtol=1e-6,
    )


def test_subjects_can_be_listed(study: Study) -> None:
    # A stem may hold what a pattern would read as its own.
    listed = {
        PEOPLE[1]: [f"{PEOPLE[1]}_sample10", f"{PEOPLE[1]}_sample2"],
        PEOPLE[0]: f"{PEOPLE[0]}_*",
    }
    source = study.open(plain(subjects=listed))
    assert [subject.identity for subject in source.subjects] == [PEOPLE[1], PEOPLE[0]]
    assert [subject.slice_position for subject in source.subjects] == [(0.0, 3.0)] * 2
    as_listed = images("hybrid", f"{PEOPLE[1]}_sample10")
    assert np.allclose(source.read(0)["mixture"][0], 40 * as_listed.transpose(2, 0, 1), rtol=1e-6)
    natural = images("hybrid", f"{PEOPLE[0]}_sample2")
    assert np.allclose(source.read(1)["mixture"][0], 40 * natural.transpose(2, 0, 1), rtol=1e-6)


def test_one_frame_may_have_lost_its_axis(study: Study, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "name: one\ndescription: one\nsource: uncited\ninjections: [0, 60]\nframes: [[1, 120]]\n"
    )
    for kind in KINDS:
        for stem in STEMS:
            study.write(kind, stem, images(kind, stem)[..., 0])
    read = study.open(plain(protocol="one.yaml")).read(0)
    assert read["tracers"].shape == (2, 2, 1, ROWS, COLUMNS)


def test_integers_are_numbers(study: Study) -> None:
    counts = generator(1, "counts").integers(0, 200, (ROWS, COLUMNS, FRAMES)).astype(np.uint16)
    study.write("hybrid", STEMS[0], counts, by=write_v7)
    read = study.open().read(0)["mixture"]
    assert np.array_equal(read[0], 40.0 * counts.transpose(2, 0, 1))


def test_hidden_files_are_passed_over(study: Study) -> None:
    expected = study.open().read(1)["mixture"]
    (study.folder / "hybrid" / ".DS_Store").write_bytes(b"\0")
    (study.folder / "fdg" / f"._{STEMS[0]}.mat").write_bytes(b"\0")
    assert np.array_equal(study.open().read(1)["mixture"], expected)
