"""What the benchmarks of promotion share: trained packages, and runs to register them on."""

from __future__ import annotations

from pathlib import Path

from dtsinn.core.clock import now_ms
from dtsinn.core.tracker import RunStart
from dtsinn.data.store import Store
from dtsinn.deploy.separator import Separator
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import ModelVersion
from dtsinn.training.package import package_run, separator_info
from dtsinn.training.run import experiment_of, lineage_tags
from dtsinn.training.state import TrainingState


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
