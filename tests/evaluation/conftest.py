"""A scene whose numbers are known: rings of regions, two tracers, one of them injected late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from dtsinn.core.protocol import Protocol, load_protocol
from dtsinn.core.seeds import generator
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.evaluation.suite import Combination, Suite

REGIONS = ("outside", "white", "frontal", "putamen")
UPTAKE_KR = np.array([[0.0, 6.0, 30.0, 18.0], [0.0, 9.0, 14.0, 32.0]])


def make_samples(subject: str, protocol: Protocol, *, slices: int = 2, size: int = 24) -> Samples:
    """One subject; its activity is smooth in time and starts with each injection."""
    rng = generator(7, subject)
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    radius_YX = np.hypot(y, x)
    regions_YX = np.zeros((size, size), np.uint8)
    for label, limit in enumerate((0.46, 0.34, 0.18), start=1):
        regions_YX[radius_YX < limit] = label
    start_T = np.array(protocol.frame_start)
    middle_T = start_T + np.array(protocol.frame_duration) / 2
    images = []
    for injection, uptake_R in zip(protocol.injection_time, UPTAKE_KR, strict=True):
        minutes_T = np.clip(middle_T - injection, 0, None) / 60
        curve_T = np.exp(-minutes_T / 40) - np.exp(-minutes_T / 4)
        images.append(uptake_R[regions_YX] * curve_T[:, None, None])
    truth_KTYX = np.stack(images) * rng.uniform(0.8, 1.2)
    gain_N = np.linspace(1.0, 1.1, slices)
    truth_NKTYX = (truth_KTYX * gain_N[:, None, None, None, None]).astype(np.float32)
    mixture_NTYX = truth_NKTYX.sum(axis=1)
    mixture_NTYX += rng.normal(0, 0.3, mixture_NTYX.shape).astype(np.float32)
    return Samples(
        index_N=np.arange(slices),
        subject_N=np.array([subject] * slices, dtype=object),
        slice_N=np.arange(slices) * 4.0,
        mixture_NTYX=mixture_NTYX,
        tracers_NKTYX=truth_NKTYX,
        regions_NYX=np.repeat(regions_YX[None], slices, axis=0),
    )


def make_header(protocol: Protocol, *, size: int = 24) -> StoreHeader:
    return StoreHeader(
        path="scene",
        tracers=("fmz", "fdg"),
        protocol=protocol,
        half_life=(1224.0, 6588.0),
        size=(size, size),
        voxel_size=(4.0, 4.0),
        samples=2,
        dtype="float32",
        region_names=REGIONS,
        has_truth=True,
        origin="simulated",
        noise="mid",
        labels="truth",
        phantom="rings",
        population="",
        seed=7,
        digest="0" * 64,
        generator_version="1",
    )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Subjects in memory: what scores are taken on."""

    header: StoreHeader
    held: tuple[Samples, ...]

    def subjects(self, split: str) -> Iterator[Samples]:
        yield from self.held if split == "val" else ()


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return load_protocol("p1")


@pytest.fixture(scope="session")
def scene(protocol: Protocol) -> Scene:
    held = tuple(make_samples(f"s{number}", protocol) for number in range(3))
    return Scene(header=make_header(protocol), held=held)


@pytest.fixture
def samples(scene: Scene) -> Samples:
    return scene.held[0]


@pytest.fixture(scope="session")
def tiny_suite() -> Suite:
    return Suite(
        name="tiny",
        description="five subjects of one slice",
        subjects=5,
        slices=1,
        size=24,
        noise=("mid",),
        combinations=(Combination(tracers=("fmz", "fdg"), protocol="p1"),),
    )
