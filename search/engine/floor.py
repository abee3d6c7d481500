"""The floor of a search: the linear map of the same store, fitted before the trials.

The driver fits it in its own process, by the functions that train a trial, so that its reports have
the same metrics. It is no trial: no sampler hears of it, and it counts in no budget.
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

from dtsinn.core.causes import brief
from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.paths import name_of_store
from dtsinn.data.store import Store
from dtsinn.networks.rivals.linear import LinearConfig
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.tuner import TRIALS
from dtsinn.search.events.state import FLOOR, SearchState
from dtsinn.training.config import RunConfig
from dtsinn.training.loop import train_here
from dtsinn.training.package import package_run
from dtsinn.training.state import TrainingState

log = logging.getLogger(__name__)


class _OverError(Exception):
    """The search is over while the floor is fitted."""


def fit_floor(driver: Driver, store: Store) -> None:
    """Fit the floor and package it, unless the plan has none or a session before this one did.

    The search stands without it: where it cannot be fitted, the reason is written down and logged,
    and the trials begin. Where the search is interrupted meanwhile, the next session fits it.

    Args:
        driver: Of the session.
        store: That the search trains on.
    """
    floor = driver.search.floor
    if not driver.plan.floor or not (floor is None or floor.is_open):
        return
    config = RunConfig(model=LinearConfig())
    driver.begin_floor(flatten(to_mapping(config)))
    if driver.is_over():  # the disk is full, or somebody is quick
        return
    try:
        _fit(driver, store, config)
    except _OverError:
        driver.end_floor("killed", driver.outcome.over)
    except Exception as error:  # no memory, a full disk, a damaged store, ...
        path = store.header.path
        reason = brief(error).replace(path, name_of_store(path))
        log.warning("no floor: %s", reason)
        driver.end_floor("failed", reason)
    else:
        driver.end_floor("finished")


def floor_package(folder: Path, search: SearchState) -> Path | None:
    """The floor's package in the folder of a search; None where there is none, or none any more."""
    fitted = search.floor is not None and search.floor.state == "finished"
    package = folder / FLOOR
    return package if fitted and package.is_dir() else None


def _fit(driver: Driver, store: Store, config: RunConfig) -> None:
    from dtsinn.search.engine.trial import resume_state  # Ray Tune, which the trials need next

    def check_over(done: int, blocks: int) -> None:
        if driver.is_over():
            raise _OverError

    folder, key = driver.tools.folder, driver.search.floor_key
    own = folder / TRIALS / FLOOR
    frames = store.header.protocol.frames
    state = resume_state(own, "cpu") or TrainingState(config, frames)
    parameters = float(sum(weights.numel() for weights in state.network.parameters()))
    with closing(train_here((store,), state, own, check_over)) as reports:
        for report in reports:
            metrics = report.metrics | {"parameters": parameters}
            driver.report_floor(report.step, metrics, report.time_ms)
    package = folder / FLOOR
    if not package.exists():
        package_run(state, store, package, key, search=driver.plan.name)
