"""``reading``: what the training stream costs, beside plain ways to read the same samples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.comparison import Say
from benchmarks.machine import describe_machine
from benchmarks.methods import separator_learner
from benchmarks.report import Result, Table
from benchmarks.training import calibrate
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Store
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

NAME = "reading"
ARRAYS = ("mixture", "tracers")
WAIT_TARGET = 0.02
"""Largest part of a step that may be spent waiting for data."""
READ_TARGET = 0.03
"""Largest part of a step's CPU time that may be spent reading."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A way to read and its process CPU time a sample: median and range of the rounds."""

    way: str
    milliseconds: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What data take of a training step of the default separator."""

    step_milliseconds: float
    """CPU time a step, reading included, validations left out."""
    waiting: float
    """Wall time in which the step waits for its sample, over the step's wall time."""
    reading: float
    """CPU time of reading a sample over that of a step."""


def run(store: Store, *, rounds: int, steps: int, say: Say) -> Result:
    """Measure reading and report.

    Args:
        store: Data with ``train`` and ``val`` subjects.
        rounds: Passes over the ``train`` samples with every way, interleaved.
        steps: Training steps over which the shares are taken.
        say: Told what is being done.
    """
    say("reading all train samples in three ways")
    costs = measure_costs(store, rounds)
    say("training the default separator")
    shares = measure_shares(store, steps, costs[0].milliseconds)
    header = store.header
    sample = 3 * header.protocol.frames * header.size[0] * header.size[1] * 4 / 2**20
    base = costs[-1].milliseconds
    table = Table(
        title="Reading a sample (mixture and two tracers)",
        columns=["way", "CPU ms [range]", "over npy memmap"],
        rows=[
            [
                cost.way,
                f"{cost.milliseconds:.2f} [{cost.low:.2f}, {cost.high:.2f}]",
                f"{cost.milliseconds / base:.1f}x",
            ]
            for cost in costs
        ],
    )
    step = Table(
        title=f"A training step of the default separator ({shares.step_milliseconds:.1f} CPU ms)",
        columns=["share", "measured", "target"],
        rows=[
            ["waiting for data, of wall time", _percent(shares.waiting), _percent(WAIT_TARGET)],
            ["reading, of CPU time", _percent(shares.reading), _percent(READ_TARGET)],
        ],
    )
    return Result(
        name=NAME,
        title="Reading samples for training",
        machine=describe_machine(),
        notes=[
            f"{header.size[0]} x {header.size[1]} pixels, {header.protocol.frames} frames: "
            f"{sample:.2f} MiB a sample; lz4 with shuffle and crc32c, one chunk a sample, shards "
            f"of {store.block}. Page cache warm.",
            f"Process CPU time, all threads; median of {rounds} interleaved passes over the "
            "train samples after one that is not counted, in brackets the range.",
            "The training stream reads the store's blocks through dask in a thread, checks every "
            "sample for NaN, shuffles and collates; the direct reads give whole blocks in order; "
            "the memmap has neither compression nor checksum and copies single samples in random "
            "order.",
            f"Shares over {steps} steps, batch 1, one torch thread.",
        ],
        tables=[table, step],
        data={
            "costs": [asdict(cost) for cost in costs],
            "shares": asdict(shares),
            "targets": {"waiting": WAIT_TARGET, "reading": READ_TARGET},
        },
    )


def measure_costs(store: Store, rounds: int) -> list[Cost]:
    """CPU time a sample: the training stream, direct zarr blocks, npy memmap."""
    chosen = np.flatnonzero(store.split_N == "train")
    stream = batches(store, Reading(seed=0), 1)

    def from_stream() -> None:
        for _ in chosen:
            next(stream)

    def from_zarr() -> None:
        for block in np.unique(chosen // store.block):
            for name in ARRAYS:
                store.group[name][block * store.block : (block + 1) * store.block]

    with tempfile.TemporaryDirectory() as folder:
        maps = [_as_memmap(store, name, chosen, Path(folder)) for name in ARRAYS]
        order = np.random.default_rng(0).permutation(len(chosen))

        def from_memmap() -> None:
            for position in order:
                for mapped in maps:
                    np.array(mapped[position])

        blocks = len(np.unique(chosen // store.block)) * store.block
        ways: list[tuple[str, Callable[[], None], int]] = [
            ("training stream", from_stream, len(chosen)),
            ("direct zarr blocks", from_zarr, blocks),
            ("npy memmap", from_memmap, len(chosen)),
        ]
        taken = np.array(
            [[_cpu(read) / samples for _, read, samples in ways] for _ in range(rounds + 1)]
        )
    return [
        Cost(
            way=way,
            milliseconds=float(np.median(values)),
            low=float(values.min()),
            high=float(values.max()),
        )
        for (way, _, _), values in zip(ways, 1e3 * taken[1:].T, strict=True)
    ]


def measure_shares(store: Store, steps: int, reading_milliseconds: float) -> Shares:
    """Train the default separator and look at where a step's time goes."""
    config = load_run_config("default", [f"steps={steps}", f"validate_every={steps}"])
    state = TrainingState(config, store.header.protocol.frames)
    (report,) = train(store, state)
    rate = config.optimizer.learning_rate
    learner = separator_learner(store, 0, rate, config)
    step = 1e3 * calibrate(store, learner, steps * report.metrics["step_seconds"]).step
    return Shares(
        step_milliseconds=step,
        waiting=report.metrics["waiting_for_data"],
        reading=reading_milliseconds / step,
    )


def _as_memmap(
    store: Store, name: str, chosen: npt.NDArray[np.intp], folder: Path
) -> npt.NDArray[np.float32]:
    path = folder / f"{name}.npy"
    np.save(path, store.group[name][int(chosen[0]) : int(chosen[-1]) + 1])
    mapped: npt.NDArray[np.float32] = np.load(path, mmap_mode="r")
    return mapped


def _cpu(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
