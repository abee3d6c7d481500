"""Ray Tune, running a driver's trials: resources, restarts of dead workers, signals."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeAlias

from dtsinn.search.engine.cluster import Workers
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.packing import GpuShare
from dtsinn.search.plan import SearchPlan

if TYPE_CHECKING:
    from ray import tune

MACHINE_FAULT_RETRIES = 2
"""Times that a trial whose worker died is started again from its last checkpoint."""
TRIALS = "trials"
"""Folder of the trials' checkpoints in a search's own."""

Resources: TypeAlias = (
    "Mapping[str, float] | Callable[[dict[str, Any]], tune.PlacementGroupFactory]"
)
"""What a trial asks for, or how to find it from its configuration."""


def train_trials(driver: Driver, share: GpuShare | None) -> None:
    """Train the trials of a session.

    Args:
        driver: Of the session.
        share: How much of a GPU each trial takes, where its configuration says that.
    """
    # Here, as below: who looks at a search, or sets one up, waits for no Ray Tune.
    from ray import tune

    from dtsinn.search.engine.trial import TrialPlan, run_trial

    plan = driver.plan
    trial_plan = TrialPlan(
        store=_everywhere(plan.store),
        base=plan.space.base,
        trials=(driver.tools.folder / TRIALS).resolve(),
        threads=max(1, int(plan.cpus_per_trial)),
        device="cuda" if plan.gpus_per_trial > 0 else "cpu",
        workers=_workers(plan),
    )
    trainable = tune.with_parameters(run_trial, plan=trial_plan)
    run_trials(driver, trainable, _resources(plan, share))


def run_trials(driver: Driver, trainable: Callable[..., None], resources: Resources) -> None:
    """Let Ray Tune run the trials of a session, until all are done or the driver says so.

    Args:
        driver: Decides.
        trainable: What a worker does with ``{"trial": name, "suggestion": values}``.
        resources: What it asks for.
    """
    from ray import tune

    from dtsinn.search.engine.ray_adapters import (
        DriverCallback,
        DriverScheduler,
        DriverSearcher,
        DriverStopper,
    )

    # Ray starts one worker at a time by default: trials shorter than that would take turns in the
    # first one. Where they share GPUs, more would be suggested than run, and too early.
    starting = 1 if callable(resources) else driver.tools.concurrent
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(starting)
    folder = driver.tools.folder.resolve()
    results = folder / "ray"  # Ray's own notes, of no use to us
    shutil.rmtree(results, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=DriverSearcher(driver),
            scheduler=DriverScheduler(driver),
            num_samples=driver.to_come,
            # It is also what lets a stopped trial end its workers: without reuse Ray kills it, and
            # what they had asked for is never given back (Ray's cleaner needs the dashboard).
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=results.name,
            storage_path=str(folder),
            stop=DriverStopper(driver),
            callbacks=[DriverCallback(driver)],
            failure_config=tune.FailureConfig(max_failures=MACHINE_FAULT_RETRIES),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        shutil.rmtree(results, ignore_errors=True)


@contextmanager
def interruptible(driver: Driver) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the session in order; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        driver.interrupt("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)
        for sign in before:
            signal.signal(sign, signal.default_int_handler)

    for sign in (signal.SIGINT, signal.SIGTERM):
        before[sign] = signal.signal(sign, interrupt)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _workers(plan: SearchPlan) -> Workers | None:
    """The processes of each trial, where it is more than its own."""
    if plan.workers_per_trial == 1:
        return None
    return Workers(
        number=plan.workers_per_trial, cpus=plan.cpus_per_trial, gpu=plan.gpus_per_trial > 0
    )


def _resources(plan: SearchPlan, share: GpuShare | None) -> Resources:
    """What a trial's own process asks for: with workers next to nothing, as they do the work."""
    if plan.workers_per_trial > 1:
        return {"cpu": 0, "memory": 1}  # Ray refuses a trial that asks for nothing at all
    if share is None:
        return {"cpu": plan.cpus_per_trial, "gpu": plan.gpus_per_trial}

    def packed(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        from ray import tune

        gpu = share.of(config["suggestion"])
        return tune.PlacementGroupFactory([{"CPU": plan.cpus_per_trial, "GPU": gpu}])

    return packed


def _everywhere(path: str) -> str:
    """A store's path as workers understand it, whatever folder they run in."""
    return path if "://" in path else str(Path(path).resolve())
