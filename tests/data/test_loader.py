"""Reading for training: order, coverage, resuming, and damage found on the way."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from dtsinn.core.errors import InputError, StoreError
from dtsinn.data.loader import Reading, SampleStream, batches
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.windows import Buffers

Plan = Callable[..., StorePlan]
WriteStore = Callable[..., dict[str, np.ndarray]]


def indices(store: Store, count: int, **reading: int) -> list[int]:
    stream = itertools.islice(SampleStream(store, Reading(**reading)), count)
    return [int(sample["index"]) for sample in stream]


def test_every_epoch_covers_the_split_once_in_a_new_order(small_store: Store) -> None:
    train = set(np.flatnonzero(small_store.split_N == "train").tolist())
    seen = indices(small_store, 3 * len(train))
    epochs = [seen[i : i + len(train)] for i in range(0, len(seen), len(train))]
    for epoch in epochs:
        assert set(epoch) == train
        assert len(epoch) == len(train)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_seed_fixes_the_order(small_store: Store) -> None:
    assert indices(small_store, 40, seed=1) == indices(small_store, 40, seed=1)
    assert indices(small_store, 40, seed=1) != indices(small_store, 40, seed=2)


@pytest.mark.parametrize("start", [1, 15, 16, 17, 40])
def test_a_resumed_stream_goes_on_where_it_stopped(small_store: Store, start: int) -> None:
    assert indices(small_store, 20, start=start) == indices(small_store, 20 + start)[start:]


def test_ranks_share_an_epoch(damaged: Path) -> None:
    store = open_store(str(damaged))
    store.split_N[:] = "train"
    for epoch in range(3):
        parts = [
            window
            for rank in (0, 1)
            for window in SampleStream(store, Reading(rank=rank, ranks=2)).order(epoch, rank, 2)
        ]
        assert sorted(np.concatenate(parts)) == list(range(store.header.samples))


def test_a_rank_has_work_even_where_there_are_fewer_blocks_than_ranks(small_store: Store) -> None:
    assert len(np.unique(np.flatnonzero(small_store.split_N == "train") // 16)) == 1
    seen = [indices(small_store, 16, rank=rank, ranks=3) for rank in range(3)]
    assert [len(set(one)) for one in seen] == [16, 16, 16]
    assert seen[0] != seen[1] != seen[2]


def taken(stream: Iterator[dict[str, torch.Tensor]], count: int) -> list[list[int]]:
    return [batch["index"].tolist() for batch in itertools.islice(stream, count)]


def test_loader_workers_share_an_epoch_and_resume_where_they_stopped(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    write_store(tmp_path / "s.zarr", tiny_plan(samples=28, block=4))
    store = open_store(str(tmp_path / "s.zarr"))
    parts = []
    for part in (0, 1):
        stream = SampleStream(store, Reading(window=2))
        own = np.concatenate([w for epoch in range(4) for w in stream.order(epoch, part, 2)])
        parts.append(own.reshape(-1, 2).tolist())
    expected = [batch for pair in zip(*parts, strict=False) for batch in pair]
    whole = taken(batches(store, Reading(window=2), 2, workers=2), 24)
    assert whole == expected[:24]
    resumed = batches(store, Reading(window=2, start=2 * 7), 2, workers=2)
    assert taken(resumed, 12) == expected[7:19]


def test_a_start_inside_a_batch_is_refused_where_several_workers_read(small_store: Store) -> None:
    stream = SampleStream(small_store, Reading(start=3), batch=2)
    with pytest.raises(InputError, match="loader workers; got 3; wanted whole batches of 2"):
        stream._place(0, 2)


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"window": 0}, "window; got 0; wanted at least 1"),
        ({"ranks": 0}, "ranks; got 0"),
        ({"rank": 2, "ranks": 2}, "rank; got 2; wanted 0 to 1"),
        ({"start": -1}, "start; got -1"),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused(reading: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reading(**reading)


def test_a_long_stream_holds_no_more_than_its_windows(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    plan = tiny_plan(samples=40, block=4, size=(48, 48))
    write_store(tmp_path / "s.zarr", plan)
    store = open_store(str(tmp_path / "s.zarr"))
    sizes = [plan.images[name][1:] for name in ("mixture", "tracers")]
    block = 4 * sum(4 * int(np.prod(size)) for size in sizes)

    def peak(window: int) -> int:
        """Bytes above those before, over two epochs."""
        tracemalloc.start()
        for _ in itertools.islice(SampleStream(store, Reading(window=window)), 2 * 40):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(1)  # what is imported and made once
    # This window, the next one, the block of the last sample, and what zarr is decoding.
    assert peak(2) < (2 * 2 + 2 + 1) * block
    assert peak(6) > 10 * block  # the measurement would see more


def test_samples_of_a_block_are_views_of_it(small_store: Store) -> None:
    stream = batches(small_store, Reading(), 1)
    first, second = next(stream), next(stream)
    for name in ("mixture", "tracers"):
        stores = {batch[name].untyped_storage().data_ptr() for batch in (first, second)}
        assert len(stores) == 1  # the train samples fill one block


def test_a_float16_store_is_streamed_as_float32(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    content = write_store(tmp_path / "s.zarr", tiny_plan(dtype="float16"))
    store = open_store(str(tmp_path / "s.zarr"))
    for batch in itertools.islice(batches(store, Reading(), 3), 5):
        assert batch["mixture"].dtype == batch["tracers"].dtype == torch.float32
        expected = content["tracers"][batch["index"].numpy()].astype(np.float16)
        assert np.array_equal(batch["tracers"].numpy(), expected)


def test_a_store_that_another_tool_wrote_without_shards_is_streamed(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    content = write_store(tmp_path / "s.zarr", tiny_plan())
    group = zarr.open_group(tmp_path / "s.zarr")
    for name in ("mixture", "tracers"):
        attributes, dims = dict(group[name].attrs), group[name].metadata.dimension_names
        group.create_array(
            name,
            data=content[name],
            chunks=(3, *content[name].shape[1:]),
            dimension_names=dims,
            attributes=attributes,
            overwrite=True,
        )
    with pytest.warns(zarr.errors.ZarrUserWarning):
        zarr.consolidate_metadata(tmp_path / "s.zarr")
    stream = batches(open_store(str(tmp_path / "s.zarr")), Reading(), 1)
    for batch in itertools.islice(stream, 16):
        index = int(batch["index"])
        assert np.array_equal(batch["mixture"][0].numpy(), content["mixture"][index])


def test_batches_hold_what_the_store_holds(small_store: Store) -> None:
    batch = next(batches(small_store, Reading(), 4))
    assert batch["mixture"].shape == (4, 18, 32, 32)
    assert batch["tracers"].shape == (4, 2, 18, 32, 32)
    expected = small_store.read(batch["index"].tolist()[:1])
    assert torch.equal(batch["mixture"][0], torch.from_numpy(expected.mixture_NTYX[0]))
    assert torch.equal(batch["tracers"][0], torch.from_numpy(expected.tracers_NKTYX[0]))


def test_a_damaged_chunk_stops_the_stream_with_array_and_sample(damaged: Path) -> None:
    shard = damaged / "tracers" / "c" / "0" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[10] ^= 0xFF
    shard.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="tracers, sample 0 is damaged"):
        indices(open_store(str(damaged)), 20)


def test_a_shard_that_goes_missing_later_stops_the_stream(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    write_store(tmp_path / "s.zarr", tiny_plan(samples=16, block=4))
    stream = batches(open_store(str(tmp_path / "s.zarr")), Reading(window=1), 1)
    list(itertools.islice(stream, 16))
    (tmp_path / "s.zarr" / "mixture" / "c" / "2" / "0" / "0" / "0").unlink()
    with pytest.raises(StoreError, match="mixture, sample 8 is damaged; got a missing chunk"):
        list(itertools.islice(stream, 32))


def test_a_sample_that_is_kept_does_not_change(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    content = write_store(tmp_path / "s.zarr", tiny_plan(samples=16, block=4))
    stream = batches(open_store(str(tmp_path / "s.zarr")), Reading(window=1), 1)
    kept = list(itertools.islice(stream, 80))  # five epochs, in memory that is lent again
    for batch in kept:
        index = int(batch["index"])
        assert np.array_equal(batch["mixture"][0].numpy(), content["mixture"][index])
        assert np.array_equal(batch["tracers"][0].numpy(), content["tracers"][index])


def test_memory_that_nobody_looks_at_is_lent_again() -> None:
    buffers = Buffers()
    first = buffers.acquire((2, 3))
    place = first.data_ptr()
    row = first[1].numpy()[1:]
    del first
    second = buffers.acquire((2, 3))
    assert second.data_ptr() != place  # a view is still looked at
    del row
    assert buffers.acquire((2, 3)).data_ptr() == place
    assert buffers.acquire((3, 2)).shape == (3, 2)


def test_an_empty_split_is_refused(small_store: Store) -> None:
    small_store.split_N[:] = "test"
    with pytest.raises(StoreError, match="no sample in split train"):
        SampleStream(small_store, Reading())


def test_a_store_without_truth_is_refused(
    tmp_path: Path, tiny_plan: Plan, write_store: WriteStore
) -> None:
    write_store(tmp_path / "s.zarr", tiny_plan(has_truth=False))
    with pytest.raises(StoreError, match="has no array tracers; wanted the truth"):
        SampleStream(open_store(str(tmp_path / "s.zarr")), Reading())
