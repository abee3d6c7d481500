"""One run on several workers: Ray Train starts them, restarts them, and binds them to a team.

A worker trains its share of every step (:mod:`dtsinn.training.team`). The first one validates and
leaves the run's checkpoints in the run's own folder; whoever is started, or started again after a
fault, goes on from the last of them. So all nodes see the stores and the folder under the same
paths. Reports reach the driver through a queue, and the driver alone records them. After each one
the workers wait for its word to go on, so that none works on when nobody listens any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.queue import Empty, Queue

from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import DivergedError, DtsinnError, InputError, RunError
from dtsinn.core.paths import is_url
from dtsinn.data.store import Store, open_store
from dtsinn.search.engine.cluster import (
    Workers,
    check_cluster,
    in_words,
    living_nodes,
    places_in,
    ray_session,
)
from dtsinn.training.device import is_out_of_memory
from dtsinn.training.loop import Report, train
from dtsinn.training.state import TrainingState, latest_checkpoint
from dtsinn.training.team import Team

RETRIES = 2
"""Times that workers are started again after one of them died."""
WAIT_s = 1.0
"""Between looks at whether the workers still run, s."""
PARTING_s = 60.0
"""Longest wait for workers that were told to stop, s."""


def train_in_parallel(
    stores: Sequence[Store], state: TrainingState, folder: Path, workers: Workers
) -> Generator[Report]:
    """Train ``state`` on several workers; checkpoints go to ``folder``.

    Args:
        stores: What it trains on.
        state: Of the run; when the reports are over it is that of the last one.
        folder: Of the run.
        workers: How many, and what each gets.

    Yields:
        A report after each validation, each once, whatever workers had to repeat.

    Raises:
        InputError: The steps cannot be shared by so many, or the workers would never fit.
        DivergedError: As of one worker.
        StoreError: A chunk of a store is missing or damaged.
        MemoryError: A worker finds no memory.
        RunError: Workers died more often than they are started again.
    """
    Team(ranks=workers.number).check_divides(state.config)
    check_cluster(workers.cluster)
    with ray_session(workers.cluster):
        _check_room(workers)
        if latest_checkpoint(folder) is None:  # of a trial: its folder is the run's own
            state.save(folder)
        line = _Line(reports=Queue(actor_options={"num_cpus": 0}), word=_Word.remote())  # type: ignore[attr-defined]
        yield from _reports(line, _start(_trainer(stores, folder.resolve(), workers, line)))
    checkpoint = latest_checkpoint(folder)
    if checkpoint is not None:
        state.restore(checkpoint)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """Between the workers and whoever started them."""

    reports: Queue
    """The first worker's reports."""
    word: Any
    """Handle of a :class:`_Word`."""


