"""Adapters between Ray Tune and the driver: what is tried, what goes on, when it is over.

Ray pickles such objects now and then, to restore them from files that are pickles. Nothing is
restored that way here (the event log is enough), so of these nothing is kept.
"""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from dtsinn.search.engine.cluster import has_nodes
from dtsinn.search.engine.driver import Driver

LOOK_s = 5.0
"""Between looks at Ray's nodes."""
METRICS = "metrics/"
"""What stands before the metrics of a report, which Ray makes flat."""


class _DriverAdapter:
    """Holds the driver, and is not copied."""

    driver: Driver

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


class DriverSearcher(_DriverAdapter, Searcher):  # type: ignore[misc]
    """Gives Ray the driver's suggestions, and notifies the driver of ends."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(metric="step", mode="max")  # Ray wants some; nobody looks at it
        self.driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; None while none may start, FINISHED when none will."""
        if not self.driver.to_come or self.driver.is_over():
            return str(Searcher.FINISHED)
        return self.driver.suggest(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended, for good."""
        self.driver.handle_end(trial_id, result, error)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """The scheduler heard it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the event log is enough."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class DriverScheduler(_DriverAdapter, FIFOScheduler):  # type: ignore[misc]
    """Hands reports to the driver, and its decisions which trials go on to Ray."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A report came in."""
        metrics = {
            key.removeprefix(METRICS): value
            for key, value in result.items()
            if key.startswith(METRICS)
        }
        goes_on = self.driver.handle_report(trial.trial_id, result | {"metrics": metrics})
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def choose_trial_to_run(self, controller: Any) -> Any:
        """The first suggested that waits; Ray's own looks at all there ever were, at each step."""
        live = controller.get_live_trials()
        waiting = {trial.trial_id: trial for trial in live if trial.status == Trial.PENDING}
        return next((waiting[ray_id] for ray_id in self.driver.active if ray_id in waiting), None)


class DriverCallback(_DriverAdapter, Callback):  # type: ignore[misc]
    """Notifies the driver when trials start, and start again."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial starts, or starts again after a fault."""
        self.driver.start_trial(trial.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's worker died; it will be started again."""
        self.driver.restart_trial(trial.trial_id)


class DriverStopper(_DriverAdapter, Stopper):  # type: ignore[misc]
    """Says when the search is over, also because Ray itself is."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._looked = time.monotonic()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial: that is the scheduler's word."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        if time.monotonic() - self._looked > LOOK_s:
            self._looked = time.monotonic()
            if not has_nodes():
                self.driver.interrupt("no node of Ray is left")
        return self.driver.is_over()
