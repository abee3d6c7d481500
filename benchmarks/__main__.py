"""``python -m benchmarks [NAME ...]``: measure, print tables, write ``benchmarks/results``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import ablation, conditioning, memory, reading, roundtrip, speed
from benchmarks.report import Result, show, write
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.simulation.study import simulate_study
from dtsinn.workflows.demo import REQUEST

RESULTS = Path(__file__).parent / "results"
NAMES = (reading.NAME, roundtrip.NAME, ablation.NAME, conditioning.NAME, memory.NAME, speed.NAME)

console = Console(highlight=False, soft_wrap=True)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Which of {', '.join(NAMES)}; all by default.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="Data; by default the demo's, simulated into a temporary folder.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Trainings of each variant.")] = 3,
    rounds: Annotated[int, typer.Option(help="Passes over samples; steps (reading, speed).")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps (reading, roundtrip).")] = 300,
    ablation_steps: Annotated[int, typer.Option(help="Training steps (ablation).")] = 600,
    conditioning_steps: Annotated[int, typer.Option(help="Training steps (conditioning).")] = 1500,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = RESULTS,
) -> None:
    """Run benchmarks, one after the other, on one torch thread.

    Example: python -m benchmarks reading --rounds 5
    """
    chosen = names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise InputError(f"no benchmark {name!r}", wanted=", ".join(NAMES))
    torch.set_num_threads(1)
    runners: dict[str, Callable[[Callable[[], Store]], Result]] = {
        reading.NAME: lambda data: reading.run(data(), rounds=rounds, steps=steps, say=_say),
        roundtrip.NAME: lambda data: roundtrip.run(data(), steps=steps, say=_say),
        ablation.NAME: lambda data: ablation.run(
            data(), steps=ablation_steps, seeds=seeds, say=_say
        ),
        conditioning.NAME: lambda _: conditioning.run(
            Path(folder), steps=conditioning_steps, seeds=seeds, say=_say
        ),
        memory.NAME: lambda _: memory.run(say=_say),
        speed.NAME: lambda _: speed.run(rounds=rounds, say=_say),
    }
    with tempfile.TemporaryDirectory() as folder:
        opened = cache(lambda: _open(store, Path(folder)))
        for name in chosen:
            result = runners[name](opened)
            show(result, console)
            write(result, out)


def _open(path: str, folder: Path) -> Store:
    """The store at ``path``; without one the demo's, simulated into ``folder``."""
    if not path:
        path = str(folder / "demo.zarr")
        _say(f"simulating {REQUEST.subjects} subjects")
        simulate_study(REQUEST, path)
    return open_store(path, need_truth=True)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
