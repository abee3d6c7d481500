"""Reading for training: order, coverage, resuming, and damage found on the way."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from dtsinn.core.errors import StoreError
from dtsinn.data.loader import Reading, SampleStream, batches
from dtsinn.data.store import Store, open_store


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
    parts = [
        np.concatenate(SampleStream(store, Reading(rank=rank, ranks=2)).order(0, rank, 2))
        for rank in (0, 1)
    ]
    assert sorted(np.concatenate(parts)) == list(range(store.header.samples))


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


def test_an_empty_split_is_refused(small_store: Store) -> None:
    small_store.split_N[:] = "test"
    with pytest.raises(StoreError, match="no sample in split train"):
        SampleStream(small_store, Reading())
