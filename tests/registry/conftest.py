"""A real embedded MLflow per test, small stores, and separators that were really trained."""

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from dtsinn.core.protocol import Protocol
from dtsinn.core.tracker import RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.deploy.info import info_text
from dtsinn.deploy.manifest import write_manifest
from dtsinn.deploy.package import Lineage, SeparatorInfo, read_info, write_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import ModelConfig, build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.networks.rivals.unet import UNetConfig
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.registry.versions import ModelVersion

PROTOCOL = Protocol(
    name="p1",
    description="six short frames",
    source="uncited",
    frame_start=(0.0, 60.0, 180.0, 360.0, 600.0, 900.0),
    frame_duration=(60.0, 120.0, 180.0, 240.0, 300.0, 300.0),
    injection_time=(0.0, 360.0),
)
MODEL = InvertibleConfig(blocks=1, width=8, depth=3)
RIVAL = UNetConfig(kind="unet", width=4, levels=1)


@pytest.fixture(autouse=True)
def no_other_tracking_server(monkeypatch):
    for name in ("TRACKING_URI", "REGISTRY_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


@pytest.fixture
def workspace(tmp_path, begin_workspace) -> Workspace:
    return begin_workspace(tmp_path / "work space")


@pytest.fixture
def tracker(workspace) -> MlflowTracker:
    return connect(workspace)


def images(subjects: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two slices a subject, one blob per tracer: mixture, tracers, regions."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:16, 0:16]
    body_YX = (y - 7.5) ** 2 + (x - 7.5) ** 2 < 49
    middle_T = np.array(PROTOCOL.frame_start) + np.array(PROTOCOL.frame_duration) / 2
    tracers = np.zeros((2 * subjects, 2, 6, 16, 16), np.float32)
    for sample in range(2 * subjects):
        for place, fall in enumerate((900, 4000)):
            cy, cx = random.uniform(4, 12, 2)
            map_YX = body_YX * (0.3 + np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 12))
            age_T = np.clip(middle_T - PROTOCOL.injection_time[place], 0, None)
            curve_T = 30 * (1 - np.exp(-age_T / 120)) * np.exp(-age_T / fall)
            tracers[sample, place] = random.uniform(0.6, 1.4) * curve_T[:, None, None] * map_YX
    noise = random.normal(0, 0.3, tracers[:, 0].shape).astype(np.float32)
    regions = np.broadcast_to(body_YX, (2 * subjects, 16, 16)).astype(np.uint8)
    return tracers.sum(axis=1) + noise, tracers, regions


def make_store(path: Path, *, gate: int, seed: int = 0) -> Store:
    """A store with 8 training subjects and ``gate`` of the gate split."""
    subjects = 8 + gate
    splits = ["train"] * 8 + ["gate"] * gate
    plan = StorePlan(
        tracers=("fmz", "fdg"),
        protocol=PROTOCOL,
        half_life=(1221.8, 6584.0),
        size=(16, 16),
        voxel_size=(8.0, 8.0),
        subject=tuple(f"s{i:02d}" for i in range(subjects) for _ in range(2)),
        slice_position=tuple(float(8 * j) for _ in range(subjects) for j in range(2)),
        split=tuple(split for split in splits for _ in range(2)),
        region_names=("outside", "body"),
        block=4,
    )
    writer = StoreWriter(str(path), plan)
    mixture, tracers, regions = images(subjects, seed)
    for block in writer.begin():
        where = plan.block_samples(block)
        parts = {"mixture": mixture[where], "tracers": tracers[where], "regions": regions[where]}
        writer.write(block, parts)
    writer.seal()
    return open_store(str(path))


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Store:
    return make_store(tmp_path_factory.mktemp("store") / "gate.zarr", gate=12)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory) -> Store:
    return make_store(tmp_path_factory.mktemp("store") / "few.zarr", gate=5, seed=1)


def info(store: Store, model: ModelConfig = MODEL) -> SeparatorInfo:
    header = store.header
    return SeparatorInfo(
        model=model,
        tracers=header.tracers,
        protocol="p1",
        frame_start=PROTOCOL.frame_start,
        frame_duration=PROTOCOL.frame_duration,
        injection_time=PROTOCOL.injection_time,
        half_life=header.half_life,
        metrics={"psnr": 30.5},
        lineage=Lineage(
            run="search/a",
            config={"model": {"blocks": 1}},
            store_path="gate.zarr",
            store_digest=header.digest,
            code_version="0.1.0+gabcdef12",
            seed=3,
            search="search",
            trial="a",
        ),
    )


