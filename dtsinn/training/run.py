"""One training as a user starts it: a folder with checkpoints, a tracked run, a package."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.clock import now_ms
from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.paths import is_url, name_of_store
from dtsinn.core.tracker import Point, RunStart, RunStatus, Tracker
from dtsinn.core.version import code_version
from dtsinn.data.store import Store
from dtsinn.eventlog.lock import HOLDER, LOCK
from dtsinn.eventlog.recorder import Recorder, record
from dtsinn.training.config import RunConfig
from dtsinn.training.finetune import Parent, start_from
from dtsinn.training.loop import Report, Trainer, train_here
from dtsinn.training.package import package_run, picture_run
from dtsinn.training.protocols import as_stores, check_stores_fit, digests_of
from dtsinn.training.state import TrainingState, latest_checkpoint

DRAWN = (0.25, 0.5)
"""Parts of a training after which the first ``val`` subject is drawn, beside its end."""
BEFORE_CHECKPOINT = {LOCK, HOLDER}
"""Files that a run leaves which was killed before its first checkpoint: its name is free, as
nothing of it was recorded."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a training left behind."""

    key: str
    folder: Path
    package: Path
    best_psnr: float
    """dB on the ``val`` subjects."""
    undelivered: int
    """Events that the tracker has not got yet; they are in the run's event log."""


def fresh_state(
    stores: Store | Sequence[Store],
    config: RunConfig,
    folder: Path,
    device: str,
    parent: Parent | None = None,
) -> TrainingState:
    """The state of a new run at step 0; nothing is written yet.

    Args:
        stores: What it will train on.
        config: Of the run.
        folder: Of the run; must not exist, or be of one that was killed before it began.
        device: Where it will train.
        parent: Separator whose weights it starts from, of the same model.

    Raises:
        InputError: ``folder`` exists, or the stores or the parent do not fit.
    """
    stores = as_stores(stores)
    left = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if {name for name in left if not name.endswith(".partial")} - BEFORE_CHECKPOINT:
        raise InputError(f"run {folder.name} exists already", hint=f"--resume {folder.name}")
    check_stores_fit(stores)
    state = TrainingState(config, stores[0].header.protocol.frames, device)
    state.progress.store_digest = digests_of(stores)
    if parent is not None:
        start_from(state, parent, stores)
    return state


def resumed_state(stores: Store | Sequence[Store], folder: Path, device: str) -> TrainingState:
    """The state of the run in ``folder`` at its last checkpoint.

    On the CPU, what follows has the same numbers as an uninterrupted run.

    Raises:
        InputError: There is no checkpoint, or the stores are not those of the run.
    """
    stores = as_stores(stores)
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        raise InputError(f"run {folder.name} has no checkpoint", hint="train without --resume")
    check_stores_fit(stores)
    state = TrainingState.load(checkpoint, device)
    header = stores[0].header
    if state.network.frames != header.protocol.frames:
        raise InputError(
            f"{header.path} has {header.protocol.frames} frames",
            wanted=f"{state.network.frames}, as in run {folder.name}",
        )
    digests = [store.header.digest for store in stores]
    if state.progress.store_digest != digests_of(stores):
        trained_on = state.progress.store_digest.split(",")
        raise InputError(
            f"run {folder.name} was trained on another store",
            got=f"digest {', '.join(digest[:12] for digest in digests)}",
            wanted=", ".join(digest[:12] for digest in trained_on),
        )
    return state


def run_training(
    stores: Store | Sequence[Store],
    state: TrainingState,
    folder: Path,
    connect: Callable[[], Tracker],
    on_report: Callable[[Report], None] = lambda report: None,
    trainer: Trainer = train_here,
) -> FinishedRun:
    """Train ``state`` to its end; log, checkpoints, pictures and the package go to ``folder``.

    Everything is written to the run's event log first, and delivered from there: an outage of the
    tracker delays nothing but the delivery. The first store names the separator's tracers and
    protocol.

    Raises:
        InputError: Another process trains the run, or did so since ``state`` was made.
        DivergedError: The training left the numbers that make sense.
        StoreError: A chunk of a store is missing or damaged.
    """
    stores = as_stores(stores)
    key, fresh = folder.name, False
    try:
        with record(folder, connect) as recorder:
            checkpoint = latest_checkpoint(folder)
            if checkpoint != state.checkpoint:
                what = "went on" if state.checkpoint else "was begun"
                raise InputError(f"run {key} {what} in another process", hint=f"--resume {key}")
            fresh = checkpoint is None
            package = _train_recorded(stores, state, folder, recorder, on_report, trainer)
    except InputError:
        if fresh and state.progress.step == 0 and not recorder.undelivered:
            shutil.rmtree(folder)  # what was asked for was wrong, and nothing has begun
        raise
    return FinishedRun(
        key=key,
        folder=folder,
        package=package,
        best_psnr=state.progress.best_psnr,
        undelivered=recorder.undelivered,
    )


