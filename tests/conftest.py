"""What all tests share: a small simulated store, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dtsinn.data.store import Store, open_store
from dtsinn.simulation.study import simulate
from dtsinn.simulation.subject import StudyRequest

torch.set_num_threads(1)

SMALL = StudyRequest(subjects=24, slices=2, size=32, seed=5)


@pytest.fixture(scope="session")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 24 subjects with two slices of 32 x 32; 12 of them decide promotions."""
    path = tmp_path_factory.mktemp("stores") / "small.zarr"
    shares = {"train": 8 / 24, "val": 2 / 24, "gate": 12 / 24, "test": 2 / 24}
    simulate(SMALL, str(path), workers=1, splits=shares)
    return path


@pytest.fixture
def small_store(small_path: Path) -> Store:
    return open_store(str(small_path))


@pytest.fixture
def damaged(small_path: Path, tmp_path: Path) -> Path:
    """A copy of the small store that a test may damage."""
    return Path(shutil.copytree(small_path, tmp_path / "damaged.zarr"))