@ray.remote(num_cpus=0)
class _Word:
    """Remembers how far the workers may go; who died while asking takes no answer from others."""

    def __init__(self) -> None:
        self.step, self.stopped = -1, False
        self.changed = asyncio.Condition()

    async def go_on(self, step: int) -> None:
        """The report of a step was heard."""
        async with self.changed:
            self.step = step
            self.changed.notify_all()

    async def stop(self) -> None:
        """Nobody listens any more."""
        async with self.changed:
            self.stopped = True
            self.changed.notify_all()

    async def is_stopped(self) -> bool:
        """Whether nobody listens any more."""
        return self.stopped

    async def after(self, step: int) -> bool:
        """Whether to go on after a step, as soon as that is known."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.stopped or self.step >= step)
        return not self.stopped


def _trainer(stores: Sequence[Store], folder: Path, workers: Workers, line: _Line) -> TorchTrainer:
    paths = [store.header.path for store in stores]
    plan = {
        "stores": [path if is_url(path) else str(Path(path).resolve()) for path in paths],
        "folder": str(folder),
        "threads": max(1, int(workers.cpus)),
        "line": line,
    }
    resources = {"CPU": workers.cpus} | ({"GPU": 1} if workers.gpu else {})
    return TorchTrainer(
        _work,
        train_loop_config=plan,
        torch_config=TorchConfig(backend="nccl" if workers.gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.number, use_gpu=workers.gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name="ray",
            storage_path=str(folder),
            failure_config=ray.train.FailureConfig(max_failures=RETRIES),
        ),
    )


def _start(trainer: TorchTrainer) -> Future[Any]:
    """The training, which runs in a thread that an end of this process does not wait for."""
    fit: Future[Any] = Future()

    def run() -> None:
        try:
            fit.set_result(trainer.fit())
        except BaseException as error:  # whoever reads the reports looks at it
            fit.set_exception(error)

    Thread(target=run, name="dtsinn-workers", daemon=True).start()
    return fit


def _work(plan: dict[str, Any]) -> None:
    """What each worker does."""
    torch.set_num_threads(plan["threads"])
    folder, team, line = Path(plan["folder"]), Team.of_process_group(), plan["line"]
    device = get_device()
    if ray.get(line.word.is_stopped.remote()):
        return
    try:
        checkpoint = latest_checkpoint(folder)
        if checkpoint is None:
            raise RunError(f"a worker sees no checkpoint in {folder}", hint="a shared folder")
        state = _load(checkpoint, str(device))
        stores = [open_store(path, need_truth=True) for path in plan["stores"]]
        for report in train(stores, state, team):
            go_on = True
            if team.leads:
                state.save(folder)
                line.reports.put(report)
                go_on = ray.get(line.word.after.remote(report.step))
            ray.train.report({"step": report.step, "val_psnr": report.metrics["val_psnr"]})
            if not team.broadcast(go_on, device):
                break
    except DivergedError as error:
        # No fault of the machine, so it is reported instead of raised: Ray would start again. All
        # workers diverge at once, and the first one knows why.
        if team.leads:
            line.reports.put(error)
    except (DtsinnError, MemoryError, RuntimeError) as error:
        if not isinstance(error, DtsinnError) and not is_out_of_memory(error):
            raise
        # It may be this worker's alone, and the others wait for it: Ray ends all of them when it
        # is raised. Those that it starts again find that it was reported.
        line.reports.put(error if isinstance(error, DtsinnError) else MemoryError(str(error)))
        ray.get(line.word.stop.remote())
        raise


def _load(checkpoint: Path, device: str) -> TrainingState:
    try:
        return TrainingState.load(checkpoint, device)
    except InputError as error:  # of the machine: whoever is started next looks at it again
        raise RunError("a worker cannot go on", got=error) from None


def _reports(line: _Line, fit: Future[Any]) -> Iterator[Report]:
    """The workers' reports until they have ended; a step that they repeat is reported once.

    Who stops listening stops the workers.
    """
    step = 0
    while True:
        over = fit.done()
        try:
            report = line.reports.get(timeout=WAIT_s)
        except Empty:
            if over:
                break
            continue
        if isinstance(report, DtsinnError | MemoryError):
            with suppress(TimeoutError):  # until then they hold what the next trial asks for
                fit.exception(timeout=PARTING_s)
            raise report
        try:
            if report.step > step:
                step = report.step
                yield report
        except GeneratorExit:
            ray.get(line.word.stop.remote())
            fit.exception(timeout=PARTING_s)
            raise
        line.word.go_on.remote(step)
    try:
        fit.result()
    except Exception as error:  # Ray's own kinds, and whatever killed a worker
        hint = f"{cure_of(error) or 'to mend that'}, then --resume with the run's name"
        raise RunError("the workers failed for good", got=brief(error), hint=hint) from error


def _check_room(workers: Workers) -> None:
    """Refuse workers for which Ray would wait for ever."""
    nodes, each = living_nodes(), {"CPU": workers.cpus, "GPU": float(workers.gpu)}
    if workers.number > places_in(nodes, each):
        raise InputError(
            f"{workers.number} workers ask for {in_words(each)} each",
            got=f"nodes of {', '.join(map(in_words, nodes))}",
            hint="fewer --workers, or fewer --cpus-per-worker",
        )