def trained(store: Store, *steps: int, model: ModelConfig = MODEL) -> Iterator[SeparatorNetwork]:
    """One network after each of these numbers of steps on the training subjects."""
    network = build_network(model, PROTOCOL.frames, seed=0)
    subjects = list(store.subjects("train"))
    mixture = torch.from_numpy(np.concatenate([s.mixture_NTYX for s in subjects]))
    tracers = torch.from_numpy(np.concatenate([s.tracers_NKTYX for s in subjects]))
    scale = sample_scale(mixture, torch.tensor(PROTOCOL.frame_duration))
    mixture, tracers = mixture / per_sample(scale, mixture), tracers / per_sample(scale, tracers)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(max(steps) + 1):
        if step in steps:
            yield network
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(network(mixture), tracers).backward()
        optimiser.step()


def equal_split() -> LinearNetwork:
    """A linear map that nobody fitted."""
    return LinearNetwork(PROTOCOL.frames, LinearConfig())


class Packages:
    """Separators, from untrained to well trained; each is trained when it is first asked for.

    The linear map in them is not fitted, so that short trainings beat it: an equal split.
    """

    STEPS: ClassVar = {"untrained": 0, "weak": 30, "strong": 120, "stronger": 300}

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._info = folder, info(store)
        self._made = zip(self.STEPS, trained(store, *self.STEPS.values()), strict=True)

    def __getattr__(self, name: str) -> Path:
        if name not in self.STEPS:
            raise AttributeError(name)
        path = self._folder / name
        while not path.exists():
            made, network = next(self._made)
            write_package(self._folder / made, network, self._info, equal_split())
        return path


@pytest.fixture(scope="session")
def packages(tmp_path_factory, store) -> Packages:
    return Packages(tmp_path_factory.mktemp("packages"), store)


@pytest.fixture
def squeezed(store) -> Separator:
    """A network that takes slices of even sides."""
    config = dataclasses.replace(MODEL, squeeze="haar", start="xavier")
    return Separator(build_network(config, PROTOCOL.frames), info(store, config))


@pytest.fixture
def rival(tmp_path, store) -> Path:
    """A trained network without an inverse."""
    (network,) = trained(store, 120, model=RIVAL)
    write_package(tmp_path / "rival", network, info(store, RIVAL), equal_split())
    return tmp_path / "rival"


@pytest.fixture
def orphan(tmp_path, packages) -> Path:
    """A package that does not say which code made it."""
    folder = tmp_path / "orphan"
    shutil.copytree(packages.weak, folder)
    read = read_info(folder)
    lineage = dataclasses.replace(read.lineage, code_version="")
    changed = dataclasses.replace(read, lineage=lineage)
    (folder / "separator.json").write_text(info_text(changed), encoding="utf-8")
    (folder / "manifest.json").unlink()
    write_manifest(folder)
    return folder


@pytest.fixture
def begin(tracker):
    """Begins a run that needs no more than a key."""

    def begin_one(key: str, **more) -> None:
        settings = {"name": key, "kind": "training", "experiment": "fmz-fdg", "time_ms": 1_000}
        tracker.begin(RunStart(key=key, **{**settings, **more}))

    return begin_one


@pytest.fixture
def registered(tracker, begin):
    """Registers a package on a finished run of its own."""

    def register_one(package: Path, key: str | None = None, **more) -> ModelVersion:
        key = key or f"search/{package.name}"
        begin(key)
        version = register(tracker, package, run_key=key, **more)
        tracker.end(key, "finished", 9_000)
        return version

    return register_one


@pytest.fixture
def server(tmp_path, pristine) -> Iterator[str]:
    """An MLflow server that keeps the artifacts."""
    root = tmp_path / "server"
    root.mkdir()
    (root / "mlflow.db").write_bytes(pristine.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{root}/mlflow.db"]
    places += ["--artifacts-destination", str(root / "kept"), "--serve-artifacts"]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (root / "log").open("wb") as log:
        job = subprocess.Popen(
            [*command, *places], stdout=log, stderr=log, env=quiet, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 100
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{url}/health", timeout=5).close()
            break
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    os.killpg(job.pid, signal.SIGTERM)
    job.wait(30)
