"""Shards read from their bytes: what zarr reads, or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from dtsinn.data.plan import StorePlan
from dtsinn.data.shards import is_plain, read_shard

Plan = Callable[..., StorePlan]
WriteStore = Callable[..., dict[str, np.ndarray]]
FOUR = "mixture/c/1/0/0/0"


@pytest.fixture
def store(tmp_path: Path, tiny_plan: Plan, write_store: WriteStore) -> Path:
    write_store(tmp_path / "s.zarr", tiny_plan(samples=10, block=4))
    return tmp_path / "s.zarr"


def mixture(store: Path) -> zarr.Array:
    return zarr.open_group(store, mode="r")["mixture"]


def shard_of(array: zarr.Array, shard: int) -> np.ndarray:
    samples = min(array.shards[0], array.shape[0] - shard * array.shards[0])
    out = np.full((samples, *array.shape[1:]), 7, array.dtype)
    read_shard(array, shard, out)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ["mixture", "tracers"])
def test_a_shard_is_what_zarr_reads(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore, dtype: str, name: str
) -> None:
    write_store(tmp_path / "s.zarr", tiny_plan(samples=10, block=4, dtype=dtype))
    array = zarr.open_group(tmp_path / "s.zarr", mode="r")[name]
    assert is_plain(array)
    for shard in range(3):  # the last one is short
        assert np.array_equal(shard_of(array, shard), array[4 * shard : 4 * shard + 4])


def test_what_is_not_stored_reads_as_nan(store: Path) -> None:
    (store / FOUR).unlink()
    assert np.isnan(shard_of(mixture(store), 1)).all()
    array = zarr.open_group(store)["mixture"]
    array[4:8] = 1.0
    array[5] = np.nan  # zarr leaves a chunk of the fill value out of the shard
    read = shard_of(mixture(store), 1)
    assert np.isnan(read[1]).all()
    assert (read[[0, 2, 3]] == 1).all()


def change(store: Path, edit: Callable[[bytearray], bytearray]) -> None:
    (store / FOUR).write_bytes(bytes(edit(bytearray((store / FOUR).read_bytes()))))


def flip(place: int) -> Callable[[bytearray], bytearray]:
    def edit(content: bytearray) -> bytearray:
        content[place] ^= 1
        return content

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content[:0], "a shard of 0 bytes, without its index"),
        (lambda content: content[:50], "a shard of 50 bytes"),
        (lambda content: content[:-1], "a wrong checksum"),
        (flip(20), "a wrong checksum"),
        (flip(-1), "a wrong checksum"),
        (flip(-30), "a wrong checksum"),
    ],
)
def test_a_damaged_shard_is_an_error(store: Path, edit: Any, message: str) -> None:
    change(store, edit)
    with pytest.raises(ValueError, match=message):
        shard_of(mixture(store), 1)


def test_a_chunk_of_another_length_is_an_error_even_where_its_checksum_is_right(
    store: Path,
) -> None:
    short = Blosc(cname="lz4").encode(np.ones(10, np.float32))
    chunk = short + google_crc32c.value(short).to_bytes(4, "little")
    index = np.array([[0, len(chunk)]] * 4, "<u8").tobytes()
    index += google_crc32c.value(index).to_bytes(4, "little")
    (store / FOUR).write_bytes(chunk + index)
    with pytest.raises(ValueError, match="a chunk of another length than its sample"):
        shard_of(mixture(store), 1)


@pytest.mark.parametrize(
    "layout",
    [
        {"chunks": (1, 3, 4, 5)},
        {"chunks": (2, 3, 4, 5), "shards": (4, 3, 4, 5)},
        {"chunks": (1, 3, 4, 5), "shards": (4, 3, 4, 5), "compressors": [ZstdCodec()]},
        {"chunks": (1, 3, 4, 5), "shards": (4, 3, 4, 5), "compressors": [BloscCodec()]},
        {"chunks": (1, 3, 4, 1), "shards": (4, 3, 4, 5)},
        {"chunks": (1, 3, 2, 5), "shards": (4, 3, 2, 5)},
    ],
)
def test_another_layout_is_not_taken_for_the_stores_own(layout: dict[str, Any]) -> None:
    usual = {"compressors": [BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()]}
    array = zarr.create_array({}, shape=(8, 3, 4, 5), dtype="float32", **(usual | layout))
    assert not is_plain(array)
