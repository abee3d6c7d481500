"""``reading``: what the training stream costs, beside other ways to read the same samples."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.loaders import (
    DIRECT,
    STREAM,
    as_float16,
    in_bucket,
    local_loaders,
    measure,
    rounding,
    store_loaders,
    stored_mib,
)
from benchmarks.quality.budget import calibrate
from benchmarks.quality.methods import OURS, all_methods
from benchmarks.report import Result, Rounds, Say, Steps, Table, facts_table, make_table
from dtsinn.data.store import Store
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState
from tests.support.s3 import s3_server

Cost = dict[str, Any]
THROUGHPUT_TARGET = 0.85
"""Samples of the stream over those of whole blocks read with zarr alone, at least."""
WAIT_TARGET = 0.02
"""Largest part of a step that may be spent waiting for data."""
READ_TARGET = 0.03
"""Largest part of a step's CPU time that may be spent reading."""
BUCKET_ROUNDS = 3
"""Passes over the bucket, at most: they are slow."""


def run(store: Store, *, rounds: Rounds = 5, steps: Steps = 300, say: Say) -> Result:
    """Measure reading and report.

    Args:
        store: Local data with ``train`` and ``val`` subjects.
        rounds: Passes over the ``train`` samples with every way, interleaved.
        steps: Training steps over which the shares are taken.
        say: Told what is being done.
    """
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("writing the samples in other formats")
        half = as_float16(store, folder / "half.zarr")
        smaller = [replace(one, name=f"{one.name}, float16") for one in store_loaders(half)[:2]]
        loaders = [*local_loaders(store, folder), *smaller]
        say(f"reading all train samples in {len(loaders)} ways")
        costs = measure(loaders, rounds)
        sizes = {"float32": stored_mib(store), "float16": stored_mib(half)}
        errors = rounding(store, half)
        say("reading them from an S3 server")
        remote = _from_bucket(store, folder, min(rounds, BUCKET_ROUNDS))
    say("training the default separator")
    shares = measure_shares(store, steps, costs[0]["cpu"])
    return Result(
        name="reading",
        title="Reading samples for training",
        notes=_notes(store, rounds, steps, busy),
        tables=[
            _targets(costs, shares),
            _costs("Reading a sample (mixture and two tracers) from a local disk", costs),
            _costs("The same from an S3 server on this machine", remote),
            _half_table(sizes, errors),
        ],
        data={
            "local": costs,
            "bucket": remote,
            "shares": shares,
            "stored_MiB_a_sample": sizes,
            "float16_error": errors,
            "load_average_before": busy,
            "targets": {
                "throughput": THROUGHPUT_TARGET,
                "waiting": WAIT_TARGET,
                "reading": READ_TARGET,
            },
        },
    )


def measure_shares(store: Store, steps: int, reading_milliseconds: float) -> dict[str, float]:
    """Train the default separator and look at where a step's time goes.

    Returns:
        ``step_milliseconds``, CPU time a step, reading included, validations left out;
        ``waiting``, wall time in which the step waits for its sample, over the step's wall time;
        ``reading``, CPU time of reading a sample over that of a step.
    """
    config = load_run_config("default", [f"steps={steps}", f"validate_every={steps}"])
    (report,) = train(store, TrainingState(config, store.header.protocol.frames))
    ours = all_methods()[OURS]
    (speed,) = calibrate(store, [lambda: ours.rounds(store, ours.settings({}))])
    step = 1e3 * speed.step
    return {
        "step_milliseconds": step,
        "waiting": report.metrics["waiting_for_data"],
        "reading": reading_milliseconds / step,
    }


def _from_bucket(store: Store, folder: Path, rounds: int) -> list[Cost]:
    with s3_server(folder) as server, mock.patch.dict(os.environ, server.environment):
        return measure(store_loaders(in_bucket(store, server)), rounds)


def _targets(costs: Sequence[Cost], shares: Mapping[str, float]) -> Table:
    of = {cost["way"]: cost for cost in costs}
    stream, direct = of[STREAM], of[DIRECT]
    least = f"at least {THROUGHPUT_TARGET:.1%}"
    shown = {
        "throughput of the stream over zarr's whole blocks, per CPU second": (
            direct["cpu"] / stream["cpu"],
            least,
        ),
        "the same, per second": (direct["wall"] / stream["wall"], least),
        "waiting for data, of a step's time": (shares["waiting"], f"at most {WAIT_TARGET:.1%}"),
        "reading, of a step's CPU time": (shares["reading"], f"at most {READ_TARGET:.1%}"),
    }
    return make_table(
        shown.items(),
        {
            "share": lambda one: one[0],
            "measured": lambda one: f"{one[1][0]:.1%}",
            "target": lambda one: one[1][1],
        },
        "Targets; a training step of the default separator takes "
        f"{shares['step_milliseconds']:.1f} CPU ms",
    )


def _costs(title: str, costs: Sequence[Cost]) -> Table:
    return make_table(
        costs,
        {
            "way": lambda one: one["way"],
            "order": lambda one: one["order"],
            "CPU ms [range]": "{cpu:.2f} [{cpu_low:.2f}, {cpu_high:.2f}]".format_map,
            "ms [range]": "{wall:.2f} [{wall_low:.2f}, {wall_high:.2f}]".format_map,
            "CPU over stream": lambda one: f"{one['cpu'] / costs[0]['cpu']:.2f}x",
        },
        title,
    )


def _half_table(sizes: dict[str, float], errors: dict[str, float]) -> Table:
    gain = sizes["float32"] / sizes["float16"]
    facts = {
        "MiB a sample on disk, float32": f"{sizes['float32']:.3f}",
        "MiB a sample on disk, float16": f"{sizes['float16']:.3f} ({gain:.2f}x less)",
        "error of the mixture, relative": f"{errors['mixture']:.1e}",
        "error of the tracers, relative": f"{errors['tracers']:.1e}",
        "error of the mixture over its noise": f"{errors['noise']:.1e}",
    }
    return facts_table(facts, "What float16 stores gain and lose", "measured")


def _notes(store: Store, rounds: int, steps: int, busy: float) -> list[str]:
    header = store.header
    sample = 3 * header.protocol.frames * header.size[0] * header.size[1] * 4 / 2**20
    return [
        f"{header.size[0]} x {header.size[1]} pixels, {header.protocol.frames} frames: "
        f"{sample:.2f} MiB a sample; lz4 with shuffle and crc32c, one chunk a sample, shards of "
        f"{store.block}. Page cache warm.",
        f"Milliseconds a sample: median of {rounds} interleaved passes over the train samples "
        f"(bucket: {min(rounds, BUCKET_ROUNDS)}) after one that is not counted, in brackets the "
        "range. CPU time is the process's, all threads, without the S3 server's.",
        "The stream reads blocks through dask in a thread, verifies the checksum of every chunk, "
        "looks for NaN and shuffles the samples of four blocks; it decodes the store's own layout "
        "without zarr's event loop. The memmap has neither compression nor checksum, .mat files "
        "have no checksum unless they are compressed.",
        f"Shares over {steps} steps, batch 1, one torch thread. Errors are root mean squares over "
        "all samples.",
        f"Load average when it began, with what simulated the data: {busy:.1f} on "
        f"{os.cpu_count()} cores.",
    ]
