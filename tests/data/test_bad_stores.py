"""Bad stores: each is refused in one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
import zarr

from dtsinn.core.errors import StoreError
from dtsinn.data.check import check_store
from dtsinn.data.loader import Reading, batches
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import open_store
from dtsinn.data.writer import StoreWriter, refuse_existing
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

WriteStore = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_plan: Callable[..., StorePlan],
    write_store: WriteStore,
) -> Path:
    """A tiny store that is whole, with kinetics."""
    path = tmp_path_factory.mktemp("whole") / "whole.zarr"
    plan = tiny_plan(small={"parameter": ("K1",)}, per_subject={"kinetics": (2, 1, 1)})
    write_store(path, plan)
    check_store(str(path))
    return path


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy of it for a test to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "bad.zarr"))


def refusal(read: Callable[[str], Any], store: Path) -> str:
    """The one line with which ``read`` refuses the store."""
    with pytest.raises(StoreError) as caught:
        read(str(store))
    line = str(caught.value)
    assert "\n" not in line
    assert "bad.zarr" in line
    assert "; try " in line
    return line


def change_metadata(store: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((store / "zarr.json").read_text())
    change(content)
    (store / "zarr.json").write_text(json.dumps(content))


def shard(store: Path, name: str, block: int) -> Path:
    axes = {"mixture": 4, "tracers": 5, "regions": 3}[name]
    return store / name / "c" / str(block) / "/".join("0" for _ in range(axes - 1))


@pytest.mark.parametrize("name", ["mixture", "tracers", "regions"])
@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_shard_is_named_by_array_and_sample(store: Path, name: str, kept: int) -> None:
    path = shard(store, name, 1)
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{name}, sample 4 is damaged; got" in refusal(check_store, store)


def test_a_missing_shard_is_named_by_array_and_sample(store: Path) -> None:
    shard(store, "tracers", 1).unlink()
    line = refusal(check_store, store)
    assert "tracers, sample 4 is damaged; got a missing chunk" in line
    assert f"try dtsinn check {store}, then make the store again" in line


def test_a_wrong_checksum_is_named_by_array_and_sample(store: Path) -> None:
    content = bytearray(shard(store, "mixture", 1).read_bytes())
    content[20] ^= 1
    shard(store, "mixture", 1).write_bytes(bytes(content))
    assert "mixture, sample 4 is damaged; got Stored and computed checksum" in refusal(
        check_store, store
    )


def test_a_damaged_sample_in_a_shard_is_told_from_its_whole_neighbours(store: Path) -> None:
    content = bytearray(shard(store, "mixture", 1).read_bytes())
    index = np.frombuffer(bytes(content[-4 * 16 - 4 : -4]), "<u8").reshape(4, 2)
    content[int(index[2, 0]) + 20] ^= 1
    shard(store, "mixture", 1).write_bytes(bytes(content))
    assert "mixture, sample 6 is damaged" in refusal(check_store, store)
    assert len(open_store(str(store)).read([4, 5]).index_N) == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["mixture", "tracers"])
def test_no_number_is_named_by_array_and_sample(store: Path, name: str, value: float) -> None:
    zarr.open_group(store)[name][5, 1, 2] = value
    line = refusal(check_store, store)
    assert f"{name}, sample 5 is damaged; got a missing chunk, NaN or infinity" in line
    stream = batches(open_store(str(store)), Reading(), 1)
    with pytest.raises(StoreError, match=f"{name}, sample 5 is damaged"):
        list(itertools.islice(stream, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["frame_start", "half_life", "slice", "x", "injection_time"])
def test_no_number_in_a_coordinate_is_refused(store: Path, name: str, value: float) -> None:
    zarr.open_group(store)[name][0] = value
    assert f"{name} is damaged; got a missing chunk, NaN or no value" in refusal(open_store, store)


def test_no_number_in_the_kinetics_is_found_by_the_check(store: Path) -> None:
    zarr.open_group(store)["kinetics"][1] = np.nan
    assert "kinetics is damaged" in refusal(check_store, store)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("frame_duration", [60, 0, 300], "duration of frame 1; got 0.0; wanted seconds above 0"),
        ("frame_duration", [60, -120, 300], "duration of frame 1; got -120.0"),
        ("frame_start", [0, 50, 180], "start of frame 1; got 50 s; wanted 60 s"),
        ("frame_start", [0, 60, 200], "start of frame 2; got 200 s; wanted 180 s"),
        ("injection_time", [0, 5000], "injection; got 5000 s; wanted inside the scan"),
        ("half_life", [100, 0], "half_life; got 0.0; wanted seconds above 0"),
    ],
)
def test_frames_that_make_no_scan_are_refused(
    store: Path, name: str, values: list[float], message: str
) -> None:
    zarr.open_group(store)[name][...] = values
    assert message in refusal(open_store, store)


@pytest.mark.parametrize(
    ("array", "change", "message"),
    [
        ("mixture", {"shape": [8, 3, 4, 6]}, "tracers has another shape than mixture; got 5 along"),
        ("tracers", {"shape": [7, 2, 3, 4, 5]}, "got 7 along sample; wanted 8"),
        ("tracers", {"shape": [8, 3, 3, 4, 5]}, "than a pair; got 3 along tracer; wanted 2"),
        ("regions", {"shape": [8, 5, 5]}, "regions has another shape than mixture; got 5 along y"),
        ("frame_start", {"shape": [2]}, "got 2 along frame; wanted 3"),
        ("subject", {"shape": [9]}, "subject has another shape than mixture; got 9 along sample"),
        ("mixture", {"dimension_names": ["frame", "sample", "y", "x"]}, "got frame, sample, y, x"),
        ("mixture", {"dimension_names": None}, "dimensions of mixture; got none"),
        ("mixture", {"data_type": "float64"}, "type of mixture; got float64; wanted float32 or"),
        ("regions", {"data_type": "int16"}, "type of regions; got int16; wanted uint8"),
        ("mixture", {"shape": "abc"}, "no zarr group"),
        ("mixture", {"codecs": []}, "no zarr group"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    store: Path, array: str, change: dict[str, Any], message: str
) -> None:
    change_metadata(
        store, lambda content: content["consolidated_metadata"]["metadata"][array].update(change)
    )
    assert message in refusal(open_store, store)


def test_a_group_in_the_place_of_an_array_is_refused(store: Path) -> None:
    group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    change_metadata(
        store, lambda c: c["consolidated_metadata"]["metadata"].__setitem__("regions", group)
    )
    assert "regions; got a group; wanted an array" in refusal(open_store, store)


def test_a_missing_array_is_named(store: Path) -> None:
    change_metadata(store, lambda c: c["consolidated_metadata"]["metadata"].pop("split"))
    assert "array split is missing" in refusal(open_store, store)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("voxel_size", "abc", "got 'abc'; wanted two lengths above 0, mm"),
        ("voxel_size", [1.0], "wanted two lengths"),
        ("voxel_size", [0, 1], "wanted two lengths"),
        ("voxel_size", None, "got None; wanted two lengths"),
        ("protocol", None, "got None; wanted text"),
        ("protocol", 3, "got 3; wanted text"),
        ("region_names", "ab", "wanted a list of names"),
        ("region_names", [1, 2], "wanted a list of names"),
        ("noise", "mid", "got 'mid'; wanted a mapping"),
        ("seed", "one", "wanted a whole number"),
        ("phantom", ["brain"], "wanted text"),
        ("digest", None, "wanted text"),
        ("generator_version", {}, "wanted text"),
    ],
)
def test_an_attribute_of_another_type_is_named(
    store: Path, key: str, value: object, wanted: str
) -> None:
    change_metadata(store, lambda content: content["attributes"].update({key: value}))
    line = refusal(open_store, store)
    assert f"attribute {key}; got" in line
    assert wanted in line


@pytest.mark.parametrize("version", [2, 99, 0, "1", None, True])
def test_another_format_version_is_refused(store: Path, version: object) -> None:
    change_metadata(store, lambda content: content["attributes"].update(format_version=version))
    newer = version in (2, 99)
    what = "was written by a newer dtsinn" if newer else "is damaged"
    line = refusal(open_store, store)
    assert f"{what}; got format_version {version!r}; wanted 1 or older" in line


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"[]", b"5", b"\xff\xfe", b'{"zarr_format": 9, "node_type": "group"}'],
)
def test_garbage_in_place_of_the_metadata_is_refused(store: Path, content: bytes) -> None:
    (store / "zarr.json").write_bytes(content)
    assert "is no zarr group; got" in refusal(open_store, store)


def coded(store: Path, codec: dict[str, Any], chunk: bytes) -> None:
    """Store ``slice`` with another codec, and bytes of one's own as its only chunk."""
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, codec]
    change_metadata(
        store, lambda c: c["consolidated_metadata"]["metadata"]["slice"].update(codecs=codecs)
    )
    (store / "slice" / "c" / "0").write_bytes(chunk)


