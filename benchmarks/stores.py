"""Stores that benchmarks simulate where they are not there yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from dtsinn.core.config import to_mapping
from dtsinn.data.splits import SPLIT_SHARES
from dtsinn.data.store import Store, open_store
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study

WORK = Path(__file__).parent / ".work"
"""Data and finished jobs that later calls use again."""


def prepare_store(
    name: str,
    request: StudyRequest,
    folder: Path,
    splits: Mapping[str, float] = SPLIT_SHARES,
) -> Store:
    """The store of a study in ``folder``, simulated where it is missing.

    Its name depends on what is simulated, so that another study is never taken for it.

    Args:
        name: Begins the name of its folder.
        request: What is simulated.
        folder: Where stores are kept.
        splits: Part of the subjects in each split.
    """
    content = json.dumps([to_mapping(request), dict(splits)], sort_keys=True).encode()
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.zarr"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        simulate_study(request, str(path), splits=splits)
    return open_store(str(path), need_truth=True)
