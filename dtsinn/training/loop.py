"""The training loop: steps until the next validation, then a report; again until the budget.

What is fitted in closed form takes one step, the whole of it, and reports once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from dtsinn.core.clock import now_ms
from dtsinn.data.store import Store
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.closed_form import fit
from dtsinn.networks.last_layer import last_layer
from dtsinn.networks.separator import ClosedFormNetwork
from dtsinn.training.device import computing
from dtsinn.training.feed import Feed
from dtsinn.training.protocols import as_stores, check_stores_fit, digests_of
from dtsinn.training.schedule import batch_size, learning_rate, samples_before
from dtsinn.training.state import TrainingState
from dtsinn.training.step import GRADIENT, FiniteGuard, Task, take_step, task_of
from dtsinn.training.team import ALONE, Team
from dtsinn.training.validation import validate_all

FINITE_CHECK_EVERY = 25
"""Steps between checks of the loss; each check waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run says at a validation."""

    step: int
    steps: int
    """The whole budget."""
    metrics: dict[str, float]
    time_ms: int
    """When it was made, in ms since 1970 UTC: the same when it is reported again."""
    ended: str = ""
    """Why nothing follows, or nothing."""

    @property
    def finished(self) -> bool:
        """Nothing follows: the budget is spent, or patience is."""
        return bool(self.ended)


OnStep = Callable[[int, int], None]
"""A callback of each step that is done, from 1 on, and of the whole budget; it must be quick."""


def ignore_step(step: int, steps: int) -> None:
    """Do nothing."""


def train(
    stores: Store | Sequence[Store],
    state: TrainingState,
    team: Team = ALONE,
    on_step: OnStep = ignore_step,
) -> Iterator[Report]:
    """Train ``state`` on ``train`` samples; yield after each validation.

    A network that is fitted in closed form takes one step and reports once.

    A state that goes on from a checkpoint repeats its last report at first. The caller saves
    the state between two reports if it wants to. Stopping the iteration stops the training.

    Args:
        stores: One store, or several of as many frames, which the steps take in turn.
        state: Of the run; it moves on.
        team: The processes that train together; each calls this with an equal state. Only the
            first one validates; the metrics of the others hold no more than ``val_psnr``.
        on_step: Called after every step; of a fit, after every few blocks, with their number.

    Raises:
        InputError: The stores do not go together, or the steps cannot be shared by the team.
        DivergedError: The loss or the gradient is not finite, or the inverse is lost.
        StoreError: A chunk of a store is missing or damaged.
    """
    stores = as_stores(stores)
    check_stores_fit(stores)
    team.check_divides(state.config)
    state.progress.store_digest = digests_of(stores)
    config, progress = state.config, state.progress
    device = torch.device(state.device)
    learn = _fitter if state.network.learning == "closed form" else _stepper
    learn_more, system = learn(stores, state, team, on_step), SystemMeter(device)
    meters = [SubjectMeter.of(store) for store in stores]
    if progress.metrics:
        yield _report(state)
    while not state.ended:
        wall, cpu = time.perf_counter(), time.process_time()
        with computing(config.deterministic):
            learned = learn_more()
            metrics = team.run_on_leader(
                lambda: validate_all(
                    stores, state.validated_network, device, config.round_trip_limit, meters
                ),
                device,
            )
        state.record_validation(metrics["val_psnr"])
        progress.seconds += time.perf_counter() - wall
        progress.cpu_seconds += team.sum(time.process_time() - cpu, device)
        progress.metrics = (
            metrics
            | learned
            | {
                "best_psnr": progress.best_psnr,
                "seconds": progress.seconds,
                "cpu_seconds": progress.cpu_seconds,
            }
            | system.sample()
        )
        progress.reported_ms = now_ms()
        yield _report(state)


Trainer = Callable[[Sequence[Store], TrainingState, Path], Iterator[Report]]
"""Trains a state on stores. Each report finds a checkpoint of its step in the folder; after the
last one the state is that of the run's end."""


def train_here(
    stores: Sequence[Store], state: TrainingState, folder: Path, on_step: OnStep = ignore_step
) -> Generator[Report]:
    """Train in this process: the :data:`Trainer` of most runs, and of trials."""
    for report in train(stores, state, on_step=on_step):
        state.save(folder)
        yield report


