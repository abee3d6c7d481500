"""A whole search: Ray Tune runs trials, Optuna suggests, halving prunes, the driver records."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from rich.console import Console

from dtsinn.core.causes import brief
from dtsinn.core.errors import DtsinnError, InputError, PackageError, RunError
from dtsinn.core.tracker import Tracker
from dtsinn.core.workspace import Workspace
from dtsinn.data.known_stores import remember_store
from dtsinn.data.store import Store
from dtsinn.deploy.package import load_package
from dtsinn.eventlog.lock import check_undriven, driving
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox, PATIENCE_s
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.search.engine.cluster import ray_session, trials_that_fit
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.floor import fit_floor, floor_package
from dtsinn.search.engine.packing import GpuShare, share_of_gpus
from dtsinn.search.engine.session import open_session
from dtsinn.search.engine.tuner import TRIALS, interruptible, train_trials
from dtsinn.search.events.state import replay
from dtsinn.search.objective import OBJECTIVE, best_trial, front_of, rank_trials
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.constraints import OUTCOMES
from dtsinn.search.status import end_again
from dtsinn.training.package import package_run, picture_run
from dtsinn.training.run import check_store_fits
from dtsinn.training.state import TrainingState, latest_checkpoint

log = logging.getLogger(__name__)

PICTURED = 10
"""Number of the best trials whose first ``val`` subject is drawn."""
PACKAGE, REPORT = "separator", "report"
"""Folders in a search's own: the best trial's package, and what explains the search."""


class FruitlessError(RunError):
    """No trial gave a result; the linear map, which is none, may be there all the same.

    Attributes:
        floor: It, as a separator package; None where there is none, or the tracker does not know
            its run yet.
        floor_run: Key of its run.
    """

    def __init__(self, reasons: str, floor: Path | None, floor_run: str) -> None:
        super().__init__("no trial gave a result", got=reasons)
        self.floor, self.floor_run = floor, floor_run


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """How a session of a search ended."""

    name: str
    folder: Path
    best_trial: str
    """Key of the best trial's run; nothing where no trial reported."""
    best_psnr: float
    """dB on the ``val`` subjects; NaN without one."""
    suggestion: dict[str, Any]
    """What the best trial was given to try, by dotted key."""
    package: Path | None
    """The best trial as a separator package; None of a method without weights."""
    floor: Path | None
    """The linear map as a separator package; None where the search has none."""
    floor_run: str
    """Key of the floor's run; nothing without one."""
    floor_psnr: float
    """dB on the ``val`` subjects; NaN without one."""
    states: dict[str, int]
    """Number of trials by how they ended."""
    over: str
    """Why it ended, where that was before all trials had."""
    interrupted: bool
    """It can be resumed: something is still to come."""
    front: list[str]
    """With several objectives: names of the trials that no other one beats in all of them."""
    undelivered: int
    """Events that the tracker has not taken yet; they are in the event log."""


def run_search(
    plan: SearchPlan,
    store: Store,
    workspace: Workspace,
    connect: Callable[[], Tracker],
    console: Console,
    *,
    resume: bool = False,
    points: Sequence[Mapping[str, Any]] = (),
    warm: Sequence[Mapping[str, Any]] = (),
) -> SearchResult:
    """Search, record everything, and package the best trial.

    Args:
        plan: What to do; of a resumed search what is left of it is done.
        store: What the trials train on, as the plan names it.
        workspace: Where searches are kept.
        connect: Gives the tracker, as soon as it can be reached.
        console: Where progress is shown.
        resume: Go on with a search that was begun.
        points: To try first, beside those of the space.
        warm: Results of earlier searches that the sampler should know (``warm`` events).

    Raises:
        InputError: The name is taken, or not yet, or the store cannot be used; nothing was started.
        FruitlessError: No trial gave a result.
    """
    folder = workspace.searches / plan.name
    check_store_fits(store)
    check_store_tells(plan, store)
    check_undriven(folder)  # before Ray is started; and again when the lock is taken
    events, read = EventLog(folder / LOG_FILE, readonly=True).read()
    begun = bool(replay(plan.name, events, folder / LOG_FILE).sessions)
    if begun and not resume:
        hint = "--resume to go on, or another --name"
        raise InputError(f"search {plan.name} exists already", hint=hint)
    if resume and not begun:
        raise InputError(f"no search {plan.name} to resume", hint="without --resume")
    with ray_session(plan.cluster):
        share = share_of_gpus(plan, store)
        fitting = trials_that_fit(
            plan.cpus_per_trial, 0 if share else plan.gpus_per_trial, plan.workers_per_trial
        )
        with driving(folder):
            event_log = EventLog(folder / LOG_FILE)
            if event_log.size != read:
                hint = "the same command again"
                raise InputError(f"search {plan.name} was driven while this began", hint=hint)
            if not begun:  # what a driver left that died before its session
                event_log.path.unlink(missing_ok=True)
                events = []
            remember_store(workspace, store)
            outbox = Outbox(event_log, connect)
            driver = open_session(
                plan,
                folder,
                store,
                outbox,
                console,
                events=events,
                points=points,
                warm=warm,
                concurrent=min(plan.concurrent or plan.trials, fitting),
                share=share,
            )
            package = _run_session(driver, store, share)
            return _conclude(driver, package, outbox)


