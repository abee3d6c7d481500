"""Tiny stores of random content, on which a training takes a second."""

from __future__ import annotations

import pytest

from dtsinn.core.protocol import protocol_of_frames
from dtsinn.data.store import Store, open_store

SPLITS = ("train",) * 12 + ("val",) * 2 + ("test",) * 2


@pytest.fixture(scope="session")
def make_tiny(tiny_plan, write_store, tmp_path_factory: pytest.TempPathFactory):
    """Makes a store of 16 samples, three frames and 8 x 8 pixels."""

    def make(name: str, seed: int = 0, **changes) -> Store:
        path = tmp_path_factory.mktemp("tiny") / f"{name}.zarr"
        settings = {"split": SPLITS, "size": (8, 8)} | changes
        write_store(path, tiny_plan(len(SPLITS), **settings), seed)
        return open_store(str(path))

    return make


@pytest.fixture(scope="session")
def tiny_store(make_tiny) -> Store:
    return make_tiny("first")


@pytest.fixture(scope="session")
def later_store(make_tiny) -> Store:
    """The same tracers and as many frames as in the tiny store, the second injected later."""
    later = protocol_of_frames("later", [0, 120, 240], [120, 120, 360], [0, 120])
    return make_tiny("later", seed=1, protocol=later)


@pytest.fixture(scope="session")
def longer_store(make_tiny) -> Store:
    """A store of four frames."""
    four = protocol_of_frames("four", [0, 60, 180, 480], [60, 120, 300, 300], [0, 60])
    return make_tiny("longer", protocol=four)