GZIP = {"name": "gzip", "configuration": {"level": 5}}
ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
BLOSC = {
    "name": "blosc",
    "configuration": {
        "cname": "lz4",
        "clevel": 5,
        "shuffle": "shuffle",
        "typesize": 8,
        "blocksize": 0,
    },
}
NUMBERS = np.arange(8.0)
FRAME = bytes.fromhex("28b52ffd")
"""How a Zstandard frame begins."""


@pytest.mark.parametrize(
    ("codec", "chunk"),
    [
        (GZIP, gzip.compress(NUMBERS.tobytes(), mtime=0)),
        (ZSTD, numcodecs.Zstd().encode(NUMBERS)),
        (BLOSC, numcodecs.Blosc().encode(NUMBERS)),
    ],
    ids=["gzip", "zstd", "blosc"],
)
def test_other_codecs_are_read(store: Path, codec: dict[str, Any], chunk: bytes) -> None:
    coded(store, codec, chunk)
    assert np.array_equal(open_store(str(store)).slice_N, NUMBERS)


@pytest.mark.parametrize(
    ("codec", "chunk", "message"),
    [
        # Three members of 8 MiB each, as gzip puts them one after the other.
        (GZIP, gzip.compress(bytes(2**23), mtime=0) * 3, "a chunk of 16777281 bytes or more"),
        (ZSTD, FRAME + b"\xe0" + (2**40).to_bytes(8, "little"), "a chunk of 1099511627776 bytes"),
        (ZSTD, FRAME + b"\x00\x58" + bytes(8), "a chunk that does not say its length"),
        (ZSTD, numcodecs.Zstd().encode(bytes(2**25)), "a chunk of 33554432 bytes"),
        (BLOSC, b"\x02\x01\x21\x08\xff\xff\xff\x7f" + bytes(24), "a chunk of 2147483647 bytes"),
        (
            {"name": "numcodecs.zlib", "configuration": {"level": 1}},
            b"",
            "codec of slice; got Zlib",
        ),
    ],
    ids=["gzip", "zstd claims", "zstd silent", "zstd holds", "blosc", "foreign"],
)
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
def test_a_chunk_that_holds_more_than_its_array_is_never_inflated(
    store: Path, codec: dict[str, Any], chunk: bytes, message: str
) -> None:
    coded(store, codec, chunk)
    tracemalloc.start()
    try:
        assert message in refusal(open_store, store)
        assert tracemalloc.get_traced_memory()[1] < 60 * 2**20
    finally:
        tracemalloc.stop()


