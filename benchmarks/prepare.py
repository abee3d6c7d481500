"""What benchmarks start from: simulated stores, trainings of the product, registered versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.clock import now_ms
from dtsinn.core.config import to_mapping
from dtsinn.core.tracker import RunStart
from dtsinn.data.splits import SPLIT_SHARES
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import ModelVersion
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.package import package_run, separator_info
from dtsinn.training.run import experiment_of, lineage_tags
from dtsinn.training.state import TrainingState

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


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data of a benchmark, and their name."""

    name: str
    title: str
    request: StudyRequest
    splits: Mapping[str, float]
    """Part of the subjects in each split."""

    def prepare(self, work: Path) -> Store:
        """Its store in the folder ``work``."""
        return prepare_store(self.name, self.request, work, self.splits)


def train_state(
    stores: Store | Sequence[Store],
    changes: Sequence[str],
    steps: int,
    *,
    validations: int = 3,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> TrainingState:
    """Train the default run with changes, on one store or on several in turn.

    Args:
        stores: Data.
        changes: Settings, as ``dtsinn train --set`` takes them.
        steps: Of the training.
        validations: How many, at equal distances.
        on_step: Told of each step.
    """
    own = [f"steps={steps}", f"validate_every={-(-steps // validations)}", *changes]
    first = stores if isinstance(stores, Store) else stores[0]
    state = TrainingState(load_run_config("invertible", own), first.header.protocol.frames)
    for _ in train(stores, state, on_step=on_step):
        pass
    return state


def separator_of(state: TrainingState, store: Store) -> Separator:
    """Its best network."""
    return Separator(state.best_network(), separator_info(state, store.header, "benchmark"))


def begun_run(tracker: MlflowTracker, store: Store, key: str) -> None:
    """A run that is over, to register on."""
    now = now_ms()
    tracker.begin(
        RunStart(
            key=key,
            name=key,
            kind="training",
            experiment=experiment_of(store),
            time_ms=now,
            tags=lineage_tags(store),
        )
    )
    tracker.end(key, "finished", now)


def registered(
    tracker: MlflowTracker, store: Store, state: TrainingState, folder: Path, key: str
) -> ModelVersion:
    """A version of the trained state."""
    begun_run(tracker, store, key)
    package_run(state, store, folder / key, key)
    return register(tracker, folder / key, run_key=key)
