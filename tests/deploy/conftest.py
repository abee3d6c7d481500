"""One small exported package for all tests of the room, and the parts to make others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dtsinn.core.protocol import Protocol
from dtsinn.core.seeds import generator
from dtsinn.data.store import StoreHeader
from dtsinn.deploy.manifest import MANIFEST_NAME, write_manifest
from dtsinn.deploy.package import Lineage, SeparatorInfo, set_calibration, write_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import ModelConfig, build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.networks.separator import SeparatorNetwork

FRAMES = 4


def make_network(config: ModelConfig, frames: int, seed: int) -> SeparatorNetwork:
    """A network away from its start: last layers and 1x1 convolutions redrawn with SD 0.02."""
    network = build_network(config, frames, seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if {"tail", "mixing"} & set(name.split(".")):
                parameter.normal_(0, 0.02, generator=random)
            elif "outer" in name.split("."):
                parameter.normal_(0, 0.5, generator=random)
    return network


def make_info(config: ModelConfig, frames: int) -> SeparatorInfo:
    """What it would be told to be."""
    return SeparatorInfo(
        model=config,
        tracers=("fmz", "fdg"),
        protocol="p1",
        frame_start=tuple(60.0 * frame for frame in range(frames)),
        frame_duration=(60.0,) * frames,
        injection_time=(0.0, min(90.0, 30.0 * frames)),
        half_life=(1221.8, 6586.2),
        metrics={"val/psnr": 41.25},
        lineage=Lineage(
            run="quick/0001",
            config={"model": {"blocks": 1}, "init": str(Path(__file__).resolve())},
            store_path=str(Path(__file__).resolve().parent / "train.zarr"),
            store_digest="ab12",
            code_version="0.1.0+g1a2b3c4d",
            seed=3,
            steps=100,
        ),
    )


def make_floor() -> LinearNetwork:
    """A linear map away from its start."""
    floor = LinearNetwork(FRAMES, LinearConfig(context=1))
    with torch.no_grad():
        floor.map.weight += 0.01
    return floor


@pytest.fixture
def floor() -> LinearNetwork:
    """That of the package."""
    return make_floor()


@pytest.fixture(scope="session")
def config() -> InvertibleConfig:
    return InvertibleConfig(blocks=1, width=4, depth=3)


@pytest.fixture
def network(config: InvertibleConfig) -> SeparatorNetwork:
    return make_network(config, FRAMES, seed=0)


@pytest.fixture
def info(config: InvertibleConfig) -> SeparatorInfo:
    return make_info(config, FRAMES)


@pytest.fixture(scope="session")
def package(config: InvertibleConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that no test may change."""
    folder = tmp_path_factory.mktemp("packages") / "separator"
    network = make_network(config, FRAMES, seed=0)
    write_package(folder, network, make_info(config, FRAMES), make_floor())
    set_calibration(
        folder, '{"format": "dtsinn-calibration"}\n'
    )  # whose content nothing here reads
    return folder


@pytest.fixture(scope="session")
def separator(package: Path) -> Separator:
    return Separator.load(package)


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    """A copy of the package, to be damaged."""
    return Path(shutil.copytree(package, tmp_path / "copied"))


@pytest.fixture(scope="session")
def reseal() -> Callable[[Path], None]:
    """Make a manifest that agrees with what was done to a package."""

    def reseal(folder: Path) -> None:
        (folder / MANIFEST_NAME).unlink()
        write_manifest(folder)

    return reseal


@pytest.fixture(scope="session")
def mixture() -> npt.NDArray[np.float32]:
    """Three slices of 8 x 10 pixels, one of them much brighter, kBq/mL."""
    random = generator("tests", "deploy")
    clean = random.gamma(2.0, 5.0, (3, FRAMES, 8, 10)) - 1.0
    brightness_N = np.array([1.0, 100.0, 0.1])
    mixture: npt.NDArray[np.float32] = clean * brightness_N[:, None, None, None]
    return mixture.astype(np.float32)


@pytest.fixture
def make_header() -> Callable[..., StoreHeader]:
    """A store's header with a number of frames and a size."""

    def header(frames: int, *, seconds: float = 60.0, size: int = 8) -> StoreHeader:
        protocol = Protocol(
            name="other",
            description="made up",
            source="uncited",
            frame_start=tuple(seconds * frame for frame in range(frames)),
            frame_duration=(seconds,) * frames,
            injection_time=(0.0, seconds),
        )
        return StoreHeader(
            path="scan.zarr",
            tracers=("water", "fdg"),
            protocol=protocol,
            half_life=(122.2, 6586.2),
            size=(size, 8),
            voxel_size=(2.0, 2.0),
            samples=1,
            dtype="float32",
            region_names=(),
            has_truth=False,
            origin="simulated",
            noise="",
            labels="",
            phantom="",
            population="",
            seed=None,
            digest="cd34",
            generator_version="0",
        )

    return header


@pytest.fixture(scope="session")
def of_kind() -> Callable[[ModelConfig, int], tuple[SeparatorNetwork, SeparatorInfo]]:
    """A network of a make and a number of frames, away from its start, and what it is."""

    def of_kind(config: ModelConfig, frames: int) -> tuple[SeparatorNetwork, SeparatorInfo]:
        return make_network(config, frames, seed=1), make_info(config, frames)

    return of_kind


@pytest.fixture
def make_separator(tmp_path: Path) -> Callable[[ModelConfig, int], Path]:
    """A package of a model and a number of frames, away from its start."""

    def make(config: ModelConfig, frames: int) -> Path:
        network = make_network(config, frames, seed=1)
        write_package(tmp_path / "made", network, make_info(config, frames))
        return tmp_path / "made"

    return make