def test_a_chunk_of_more_texts_than_its_array_is_refused(store: Path) -> None:
    path = store / "subject" / "c" / "0"
    content = (2**32 - 1).to_bytes(4, "little") + path.read_bytes()[4:-4]
    path.write_bytes(content + google_crc32c.value(content).to_bytes(4, "little"))
    assert "subject is damaged; got a chunk of 4294967295 texts" in refusal(open_store, store)


def longer(content: dict[str, Any], dim: str, length: int) -> None:
    """Let every array be ``length`` along ``dim``."""
    for array in content["consolidated_metadata"]["metadata"].values():
        for axis, name in enumerate(array.get("dimension_names") or ()):
            if name == dim:
                array["shape"][axis] = length


@pytest.mark.parametrize("dim", ["sample", "frame", "x", "subject"])
def test_an_array_that_promises_terabytes_is_refused(store: Path, dim: str) -> None:
    change_metadata(store, lambda content: longer(content, dim, 10**12))
    line = refusal(open_store if dim != "subject" else check_store, store)
    assert "needs more memory than is allowed; got" in line


def test_a_shard_that_promises_terabytes_is_refused(store: Path) -> None:
    change_metadata(
        store,
        lambda content: content["consolidated_metadata"]["metadata"]["mixture"]["chunk_grid"][
            "configuration"
        ].update(chunk_shape=[10**12, 3, 4, 5]),
    )
    assert "mixture needs more memory than is allowed; got" in refusal(open_store, store)


@pytest.mark.parametrize("name", ["slice/c/0", "zarr.json", "mixture/c/1/0/0/0"])
def test_pipes_and_links_out_of_the_store_are_no_files_of_it(
    store: Path, tmp_path: Path, name: str
) -> None:
    path = store / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "a link that leaves the store" in refusal(check_store, store)
    path.unlink()
    os.mkfifo(path)
    assert "no regular file" in refusal(check_store, store)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "no regular file" in refusal(check_store, store)
    path.unlink()
    (tmp_path / "elsewhere").rename(store / "inside")
    path.symlink_to(os.path.relpath(store / "inside", path.parent))
    check_store(str(store))