def _report(state: TrainingState) -> Report:
    """The last report of a state."""
    progress = state.progress
    return Report(
        step=progress.step,
        steps=state.steps,
        metrics=dict(progress.metrics),
        time_ms=progress.reported_ms,
        ended=state.ended,
    )


LearnMore = Callable[[], dict[str, float]]
"""Learns until the next validation; returns metrics of it."""


def _fitter(
    stores: Sequence[Store], state: TrainingState, team: Team, on_step: OnStep
) -> LearnMore:
    """What fits a network in closed form: on the first process, as only that one validates."""

    def learn_more() -> dict[str, float]:
        if isinstance(state.network, ClosedFormNetwork) and team.leads:
            fit(stores, state.network, on_step)
            state.start_from(state.network.state_dict())
        state.progress.step = state.steps
        return {}

    return learn_more


def _stepper(
    stores: Sequence[Store], state: TrainingState, team: Team, on_step: OnStep
) -> LearnMore:
    """What takes steps of the optimiser."""
    config, device = state.config, torch.device(state.device)
    tasks = [task_of(store, device) for store in stores]
    feed = Feed(stores, config, team, state.progress.step)

    def learn_more() -> dict[str, float]:
        if state.progress.step == 0 and not state.progress.init:
            _fit_start(stores, state)
        first, begun = state.progress.step, time.perf_counter()
        until = min(_next_multiple(first, config.validate_every), config.steps)
        losses = _train_until(state, tasks, feed, team, until, on_step)
        stepping = time.perf_counter() - begun
        if until == config.steps and team.leads:
            _solve_last_layer(stores, state)
        samples = samples_before(config, until) - samples_before(config, first)
        return losses | {
            "learning_rate": learning_rate(config.optimizer, until - 1, config.steps),
            "batch": batch_size(config, until - 1) * config.accumulate,
            "step_seconds": stepping / (until - first),
            "samples_per_second": samples / stepping,
            "waiting_for_data": feed.take_wait_seconds() / stepping,
        }

    return learn_more


def _fit_start(stores: Sequence[Store], state: TrainingState) -> None:
    """Fit what the network starts from, if anything; each process of a team finds the same bits."""
    if state.network.closed_form is not None:
        fit(stores, state.network.closed_form)
        state.start_from(state.network.state_dict())


def _solve_last_layer(stores: Sequence[Store], state: TrainingState) -> None:
    """Solve the last layer of the network that is kept; only the first process keeps one."""
    with last_layer(state.validated_network) as layer:
        if layer is not None and state.config.refit:
            fit(stores, layer, most=state.config.refit)


def _train_until(
    state: TrainingState, tasks: Sequence[Task], feed: Feed, team: Team, until: int, on_step: OnStep
) -> dict[str, float]:
    """Steps up to ``until``; returns the losses of the last one."""
    progress, guard = state.progress, FiniteGuard()
    numbers: dict[str, float] = {}
    while progress.step < until:
        step = progress.step
        taken = take_step(state, tasks[step % len(tasks)], feed.parts(step), team)
        guard.add(progress.step, taken)
        if progress.step % FINITE_CHECK_EVERY == 0 or progress.step == until:
            numbers = guard.check()
        on_step(progress.step, state.config.steps)
    norm = numbers.pop(GRADIENT)
    losses = {f"loss_{name}": value for name, value in numbers.items()}
    return losses | {"gradient_norm": norm}


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every


MB = 1e6
"""Bytes."""


class SystemMeter:
    """Samples the machine that this process runs on.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._process = psutil.Process()
        psutil.cpu_percent()  # what it says next is of the time since

    def sample(self) -> dict[str, float]:
        """Use of all cores since the last sample, and of memory now.

        Returns:
            ``system/cpu_utilization_percentage``, ``system/system_memory_usage_megabytes`` and
            ``..._percentage``, ``system/process_memory_megabytes``; of a GPU also
            ``system/gpu_0_memory_usage_megabytes`` and ``..._percentage``.
        """
        memory = psutil.virtual_memory()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": (memory.total - memory.available) / MB,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_megabytes": self._process.memory_info().rss / MB,
        }
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            number = self.device.index or 0
            found[f"gpu_{number}_memory_usage_megabytes"] = (total - free) / MB
            found[f"gpu_{number}_memory_usage_percentage"] = 100 * (total - free) / total
        return {f"system/{name}": float(value) for name, value in found.items()}
