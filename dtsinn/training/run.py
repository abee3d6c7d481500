"""One training as a user starts it: a folder with checkpoints, a tracked run, a package."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunStart, RunStatus, Tracker
from dtsinn.core.version import code_version
from dtsinn.data.layout import is_url
from dtsinn.data.store import Store
from dtsinn.training.config import RunConfig
from dtsinn.training.loop import Report, train
from dtsinn.training.package import package_run, picture_run
from dtsinn.training.state import TrainingState, latest_checkpoint


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a training left behind."""

    key: str
    folder: Path
    package: Path
    best_psnr: float
    """dB on the ``val`` subjects."""


def fresh_state(store: Store, config: RunConfig, folder: Path, device: str) -> TrainingState:
    """The state of a new run at step 0; nothing is written yet.

    Raises:
        InputError: ``folder`` exists, or the store lacks a ``val`` or ``train`` subject.
    """
    if folder.exists():
        raise InputError(f"run {folder.name} exists already", hint=f"--resume {folder.name}")
    check_store_fits(store)
    return TrainingState(config, store.header.protocol.frames, device)


def resumed_state(store: Store, folder: Path, device: str) -> TrainingState:
    """The state of the run in ``folder`` at its last checkpoint.

    On the CPU, what follows has the same numbers as an uninterrupted run.

    Raises:
        InputError: There is no checkpoint, or the store has another number of frames.
    """
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        raise InputError(f"run {folder.name} has no checkpoint", hint="train without --resume")
    check_store_fits(store)
    state = TrainingState.load(checkpoint, device)
    if state.network.frames != store.header.protocol.frames:
        raise InputError(
            f"{store.header.path} has {store.header.protocol.frames} frames",
            wanted=f"{state.network.frames}, as in run {folder.name}",
        )
    if state.progress.store_digest != store.header.digest:
        raise InputError(
            f"run {folder.name} was trained on another store",
            got=f"digest {store.header.digest[:12]}",
            wanted=state.progress.store_digest[:12],
        )
    return state


def run_training(
    store: Store,
    state: TrainingState,
    folder: Path,
    tracker: Tracker,
    on_report: Callable[[Report], None] = lambda report: None,
) -> FinishedRun:
    """Train ``state`` to its budget; checkpoints, pictures and the package go to ``folder``.

    Raises:
        DivergedError: The training left the numbers that make sense.
        StoreError: A chunk of the store is missing or damaged.
    """
    key = folder.name
    tracker.begin(
        RunStart(
            key=key,
            name=key,
            kind="training",
            experiment=experiment_of(store),
            time_ms=_now_ms(),
            parameters=flatten(to_mapping(state.config)),
            tags=lineage_tags(store) | {"seed": str(state.config.seed)},
        )
    )
    package = folder / "separator"
    try:
        for report in train(store, state):
            state.save(folder)
            tracker.report(key, report.step, report.metrics, _now_ms())
            on_report(report)
        if not package.exists():
            package_run(state, store.header, package, key)
        picture_run(state, store, folder / "pictures", key)
        tracker.artifact(key, folder / "pictures", "pictures")
        tracker.artifact(key, package, "separator")
    except BaseException as error:
        status: RunStatus = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            tracker.end(key, status, _now_ms(), {"reason": str(error) or type(error).__name__})
        except Exception as failure:
            error.add_note(f"and the tracker was not told: {failure}")
        raise
    tracker.end(key, "finished", _now_ms())
    return FinishedRun(key=key, folder=folder, package=package, best_psnr=state.progress.best_psnr)


def check_store_fits(store: Store) -> None:
    """Refuse a store that a training cannot use.

    Raises:
        InputError: It has no sample in ``train`` or in ``val``.
    """
    for split in ("train", "val"):
        if not store.subject_count(split):
            raise InputError(
                f"{store.header.path} has no {split} subject", hint="a store of more subjects"
            )


def lineage_tags(store: Store) -> dict[str, str]:
    """Tags that lead from a run back to its data and code."""
    header = store.header
    return {
        "store.path": str(header.path if is_url(header.path) else Path(header.path).resolve()),
        "store.digest": header.digest,
        "tracers": ",".join(header.tracers),
        "protocol": header.protocol.name,
        "code.version": code_version(),
    }


def experiment_of(store: Store) -> str:
    """The experiment that runs on a store are listed in: one per pair, protocol and store."""
    header = store.header
    return f"{'-'.join(header.tracers)} {header.protocol.name} {header.digest[:8]}"


def _now_ms() -> int:
    return int(time.time() * 1000)
