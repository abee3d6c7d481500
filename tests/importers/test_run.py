"""Importing a study: what the store holds, how it goes on after a stop, and what leaves nothing."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import fsspec
import numpy as np
import pytest

from dtsinn.core.errors import InputError, RunError, StoreError
from dtsinn.core.protocol import protocol_of_frames
from dtsinn.core.seeds import generator
from dtsinn.data.splits import assign_splits
from dtsinn.data.store import open_store
from dtsinn.importers.run import import_study
from dtsinn.importers.scans import IMPORTERS
from dtsinn.importers.source import SourceSubject, StudyShape

SHARES = {"train": 0.55, "val": 0.1, "gate": 0.2, "test": 0.15}
SHAPE = StudyShape(
    tracers=("one", "two"),
    protocol=protocol_of_frames("short", [0, 10, 20], [10, 10, 40], [0, 10]),
    half_life=(100.0, 200.0),
    size=(3, 4),
    voxel_size=(2.0, 2.5),
    has_truth=True,
    attributes={"source_format": "arrays", "noise": {"model": "measured"}},
)


class ArraySource:
    """Random subjects with unequal numbers of slices: the smallest study there is."""

    def __init__(self, slices: Sequence[int], *, split: Sequence[str | None] | None = None) -> None:
        self.shape = SHAPE
        self.subjects = tuple(
            SourceSubject(
                identity=f"person {number}",
                split=None if split is None else split[number],
                slice_position=tuple(3.0 * z for z in range(count)),
                where=f"subjects.{number}",
            )
            for number, count in enumerate(slices)
        )
        self.fingerprint = "arrays"
        self.read_so_far: list[int] = []
        self.stop_at: int | None = None

    def read(self, subject: int) -> dict[str, np.ndarray]:
        if subject == self.stop_at:
            raise KeyboardInterrupt
        self.read_so_far.append(subject)
        return self.images(subject)

    def images(self, subject: int) -> dict[str, np.ndarray]:
        slices = len(self.subjects[subject].slice_position)
        tracers = generator(1, subject).random((slices, 2, 3, *self.shape.size), dtype=np.float32)
        tracers[:, 1, 0] = 0
        return {"mixture": tracers.sum(axis=1) - 0.5, "tracers": tracers}


class DamagedSource(ArraySource):
    """One whose last subject is not what it promised."""

    def __init__(self, change) -> None:
        super().__init__([5, 5, 5, 5])
        self.change = change

    def images(self, subject: int) -> dict[str, np.ndarray]:
        images = super().images(subject)
        if subject == 3:
            self.change(images)
        return images


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "study.zarr")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return tmp_path / "people.json"


def test_every_subject_stands_whole_in_the_store(out, people) -> None:
    source = ArraySource([7, 1, 20, 4, 9, 2, 13])
    header = import_study(source, out, people)
    store = open_store(out, need_truth=True)
    assert store.block == 16
    assert (header.samples, header.tracers, header.size) == (56, ("one", "two"), (3, 4))
    assert (header.voxel_size, header.half_life) == ((2.0, 2.5), (100.0, 200.0))
    assert header.protocol.injection_time == (0.0, 10.0)
    known = json.loads(people.read_text())["subjects"]
    number_of = {subject.identity: n for n, subject in enumerate(source.subjects)}
    assert len(set(store.subject_N)) == len(known) == 7
    for name, identity in known.items():
        samples = store.read(np.flatnonzero(store.subject_N == name))
        images = source.images(number_of[identity])
        assert np.array_equal(samples.mixture_NTYX, images["mixture"])
        assert np.array_equal(samples.tracers_NKTYX, images["tracers"])
        subject = source.subjects[number_of[identity]]
        assert np.array_equal(samples.slice_N, subject.slice_position)
    runs = [name for name, _ in itertools.groupby(store.subject_N)]
    assert len(runs) == 7, "the slices of a subject stand together"


def test_splits_are_assigned_by_number_and_stand_together(out, people) -> None:
    import_study(ArraySource([1] * 20), out, people)
    store = open_store(out)
    split_of = dict(zip(store.subject_N, store.split_N, strict=True))
    known = json.loads(people.read_text())["subjects"]
    wanted = assign_splits(20, SHARES)
    for name, identity in known.items():
        assert split_of[name] == wanted[int(identity.split()[1])]
    assert [split for split, _ in itertools.groupby(store.split_N)] == list(SHARES)


def test_other_shares_may_be_asked_for(out, people) -> None:
    import_study(ArraySource([1] * 4), out, people, shares={"train": 0.5, "test": 0.5})
    assert open_store(out).split_counts() == {"train": 2, "val": 0, "gate": 0, "test": 2}


def test_splits_of_the_plan_are_kept(out, people) -> None:
    split = ["test", "val", "test", "gate"]
    import_study(ArraySource([2, 1, 1, 3], split=split), out, people)
    store = open_store(out)
    assert store.split_counts() == {"train": 0, "val": 1, "gate": 1, "test": 2}


def test_the_store_says_how_it_came_about(out, people) -> None:
    import_study(ArraySource([2]), out, people)
    attributes = dict(open_store(out).group.attrs)
    assert attributes["format"] == "dtsinn-store"
    assert attributes["source_format"] == "arrays"
    assert attributes["noise"] == {"model": "measured"}
    assert attributes["generator_version"]


def test_progress_tells_of_every_subject_and_of_the_check(out, people) -> None:
    told: list[tuple[str, int, int]] = []
    import_study(ArraySource([2, 2, 2]), out, people, lambda *words: told.append(words))
    assert [words for words in told if words[0] == "importing subjects"] == [
        ("importing subjects", done, 3) for done in range(4)
    ]
    assert "checking" in {words[0] for words in told}


def test_an_interrupted_import_goes_on_where_it_stopped(out, people, tmp_path) -> None:
    slices = [10, 3, 12, 1, 1, 9, 14, 2, 8, 6]
    whole = import_study(ArraySource(slices), str(tmp_path / "whole.zarr"), people)
    source = ArraySource(slices)
    order = _order(slices)
    source.stop_at = order[-1]
    with pytest.raises(KeyboardInterrupt):
        import_study(source, out, people)
    assert not Path(out).exists()
    assert Path(f"{out}.partial").exists()
    again = ArraySource(slices)
    header = import_study(again, out, people)
    assert header.digest == whole.digest
    assert not Path(f"{out}.partial").exists()
    # 66 samples: four blocks were whole, the last begins with sample 64.
    starts = np.cumsum([0, *[slices[number] for number in order]])
    needed = [number for number, end in zip(order, starts[1:], strict=True) if end > 64]
    assert again.read_so_far == needed
    assert 0 < len(needed) < len(slices)


def _order(slices: Sequence[int]) -> list[int]:
    splits = assign_splits(len(slices), SHARES)
    return sorted(range(len(slices)), key=lambda number: list(SHARES).index(splits[number]))


def test_a_subject_between_two_stops_is_read_again(out, people, tmp_path) -> None:
    """Stopped at every subject in turn, each time going on by the same call."""
    slices = [10, 3, 12, 1, 1, 9, 14]
    whole = import_study(ArraySource(slices), str(tmp_path / "whole.zarr"), people)
    for stop in _order(slices)[1:]:
        source = ArraySource(slices)
        source.stop_at = stop
        with pytest.raises(KeyboardInterrupt):
            import_study(source, out, people)
    assert import_study(ArraySource(slices), out, people).digest == whole.digest


def test_another_study_does_not_go_on_with_what_was_left(out, people) -> None:
    source = ArraySource([20, 20])
    source.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        import_study(source, out, people)
    with pytest.raises(StoreError, match="was begun with other settings; got samples_digest"):
        import_study(ArraySource([20, 21]), out, people)
    with pytest.raises(StoreError, match="was begun with other settings; got samples_digest"):
        import_study(ArraySource([20, 20]), out, people.with_name("other.json"))
    assert Path(f"{out}.partial").exists()
    import_study(ArraySource([20, 20]), out, people)


def test_what_is_worth_a_look_is_told_a_line_each(out, people) -> None:
    source = ArraySource([1] * 4)
    source.shape = dataclasses.replace(SHAPE, remarks=("a remark of the headers",))
    told: list[str] = []
    import_study(source, out, people, note=told.append)
    first, *images, splits = told
    assert first == "a remark of the headers"
    assert splits.startswith("few subjects: none in val (1 by which trainings and searches steer)")
    assert len(images) == len(set(images)) > 0
    without = ArraySource([1])
    without.shape = dataclasses.replace(SHAPE, has_truth=False)
    told.clear()
    import_study(without, out + "2", people, note=told.append)
    assert not any("few subjects" in line for line in told), "no labels, nothing to train on"


def _scaled(factor: float):
    def change(images) -> None:
        for name in images:
            images[name] *= factor

    return change


def _no_second(images) -> None:
    images["tracers"][:, 1] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_scaled(1e4), r"subjects\.3: mixture: activity; got 6.*; .*unusual_activity: yes in the"),
        (_scaled(1e6), r"subjects\.3: mixture: activity; got .*; wanted at most 100000 kBq/mL"),
        (_scaled(1e-3), r"subjects\.3: mixture: activity; got .*unusual_activity: yes"),
        (_scaled(-1.0), r"subjects\.3: one: activity; got no voxel above 0"),
        (_scaled(0.0), r"subjects\.3: mixture: activity; got 0 everywhere"),
        (_no_second, r"subjects\.3: two: activity; got 0 everywhere"),
    ],
)
def test_activity_that_cannot_be_leaves_no_store(out, people, change, message) -> None:
    with pytest.raises(InputError, match=message):
        import_study(DamagedSource(change), out, people)
    assert not list(Path(out).parent.glob("study.zarr*"))


def test_what_the_plan_says_is_so_is_imported(out, people) -> None:
    source = DamagedSource(_scaled(1e4))
    accepted = frozenset({"unusual_activity"})
    source.subjects = tuple(dataclasses.replace(s, accepted=accepted) for s in source.subjects)
    assert import_study(source, out, people).samples == 20


def _nan(images) -> None:
    images["mixture"][2, 1, 0, 0] = np.nan


def _huge(images) -> None:
    images["mixture"] = images["mixture"].astype(np.float64)
    images["mixture"][2, 1, 0, 0] = 1e39


def _short(images) -> None:
    images["tracers"] = images["tracers"][:-1]


def _early(images) -> None:
    images["tracers"][1, 1, 0, 2, 2] = 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, r"subjects\.3: mixture holds NaN, infinity or numbers beyond float32"),
        (_huge, r"subjects\.3: mixture holds NaN, infinity or numbers beyond float32"),
        (
            _short,
            r"subjects\.3: shape of tracers; got \(4, 2, 3, 3, 4\); wanted \(5, 2, 3, 3, 4\)",
        ),
        (
            _early,
            r"subjects\.3: two has activity before its injection; got some in the 1 frames that "
            "end by 10 s; wanted 0 in them; try the other order of tracers, or another protocol",
        ),
    ],
)
def test_images_that_are_damaged_leave_no_store(out, people, change, message) -> None:
    with pytest.raises(InputError, match=message):
        import_study(DamagedSource(change), out, people)
    assert not list(Path(out).parent.glob("study.zarr*"))


def test_object_storage_is_written_and_cleaned_up_too(people) -> None:
    with pytest.raises(InputError, match=r"subjects\.3: mixture holds NaN"):
        import_study(DamagedSource(_nan), "memory://damaged.zarr", people)
    assert not fsspec.filesystem("memory").find("damaged.zarr")
    import_study(ArraySource([5, 20]), "memory://whole.zarr", people)
    assert open_store("memory://whole.zarr").header.samples == 25


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            ArraySource([1, 1, 1], split=["train", None, "test"]),
            r"subjects\.1: split is missing; wanted a split for every subject, or for none",
        ),
    ],
)
def test_a_split_for_some_is_refused(out, people, source, message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_study(source, out, people)
    assert not list(people.parent.iterdir())


def test_the_same_person_twice_is_refused(out, people) -> None:
    source = ArraySource([1, 1, 1])
    first, second, third = source.subjects
    again = SourceSubject(
        identity=f" {first.identity}\n",
        split=None,
        slice_position=third.slice_position,
        where=third.where,
    )
    source.subjects = (first, second, again)
    with pytest.raises(InputError, match=r"subjects\.2 has the same id as subjects\.0") as caught:
        import_study(source, out, people)
    assert "person" not in str(caught.value)
    assert not list(people.parent.iterdir())


def test_what_exists_is_not_overwritten(out, people) -> None:
    Path(out).mkdir()
    with pytest.raises(StoreError, match="exists already"):
        import_study(ArraySource([1]), out, people)
    assert not people.exists()


def test_the_map_may_not_lie_in_the_store(out) -> None:
    for folder in (out, f"{out}.partial"):
        with pytest.raises(InputError, match="lies inside the store; wanted a place"):
            import_study(ArraySource([1]), out, Path(folder) / "people.json")
    assert not list(Path(out).parent.iterdir())


def test_an_open_map_stops_the_import_before_it_begins(out, people) -> None:
    import_study(ArraySource([1]), out + "1", people)
    people.chmod(0o644)
    with pytest.raises(InputError, match="open to others than its owner"):
        import_study(ArraySource([1]), out, people)
    assert not Path(f"{out}.partial").exists()


def test_pairs_of_nifti_scans_become_a_checked_store(study, out, people, simulated) -> None:
    archive, plan = study
    source = IMPORTERS["nifti"].open(archive.plan(plan))
    header = import_study(source, out, people)
    store = open_store(out, need_truth=True)
    assert header.samples == 12
    assert store.group.attrs["labels"] == "single-tracer scans"
    known = json.loads(people.read_text())["subjects"]
    name = next(name for name, identity in known.items() if identity == "person-1")
    samples = store.read(np.flatnonzero(store.subject_N == name))
    truth = simulated[1].direct_SKTYX
    assert np.abs(samples.tracers_NKTYX - truth).max() < 0.003 * truth.max()


def test_mixtures_without_truth_become_a_store_too(archive, out, people, simulated) -> None:
    archive.sidecar(
        "m",
        {
            "FrameTimesStart": [0, 600],
            "FrameDuration": [600, 600],
            "ImageDecayCorrected": False,
            "Units": "kBq/mL",
        },
    )
    mixture = simulated[0].direct_SKTYX.sum(axis=1)[:, :2]
    image = archive.image("m", mixture).name
    plan = {
        "tracers": ["fmz", "fdg"],
        "subjects": [{"id": "p", "mixture": {"image": image, "injection_time": [0, 600]}}],
    }
    header = import_study(IMPORTERS["nifti"].open(archive.plan(plan)), out, people)
    assert not header.has_truth
    assert header.protocol.name == "measured"
    assert np.allclose(open_store(out).read(range(4)).mixture_NTYX, mixture)


def test_other_plans_and_files_do_not_go_on_with_what_was_left(out, people) -> None:
    source = ArraySource([20, 20])
    source.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        import_study(source, out, people)
    other = ArraySource([20, 20])
    other.fingerprint = "arrays in another unit"
    with pytest.raises(StoreError, match="was begun with other settings; got samples_digest"):
        import_study(other, out, people)
    import_study(ArraySource([20, 20]), out, people)
    digest = open_store(out).group.attrs["samples_digest"]
    assert import_study(ArraySource([20, 20]), out + "2", people.with_name("other.json"))
    assert open_store(out + "2").group.attrs["samples_digest"] != digest, "by the map's salt"


def test_a_refusal_takes_back_what_it_added_to_the_map(out, people) -> None:
    with pytest.raises(InputError, match="holds NaN"):
        import_study(DamagedSource(_nan), out, people)
    assert not list(people.parent.iterdir())
    import_study(ArraySource([1]), out + "1", people)
    before = people.read_bytes()
    with pytest.raises(InputError, match="holds NaN"):
        import_study(DamagedSource(_nan), out, people)
    assert people.read_bytes() == before


class FailingSource(ArraySource):
    """One whose last subject cannot be read for now."""

    def __init__(self, error: Exception) -> None:
        super().__init__([20, 20])
        self.error = error

    def images(self, subject: int) -> dict[str, np.ndarray]:
        if subject == 1:
            raise self.error
        return super().images(subject)


@pytest.mark.parametrize("error", [MemoryError(), RunError("cannot be read for now")])
def test_a_failure_that_passes_keeps_what_was_written(out, people, error) -> None:
    with pytest.raises(RunError):
        import_study(FailingSource(error), out, people)
    again = ArraySource([20, 20])
    import_study(again, out, people)
    assert open_store(out).header.samples == 40


def test_the_map_may_not_be_the_store(out) -> None:
    with pytest.raises(InputError, match="is the store; wanted another file than OUT"):
        import_study(ArraySource([1]), out, Path(out))
    assert not list(Path(out).parent.iterdir())


def test_an_id_that_is_no_utf8_is_refused(out, people) -> None:
    source = ArraySource([1, 1])
    odd = dataclasses.replace(source.subjects[1], identity="person \ud800")
    source.subjects = (source.subjects[0], odd)
    with pytest.raises(InputError, match=r"subjects\.1: its id is no text in UTF-8"):
        import_study(source, out, people)
    assert not list(people.parent.iterdir())