def _train_recorded(
    stores: Sequence[Store],
    state: TrainingState,
    folder: Path,
    recorder: Recorder,
    on_report: Callable[[Report], None],
    trainer: Trainer,
) -> Path:
    """Train, draw and package, and record it all, also how it ends; returns the package."""
    store, key, package = stores[0], folder.name, folder / "separator"
    if state.checkpoint is None:
        state.save(folder)  # the name is taken before it is recorded, and the run can be resumed
    recorder.begin(
        RunStart(
            key=key,
            name=key,
            kind="training",
            experiment=experiment_of(store),
            time_ms=now_ms(),
            parameters=flatten(to_mapping(state.config)),
            tags=lineage_tags(store) | _run_tags(state, stores),
            description=_describe(state, store),
        )
    )
    try:
        before = state.progress.step
        for report in trainer(stores, state, folder):
            recorder.report(
                key, [Point(step=report.step, metrics=report.metrics, time_ms=report.time_ms)]
            )
            on_report(report)
            if _is_drawn(before, report.step, state.steps):
                _picture_step(store, folder, key, report.step, recorder)
            before = report.step
        if not package.exists():
            package_run(state, stores, package, key)
        picture_run(state, store, folder / "pictures", key)
        recorder.artifact(key, folder / "pictures", "pictures")
        recorder.artifact(key, package, "separator")
    except BaseException as error:
        status: RunStatus = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            recorder.end(key, status, now_ms(), {"reason": describe_end(error, stores)})
        except OSError as failure:
            error.add_note(f"and its end was not written down: {failure}")
        raise
    early = state.progress.step < state.steps
    recorder.end(key, "finished", now_ms(), {"ended": state.ended} if early else {})
    return package


def describe_end(error: BaseException, stores: Sequence[Store]) -> str:
    """Why a run ended, without the folders that lead to its stores."""
    reason = str(error) or type(error).__name__
    for path in (store.header.path for store in stores):
        reason = reason.replace(path, name_of_store(path))
    return reason


def _is_drawn(before: int, step: int, steps: int) -> bool:
    """Whether a report is the first after one of the parts of the way; the end has its own."""
    return step < steps and any(before < part * steps <= step for part in DRAWN)


def _picture_step(store: Store, folder: Path, key: str, step: int, recorder: Recorder) -> None:
    """Draw what the best weights so far do, from the step's checkpoint, and attach it."""
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        return
    name = f"pictures/step-{step:06d}"
    picture_run(TrainingState.load(checkpoint), store, folder / name, key)
    recorder.artifact(key, folder / name, name)


def check_store_fits(store: Store) -> None:
    """Refuse a store that a training cannot use.

    Raises:
        InputError: It has no sample in ``train`` or in ``val``.
    """
    check_stores_fit((store,))


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


def _describe(state: TrainingState, store: Store) -> str:
    """A training in a sentence."""
    config, header = state.config, store.header
    pair = " then ".join(tracer.upper() for tracer in header.tracers)
    parameters = sum(weights.numel() for weights in state.network.parameters())
    where = f"on {name_of_store(header.path)}"
    learning = f"{config.steps:,} steps {where}, seed {config.seed}"
    if state.network.learning == "closed form":
        learning = f"fitted in closed form {where}"
    return (
        f"Separator {config.model.kind} of {parameters:,} parameters for {pair}, protocol "
        f"{header.protocol.name}: {learning}."
    )


def _run_tags(state: TrainingState, stores: Sequence[Store]) -> dict[str, str]:
    """What only a run knows: its seed, its further stores, and the separator it started from."""
    progress = state.progress
    tags = {
        "seed": str(state.config.seed),
        "store.further": ",".join(store.header.digest for store in stores[1:]),
        "init": progress.init,
        "init.tracers": progress.init_tracers,
    }
    return {name: value for name, value in tags.items() if value}


def experiment_of(store: Store) -> str:
    """The experiment that runs on a store are listed in: one per pair, protocol and store."""
    header = store.header
    return experiment_name(header.tracers, header.protocol.name, header.digest)


def experiment_name(tracers: Sequence[str], protocol: str, digest: str) -> str:
    """:func:`experiment_of` a store that is known by its digest."""
    return f"{'-'.join(tracers)} {protocol} {digest[:8]}"