@pytest.mark.parametrize("scheme", ["", "file://", "local://", "FILE://"])
def test_a_local_store_is_guarded_however_it_is_named(
    store: Path, tmp_path: Path, scheme: str
) -> None:
    named = f"{scheme}{store}"
    assert open_store(named).header.path == str(store)
    with pytest.raises(StoreError, match="exists already"):
        refuse_existing(named)
    path = store / "split" / "c" / "0"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="a link that leaves the store"):
        open_store(named)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StoreError, match="no regular file"):
        open_store(named)


@pytest.mark.parametrize("chain", ["simplecache::file://", "dir::file://", "zip://", "fast://"])
def test_what_is_no_single_url_of_a_storage_is_refused(store: Path, chain: str) -> None:
    for use in (open_store, refuse_existing):
        with pytest.raises(StoreError, match="cannot be opened; got"):
            use(f"{chain}{store}")


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**5, b'{"a":' * 10**5, b" " * 17 * 2**20],
    ids=["lists", "mappings", "spaces"],
)
def test_metadata_without_end_are_refused(store: Path, content: bytes) -> None:
    (store / "zarr.json").write_bytes(content)
    assert "bad.zarr" in refusal(open_store, store)


def test_a_zarr_group_of_something_else_is_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "other.zarr", mode="w", attributes={"mine": 1})
    with pytest.raises(StoreError, match=r"other\.zarr is no dtsinn store; got None; wanted"):
        open_store(str(tmp_path / "other.zarr"))


def test_a_file_in_place_of_a_store_is_refused(store: Path) -> None:
    shutil.rmtree(store)
    store.write_text("not a directory")
    assert "is no zarr group" in refusal(open_store, store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every directory")
def test_a_directory_that_may_not_be_read_is_refused(store: Path) -> None:
    store.chmod(0)
    try:
        assert "Permission denied" in refusal(open_store, store)
    finally:
        store.chmod(0o755)


def test_pixels_that_are_not_spaced_as_the_attribute_says_are_found(store: Path) -> None:
    change_metadata(store, lambda content: content["attributes"].update(voxel_size=[2.0, 2.5]))
    line = refusal(check_store, store)
    assert "x is not spaced as voxel_size says; got 3 to 3 mm; wanted 2.5 mm" in line


def test_kinetics_of_another_number_of_subjects_are_found(store: Path) -> None:
    zarr.open_group(store)["subject"][:2] = "s1"
    assert "kinetics; got 4 subjects; wanted 3" in refusal(check_store, store)


def test_a_label_without_a_name_is_found(store: Path) -> None:
    zarr.open_group(store)["regions"][3, 0, 0] = 7
    assert "regions, sample 3 has a label without a name" in refusal(check_store, store)


def test_activity_before_the_injection_is_found(store: Path) -> None:
    zarr.open_group(store)["tracers"][6, 1, 0, 1, 1] = 1e-3
    assert "tracers, sample 6 has fdg before its injection" in refusal(check_store, store)


def test_a_subject_in_two_splits_is_found(store: Path) -> None:
    zarr.open_group(store)["split"][3] = "test"
    line = refusal(check_store, store)
    assert "subject s1 stands in two splits; got train and test" in line


def test_a_sample_without_counts_is_remarked_and_trains_without_nan(
    tmp_path: Path, tiny_plan: Callable[..., StorePlan]
) -> None:
    splits = ("train",) * 6 + ("val",) * 2
    writer = StoreWriter(str(tmp_path / "dark.zarr"), tiny_plan(split=splits, size=(8, 8)))
    random = np.random.default_rng(0)
    for block in writer.begin():
        tracers = random.uniform(1, 2, (4, 2, 3, 8, 8)).astype(np.float32)
        tracers[:, 1, 0] = 0
        if block == 0:
            tracers[1] = 0
        regions = np.ones((4, 8, 8), np.uint8)
        writer.write(block, {"mixture": tracers.sum(1), "tracers": tracers, "regions": regions})
    writer.seal()
    checked = check_store(str(tmp_path / "dark.zarr"))
    assert checked.remarks == ("mixture is 0 everywhere in 1 samples, such as 1: nothing to learn",)
    settings = ["steps=8", "validate_every=8", "model.width=4", "model.blocks=1"]
    state = TrainingState(load_run_config("invertible", settings), 3)
    (report,) = train(open_store(str(tmp_path / "dark.zarr")), state)
    assert np.isfinite(list(report.metrics.values())).all()
    assert all(torch.isfinite(value).all() for value in state.network.state_dict().values())