def check_store_tells(plan: SearchPlan, store: Store) -> None:
    """Refuse objectives and outcome constraints that validation on a store cannot tell.

    Raises:
        InputError: It has no regions, or no read-out can be taken from it.
    """
    asked = [one.metric for one in plan.objectives]
    asked += [one.metric for one in plan.space.outcomes]
    wanted = [metric for metric in OUTCOMES if metric in asked]
    if not wanted:
        return
    untold = SubjectMeter.of(store).untold
    for metric in wanted:
        reason = "" if store.header.region_names else "the store has no regions"
        if metric.startswith("kinetic"):
            reason = reason or untold
        if reason:
            raise InputError(
                f"{metric} cannot be told of {store.header.path}",
                got=reason,
                hint="another objective or outcome constraint, or a store that can tell it",
            )


def _run_session(driver: Driver, store: Store, share: GpuShare | None) -> Path | None:
    """Train, and package the best; returns the package.

    An error ends the search in order before it is raised.
    """
    driver.tools.outbox.start()
    try:
        with driver.tools.table, interruptible(driver):
            if driver.to_come and not driver.is_over():
                fit_floor(driver, store)
            if driver.to_come and not driver.is_over():
                train_trials(driver, share)
        driver.close()
        with interruptible(driver):
            return _package_best(driver, store)
    except BaseException as error:
        driver.interrupt(brief(error))
        driver.close()
        driver.end("killed", driver.outcome.over)
        driver.tools.outbox.close(PATIENCE_s / 10)
        raise


def _package_best(driver: Driver, store: Store) -> Path | None:
    """Draw the best trials and package the very best, where one has weights; the package.

    An interrupted search keeps nothing yet.
    """
    plan, folder = driver.plan, driver.tools.folder
    best = best_trial(driver.search, plan.objectives, plan.space.outcomes)
    if best is None:
        return None
    _draw(driver, store)
    checkpoint = latest_checkpoint(folder / TRIALS / best.name)
    if checkpoint is None or driver.outcome.interrupted:
        return None
    package = folder / PACKAGE
    if package.exists():
        shutil.rmtree(package)
    state, key = TrainingState.load(checkpoint), f"{plan.name}/{best.name}"
    package_run(state, store, package, key, search=plan.name, floor=_load_floor(driver))
    return package


def _load_floor(driver: Driver) -> LinearNetwork | None:
    """The floor as it was fitted; None without one, and of a package that is damaged."""
    package = floor_package(driver.tools.folder, driver.search)
    if package is None:
        return None
    try:
        *_, floor = load_package(package)
    except PackageError as error:
        log.warning("the floor is fitted again: %s", error)
        return None
    return floor


def _conclude(driver: Driver, package: Path | None, outbox: Outbox) -> SearchResult:
    """End the search's run, explain it, and wait for the tracker."""
    plan, folder, search = driver.plan, driver.tools.folder, driver.search
    interrupted = driver.outcome.interrupted
    outcomes = plan.space.outcomes
    best = best_trial(search, plan.objectives, outcomes)
    if interrupted:
        driver.end("killed", driver.outcome.over)
    elif best is None:
        driver.end("failed", "no trial gave a result")
    else:
        driver.end("finished", driver.outcome.over)
        _explain(driver)
    undelivered = outbox.close(PATIENCE_s if not interrupted else PATIENCE_s / 10)
    if not undelivered:
        end_again(outbox.event_log, plan.name, outbox.connect)
    if driver.error is not None:
        raise driver.error
    floor = floor_package(folder, search)
    if best is None and not interrupted:
        reasons = {trial.reason for trial in search.trials.values() if trial.reason}
        if best_trial(search, plan.objectives) is not None:
            limits = ", ".join(outcome.text for outcome in plan.space.outcomes)
            reasons = {f"none keeps {limits}"}
        known = None if undelivered else floor
        raise FruitlessError("; ".join(sorted(reasons)) or "no report", known, search.floor_key)
    return SearchResult(
        name=plan.name,
        folder=folder,
        best_trial=f"{plan.name}/{best.name}" if best else "",
        best_psnr=best.metrics.get("best_psnr", nan) if best else nan,
        suggestion=best.suggestion if best else {},
        package=package,
        floor=floor,
        floor_run=search.floor_key if floor else "",
        floor_psnr=search.floor.metrics.get(OBJECTIVE, nan) if floor and search.floor else nan,
        states=search.states(),
        over=driver.outcome.over,
        interrupted=interrupted,
        front=front_of(search, plan.objectives, outcomes) if len(plan.objectives) > 1 else [],
        undelivered=undelivered,
    )


def _explain(driver: Driver) -> None:
    """Attach the report that explains the search to its run; the search stands without it."""
    from dtsinn.search.explain.page import write_report  # forests: nothing for a search's start

    try:
        page = write_report(driver.tools.folder, driver.tools.folder / REPORT)
    except Exception as error:  # foreign files in its place, a full disk, an odd set of trials
        log.warning("no report: %s: %s", type(error).__name__, error)
    else:
        driver.attach(driver.plan.name, page.parent, REPORT)


def _draw(driver: Driver, store: Store) -> None:
    """Draw the best trials' first ``val`` subject and attach the pictures to their runs.

    An interrupt ends it, also between two of them.
    """
    folder = driver.tools.folder
    plan = driver.plan
    ranked = rank_trials(driver.search, plan.objectives, plan.space.outcomes)
    for trial in ranked[:PICTURED]:
        checkpoint = latest_checkpoint(folder / TRIALS / trial.name)
        if driver.outcome.interrupted:
            return
        if checkpoint is None:
            continue
        key, pictures = f"{driver.plan.name}/{trial.name}", folder / "pictures" / trial.name
        try:
            picture_run(TrainingState.load(checkpoint), store, pictures, key)
        except DtsinnError as error:  # a damaged checkpoint, which no session would mend
            log.warning("no pictures of %s: %s", trial.name, error)
        else:
            driver.attach(key, pictures, "pictures")
