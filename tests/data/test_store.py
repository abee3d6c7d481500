"""The store: what xarray sees, what readers refuse, and what the digest covers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from dtsinn.core.config import find_config, read_yaml
from dtsinn.core.errors import InputError, StoreError
from dtsinn.data.check import check_store
from dtsinn.data.layout import COORDINATES, IMAGES
from dtsinn.data.splits import assign_splits
from dtsinn.data.store import Store, open_store
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study


def test_xarray_opens_it_with_names_coordinates_and_units(small_path: Path) -> None:
    with xr.open_zarr(small_path) as data:  # a warning would fail the test
        assert data["mixture"].dims == IMAGES["mixture"].dims
        assert data["tracers"].dims == IMAGES["tracers"].dims
        assert set(data["mixture"].coords) >= {"subject", "slice", "split", "frame_start", "y", "x"}
        assert data["mixture"].attrs["units"] == "kBq/mL"
        assert data["frame_start"].attrs["units"] == "s"
        assert list(data["tracer"].values) == ["fmz", "fdg"]
        mean = data["mixture"].isel(sample=(data["split"] == "test").to_numpy()).mean()
        assert np.isfinite(mean.compute())
        for name in COORDINATES:
            assert name in data.variables


def test_samples_are_what_was_simulated(small_store: Store) -> None:
    images = render_subject(StudyRequest(subjects=24, slices=2, size=32, seed=5), 3)
    samples = small_store.read(np.flatnonzero(small_store.subject_N == "study-5-0003"))
    assert np.array_equal(samples.mixture_NTYX, images.mixture)
    assert np.array_equal(samples.tracers_NKTYX, images.tracers)
    assert np.array_equal(samples.regions_NYX, images.regions)
    assert np.array_equal(samples.slice_N, images.slice_position)
    assert list(samples.subject_N) == ["study-5-0003"] * 2


def test_header_and_splits(small_store: Store) -> None:
    header = small_store.header
    assert header.tracers == ("fmz", "fdg")
    assert header.protocol.frames == 18
    assert header.protocol.injection_time == (0.0, 1200.0)
    assert header.noise == "mid"
    assert header.region_names[0] == "outside"
    assert small_store.split_counts() == {"train": 8, "val": 2, "gate": 12, "test": 2}
    subjects = {
        split: {str(s.subject_N[0]) for s in small_store.subjects(split)}
        for split in ("train", "val", "gate", "test")
    }
    assert sum(len(ids) for ids in subjects.values()) == len(set().union(*subjects.values())) == 24


def test_the_same_seed_gives_the_same_store_whatever_the_workers(tmp_path: Path) -> None:
    request = StudyRequest(subjects=6, slices=4, size=16, seed=1)
    one = simulate_study(request, str(tmp_path / "one.zarr"), workers=1)
    two = simulate_study(request, str(tmp_path / "two.zarr"), workers=2)
    assert one.digest == two.digest
    other = simulate_study(
        StudyRequest(subjects=6, slices=4, size=16, seed=2), str(tmp_path / "o.zarr"), workers=1
    )
    assert other.digest != one.digest
    chunks = [path for path in (tmp_path / "one.zarr").rglob("c/**/*") if path.is_file()]
    assert len(chunks) > 10
    for chunk in chunks:
        twin = tmp_path / "two.zarr" / chunk.relative_to(tmp_path / "one.zarr")
        assert chunk.read_bytes() == twin.read_bytes()


class StopHereError(Exception):
    """Stands for Ctrl-C."""


def test_an_interrupted_simulation_is_continued_by_the_same_command(tmp_path: Path) -> None:
    request = StudyRequest(subjects=12, slices=4, size=16, seed=1)
    out = str(tmp_path / "study.zarr")

    def interrupt(what: str, done: int, total: int) -> None:
        if done >= 4:
            raise StopHereError

    with pytest.raises(StopHereError):
        simulate_study(request, out, workers=1, progress=interrupt)
    assert not Path(out).exists()
    with pytest.raises(StoreError, match="the same command again, to finish it"):
        open_store(out)
    other = StudyRequest(subjects=12, slices=4, size=16, seed=2)
    with pytest.raises(StoreError, match=r"other settings; got request\.seed: 1 before and 2 now"):
        simulate_study(other, out, workers=1)
    seen: list[int] = []
    resumed = simulate_study(request, out, workers=1, progress=lambda w, done, t: seen.append(done))
    assert seen[0] >= 4, "what was written is not simulated again"
    whole = simulate_study(request, str(tmp_path / "whole.zarr"), workers=1)
    assert resumed.digest == whole.digest
    assert not Path(f"{out}.partial").exists()


def test_an_existing_store_is_not_overwritten(small_path: Path) -> None:
    with pytest.raises(StoreError, match="exists already"):
        simulate_study(StudyRequest(subjects=4, slices=1, size=16), str(small_path), workers=1)
    check_store(str(small_path))


@pytest.mark.parametrize("name", ["mixture", "tracers", "regions"])
def test_a_flipped_byte_is_named_by_array_and_sample(damaged: Path, name: str) -> None:
    shard = damaged / name / "c" / "1" / "/".join("0" for _ in IMAGES[name].dims[1:])
    content = bytearray(shard.read_bytes())
    content[10] ^= 0xFF  # inside the shard's first chunk
    shard.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=rf"damaged\.zarr: {name}, sample 16 is damaged") as caught:
        check_store(str(damaged))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mixture", "tracers", "regions"])
def test_a_deleted_chunk_is_named_by_array_and_sample(damaged: Path, name: str) -> None:
    (damaged / name / "c" / "1" / "/".join("0" for _ in IMAGES[name].dims[1:])).unlink()
    with pytest.raises(StoreError, match=rf"damaged\.zarr: {name}, sample 16 is damaged"):
        check_store(str(damaged))


def test_another_content_with_right_checksums_is_found_by_the_digest(damaged: Path) -> None:
    import zarr

    group = zarr.open_group(damaged, mode="r+")
    group["mixture"][3] = group["mixture"][3] * 1.01
    with pytest.raises(StoreError, match="not what was written"):
        check_store(str(damaged))


def test_nan_is_refused_with_its_sample(damaged: Path) -> None:
    import zarr

    group = zarr.open_group(damaged, mode="r+")
    group["tracers"][5, 1, 2, 3, 4] = np.nan
    with pytest.raises(StoreError, match="tracers, sample 5 is damaged"):
        open_store(str(damaged)).read([4, 5])


def edit_attributes(store: Path, **changes: object) -> None:
    path = store / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"] |= changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"complete": False}, "not complete"),
        ({"format": "other"}, "no dtsinn store"),
        ({"format_version": 99}, "written by a newer dtsinn"),
    ],
)
def test_a_store_that_is_not_ready_is_refused(damaged: Path, changes, message: str) -> None:
    edit_attributes(damaged, **changes)
    with pytest.raises(StoreError, match=message):
        open_store(str(damaged))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        open_store(str(tmp_path / "missing.zarr"))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(StoreError, match="no zarr group"):
        open_store(str(tmp_path / "empty.zarr"))


def test_truth_is_asked_for_where_it_is_needed(damaged: Path) -> None:
    shutil.rmtree(damaged / "tracers")
    content = json.loads((damaged / "zarr.json").read_text())
    del content["consolidated_metadata"]["metadata"]["tracers"]
    (damaged / "zarr.json").write_text(json.dumps(content))
    assert open_store(str(damaged)).read([0]).tracers_NKTYX is None
    with pytest.raises(StoreError, match="no array tracers"):
        open_store(str(damaged), need_truth=True)


def test_a_subject_keeps_its_split_in_a_longer_study() -> None:
    shares = {"train": 0.55, "val": 0.1, "gate": 0.2, "test": 0.15}
    long = assign_splits(200, shares)
    for subjects in range(1, 200):
        assert assign_splits(subjects, shares) == long[:subjects]
    assert {"train", "gate", "test", "val"} == set(long[:10])


def test_a_deleted_chunk_of_a_coordinate_is_named(damaged: Path, small_path: Path) -> None:
    for name in ("subject", "split", "frame_start"):
        shutil.rmtree(damaged / name / "c")
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            open_store(str(damaged))
        shutil.copytree(small_path / name / "c", damaged / name / "c")


def test_another_definition_of_a_tracer_is_not_mixed_in(tmp_path: Path) -> None:
    definition = read_yaml(find_config("tracers", "fdg"))
    mine = tmp_path / "fdg.yaml"
    mine.write_text(yaml.safe_dump(definition))
    request = StudyRequest(tracers=("fmz", str(mine)), subjects=12, slices=4, size=16)

    def interrupt(what: str, done: int, total: int) -> None:
        if done >= 4:
            raise StopHereError

    with pytest.raises(StopHereError):
        simulate_study(request, str(tmp_path / "s.zarr"), workers=1, progress=interrupt)
    mine.write_text(yaml.safe_dump(definition | {"dose_MBq": definition["dose_MBq"] + 1}))
    code = (
        "import sys; from dtsinn.simulation.study import simulate_study\n"
        "from dtsinn.simulation.request import StudyRequest\n"
        "request = StudyRequest(tracers=('fmz', sys.argv[1]), subjects=12, slices=4, size=16)\n"
        "simulate_study(request, sys.argv[2], workers=1)\n"
    )
    command = [sys.executable, "-c", code, str(mine), str(tmp_path / "s.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "was begun with other settings; got tracer_definitions" in done.stderr


def test_splits_follow_their_shares() -> None:
    shares = {"train": 0.55, "val": 0.1, "gate": 0.2, "test": 0.15}
    assert [assign_splits(60, shares).count(s) for s in shares] == [33, 6, 12, 9]
    with pytest.raises(InputError, match="sum to 1"):
        assign_splits(7, {"train": 0.5})
