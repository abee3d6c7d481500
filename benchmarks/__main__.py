"""``python -m benchmarks [NAME ...]``: measure, print tables, write ``benchmarks/results``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import comparison, reading, roundtrip
from benchmarks.report import Result, show, write
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.demo import REQUEST
from dtsinn.simulation.study import simulate

RESULTS = Path(__file__).parent / "results"
NAMES = (comparison.NAME, reading.NAME, roundtrip.NAME)

console = Console(highlight=False, soft_wrap=True)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(NAMES)}; all by default.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Data; by default the demo's, simulated into a temporary folder.")
    ] = "",
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training (published).")] = 60,
    seeds: Annotated[int, typer.Option(help="Trainings of each method (published).")] = 3,
    rounds: Annotated[int, typer.Option(help="Passes over the samples (reading).")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps (reading, roundtrip).")] = 300,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = RESULTS,
) -> None:
    """Run benchmarks, one after the other, on one torch thread.

    Example: python -m benchmarks published --seconds 60 --seeds 3
    """
    chosen = names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise InputError(f"no benchmark {name!r}", wanted=", ".join(NAMES))
    torch.set_num_threads(1)
    runners: dict[str, Callable[[Store], Result]] = {
        comparison.NAME: lambda data: comparison.run(data, seconds=seconds, seeds=seeds, say=_say),
        reading.NAME: lambda data: reading.run(data, rounds=rounds, steps=steps, say=_say),
        roundtrip.NAME: lambda data: roundtrip.run(data, steps=steps, say=_say),
    }
    with tempfile.TemporaryDirectory() as folder:
        if not store:
            store = str(Path(folder) / "demo.zarr")
            _say(f"simulating {REQUEST.subjects} subjects")
            simulate(REQUEST, store)
        data = open_store(store, need_truth=True)
        for name in chosen:
            result = runners[name](data)
            show(result, console)
            write(result, out)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
