"""Models and scans for separations: cheap, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtsinn.core.protocol import Protocol, load_protocol, protocol_of_frames
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import StoreHeader, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.deploy.facts import Lineage, TrainingData
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.package import write_package
from dtsinn.networks.closed_form import fit_linear
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training.package import training_data
from tests.support.independent_scan import (
    HALF_LIFE_S,
    INJECTED_S,
    REGIONS,
    VOXEL_MM,
    Head,
    make_head,
    write_scan,
)

TRAINED = 6
"""Heads of the model."""


def protocol_of(head: Head) -> Protocol:
    """Frames and injections of a head; p1 by its name."""
    known = load_protocol("p1")
    if head.durations == known.frame_duration:
        return known
    return protocol_of_frames("heads", head.starts.tolist(), head.durations, INJECTED_S)


def store_of(heads: list[Head], path: Path) -> Path:
    """A store of independent heads, with truth."""
    protocol = protocol_of(heads[0])
    subjects = [f"s{number}" for number in range(len(heads)) for _ in range(5)]
    plan = StorePlan(
        tracers=("fmz", "fdg"),
        protocol=protocol,
        half_life=HALF_LIFE_S,
        size=(48, 40),
        voxel_size=(VOXEL_MM[1], VOXEL_MM[0]),
        subject=tuple(subjects),
        slice_position=tuple(3.0 + 5.0 * z for _ in heads for z in range(5)),
        split=tuple("train" for _ in subjects),
        region_names=("outside", *REGIONS.values()),
        block=5,
    )
    writer = StoreWriter(str(path), plan)
    for block in writer.begin():
        head = heads[block]
        writer.write(
            block,
            {
                "mixture": turned(head.mixture).astype(np.float32),
                "tracers": np.stack([turned(one) for one in head.tracers], 1).astype(np.float32),
                "regions": head.labels.transpose(2, 1, 0)[:, ::-1].astype(np.uint8),
            },
        )
    writer.seal()
    return path


def turned(image_XYZT: np.ndarray) -> np.ndarray:
    """[S, T, Y, X] with rows from front to back."""
    return image_XYZT.transpose(2, 3, 1, 0)[:, :, ::-1]


def package_of(
    network: SeparatorNetwork, folder: Path, trained_on: StoreHeader | None = None
) -> Path:
    """A package of a network for FMZ and FDG; without a store, of heads by protocol p1."""
    protocol = load_protocol("p1") if trained_on is None else trained_on.protocol
    info = SeparatorInfo(
        model=network.config,
        tracers=("fmz", "fdg"),
        protocol=protocol.name,
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=HALF_LIFE_S,
        lineage=Lineage(
            run="heads",
            config={},
            store_path="heads.zarr",
            store_digest="ab12" if trained_on is None else trained_on.digest,
            code_version="0",
            seed=0,
            trained_on=(
                TrainingData(
                    tracers=("fmz", "fdg"),
                    protocol="p1",
                    frame_edges=protocol.frame_edges,
                    injection_time=protocol.injection_time,
                    phantom="",
                    noise="",
                )
                if trained_on is None
                else training_data(trained_on),
            ),
        ),
    )
    write_package(folder, network, info)
    return folder


@pytest.fixture(scope="session")
def heads_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heads that the model knows."""
    heads = [make_head(seed=100 + number) for number in range(TRAINED)]
    return store_of(heads, tmp_path_factory.mktemp("heads") / "heads.zarr")


@pytest.fixture(scope="session")
def model(heads_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear map of such heads, as a package."""
    network = fit_linear((open_store(str(heads_store)),), lambda done, of: None)
    return package_of(network, tmp_path_factory.mktemp("models") / "heads")


@pytest.fixture(scope="session")
def head() -> Head:
    """A head that the model has not seen."""
    return make_head(seed=1)


@pytest.fixture
def scan(head: Head, tmp_path: Path) -> Path:
    """Its scan."""
    return write_scan(tmp_path, head)


@pytest.fixture
def write(head: Head, tmp_path: Path) -> Callable[..., Path]:
    """Writes its scan in other ways."""

    def make(**how: object) -> Path:
        return write_scan(tmp_path, head, **how)  # type: ignore[arg-type]

    return make
