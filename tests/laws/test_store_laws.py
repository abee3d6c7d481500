"""Laws of the store: what is written is read, and every epoch holds each sample exactly once."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsinn.core.protocol import Protocol, load_protocol, protocol_of_frames
from dtsinn.data.check import check_store
from dtsinn.data.order import blocks_of_epoch, windows_of_epoch
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import open_store
from dtsinn.data.writer import StoreWriter

SPLITS = ["train", "val", "gate", "test"]


@st.composite
def protocols(draw: st.DrawFn) -> Protocol:
    """Protocols of up to six frames whose lengths are what a YAML file would say."""
    durations = draw(st.lists(st.integers(1, 3600), min_size=1, max_size=6))
    starts = [float(sum(durations[:frame])) for frame in range(len(durations))]
    end = float(sum(durations))
    first, second = sorted(
        draw(st.tuples(*[st.floats(0, end, exclude_max=True, allow_subnormal=False)] * 2))
    )
    return protocol_of_frames("drawn", starts, [float(d) for d in durations], (first, second))


@st.composite
def plans(draw: st.DrawFn) -> StorePlan:
    """Plans of small stores of every kind, their blocks of whole subjects or not."""
    slices, subjects = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    split = [draw(st.sampled_from(SPLITS)) for _ in range(subjects)]
    kinetic = draw(st.booleans())
    whole = slices * draw(st.integers(1, subjects))
    frames = draw(protocols())
    return StorePlan(
        tracers=("fmz", "fdg"),
        protocol=frames,
        half_life=draw(st.tuples(*[st.floats(1, 1e5)] * 2)),
        size=draw(st.tuples(*[st.integers(1, 5)] * 2)),
        voxel_size=draw(st.tuples(*[st.floats(0.5, 8)] * 2)),
        subject=tuple(f"s{n}" for n in range(subjects) for _ in range(slices)),
        slice_position=tuple(float(z) for _ in range(subjects) for z in range(slices)),
        split=tuple(one for one in split for _ in range(slices)),
        region_names=draw(st.sampled_from([(), ("outside", "body"), ("outside", "ä ö", "b")])),
        has_truth=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float16"])),
        block=whole if kinetic else draw(st.integers(1, slices * subjects)),
        per_subject={"kinetics": (2, 1, 2)} if kinetic else {},
        attributes={"seed": draw(st.none() | st.integers(0, 2**40))},
    )


def content_of(plan: StorePlan, seed: int) -> dict[str, np.ndarray]:
    """Images of a plan, rounded to what its type holds."""
    random = np.random.default_rng(seed)
    content = {}
    for name, shape in plan.images.items():
        if name == "regions":
            content[name] = random.integers(0, len(plan.region_names), shape).astype(np.uint8)
        else:
            values = random.normal(0, 1000, shape).astype(plan.dtype)
            content[name] = values.astype(np.float32)
    if plan.has_truth:
        ends = np.add(plan.protocol.frame_start, plan.protocol.frame_duration)
        for tracer, injected in enumerate(plan.protocol.injection_time):
            content["tracers"][:, tracer, ends <= injected] = 0
    return content


def write(path: Path, plan: StorePlan, content: dict[str, np.ndarray], kinetics: np.ndarray) -> str:
    writer = StoreWriter(str(path), plan)
    subjects = list(dict.fromkeys(plan.subject))
    for block in reversed(writer.begin()):
        where = plan.block_samples(block)
        here = [subjects.index(name) for name in dict.fromkeys(plan.subject[where])]
        images = {name: values[where] for name, values in content.items()}
        writer.write(block, images | {"kinetics": kinetics[here]})
    return writer.seal()


@given(plan=plans(), seed=st.integers(0, 2**32), block=st.integers(1, 15))
@settings(max_examples=12, deadline=None)
def test_what_is_written_is_read_whatever_the_blocks(
    plan: StorePlan, seed: int, block: int
) -> None:
    content = content_of(plan, seed)
    kinetics = np.random.default_rng(seed).random((len(set(plan.subject)), 2, 1, 2))
    slices = plan.samples // len(set(plan.subject))
    blocks = min(block * slices if plan.per_subject else block, plan.samples)
    with tempfile.TemporaryDirectory() as folder:
        digest = write(Path(folder) / "a.zarr", plan, content, kinetics)
        other = dataclasses.replace(plan, block=blocks)
        assert write(Path(folder) / "b.zarr", other, content, kinetics) == digest
        for name in ("a.zarr", "b.zarr"):
            check_store(f"{folder}/{name}")
            store = open_store(f"{folder}/{name}")
            samples = store.read(np.arange(plan.samples))
            read = {
                "mixture": samples.mixture_NTYX,
                "tracers": samples.tracers_NKTYX,
                "regions": samples.regions_NYX,
            }
            for image, values in read.items():
                assert (values is None) == (image not in content)
                assert values is None or np.array_equal(values, content[image])
            assert tuple(samples.subject_N) == plan.subject
            assert tuple(samples.slice_N) == plan.slice_position
            assert tuple(store.split_N) == plan.split
            if plan.per_subject:
                assert np.array_equal(store.group["kinetics"][...], kinetics)
            header = store.header
            for key in ("tracers", "half_life", "size", "voxel_size", "region_names", "dtype"):
                assert getattr(header, key) == getattr(plan, key)
            assert (header.has_truth, header.seed) == (plan.has_truth, plan.attributes["seed"])
            for key in ("name", "frame_start", "frame_duration", "injection_time"):
                assert getattr(header.protocol, key) == getattr(plan.protocol, key)


@given(plan=plans(), seed=st.integers(0, 2**32), sample=st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_the_digest_sees_every_sample(plan: StorePlan, seed: int, sample: int) -> None:
    content = content_of(plan, seed)
    kinetics = np.zeros((len(set(plan.subject)), 2, 1, 2))
    changed = {name: values.copy() for name, values in content.items()}
    changed["mixture"][sample % plan.samples].flat[0] += 8
    with tempfile.TemporaryDirectory() as folder:
        digest = write(Path(folder) / "a.zarr", plan, content, kinetics)
        assert write(Path(folder) / "b.zarr", plan, changed, kinetics) != digest


@given(protocol=protocols())
@settings(max_examples=40, deadline=None)
def test_a_protocol_survives_its_yaml_file(protocol: Protocol) -> None:
    mapping = {
        "name": protocol.name,
        "description": "drawn at random",
        "source": "uncited",
        "injections": list(protocol.injection_time),
        "frames": [[1, seconds] for seconds in protocol.frame_duration],
        "unusual_times": "yes",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.yaml"
        path.write_text(yaml.safe_dump(mapping))
        read = load_protocol(str(path))
    for key in ("name", "frame_start", "frame_duration", "injection_time"):
        assert getattr(read, key) == getattr(protocol, key)


@given(
    samples=st.integers(1, 60),
    block=st.integers(1, 20),
    window=st.integers(1, 6),
    ranks=st.integers(1, 5),
    workers=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 50),
    share=st.floats(0.1, 1),
)
@settings(max_examples=150, deadline=None)
def test_every_epoch_holds_each_sample_once_over_all_ranks_and_workers(
    samples: int,
    block: int,
    window: int,
    ranks: int,
    workers: int,
    seed: int,
    epoch: int,
    share: float,
) -> None:
    member = np.random.default_rng(seed).random(samples) < share
    member[seed % samples] = True
    chosen = np.flatnonzero(member)
    parts = ranks * workers

    def windows(part: int) -> list[np.ndarray]:
        return list(
            windows_of_epoch(
                chosen, block, seed=seed, epoch=epoch, window=window, part=part, parts=parts
            )
        )

    dealt = [windows(part) for part in range(parts)]
    yielded = [sample for part in dealt for one in part for sample in one.tolist()]
    assert sorted(yielded) == chosen.tolist()
    again = [windows(part) for part in range(parts)]
    assert all(
        np.array_equal(a, b)
        for one, two in zip(dealt, again, strict=True)
        for a, b in zip(one, two, strict=True)
    )
    for part in dealt:
        assert all(len(np.unique(one // block)) <= window for one in part)


@given(
    blocks=st.integers(1, 30),
    parts=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    epochs=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_no_part_ever_gets_ahead_of_another_by_more_than_a_block(
    blocks: int, parts: int, seed: int, epochs: int
) -> None:
    chosen = np.arange(4 * blocks)
    counts = [
        sum(
            len(blocks_of_epoch(chosen, 4, seed=seed, epoch=e, part=part, parts=parts))
            for e in range(epochs)
        )
        for part in range(parts)
    ]
    assert sum(counts) == blocks * epochs
    assert max(counts) - min(counts) <= 1


def test_the_order_differs_between_epochs_and_seeds() -> None:
    chosen = np.arange(64)
    orders = {
        tuple(blocks_of_epoch(chosen, 4, seed=seed, epoch=epoch).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("parts", [1, 3])
def test_windows_mix_the_samples_of_their_blocks(parts: int) -> None:
    chosen = np.arange(64)
    first = next(windows_of_epoch(chosen, 4, seed=0, epoch=0, window=4, parts=parts))
    assert len(first) == 16
    assert first.tolist() != sorted(first.tolist())
