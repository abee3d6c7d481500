"""``python -m benchmarks.searching NAME ...``: measure the search platform, write the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.report import Result, show, write
from benchmarks.searching import faults, overhead, scale, toll
from dtsinn.core.errors import InputError
from dtsinn.registry.tracking import environment

NAMES = (overhead.NAME, scale.NAME, toll.NAME)
RESULTS = Path(__file__).parent.parent / "results"

console = Console(highlight=False, soft_wrap=True)


def main(
    names: Annotated[list[str], typer.Argument(help=f"Of {', '.join(NAMES)}.")],
    trials: Annotated[int, typer.Option(help="Of each search (overhead).")] = 12,
    repeats: Annotated[int, typer.Option(help="Of each search (overhead).")] = 3,
    scale_trials: Annotated[int, typer.Option(help="Of the search (scale).")] = 5000,
    rounds: Annotated[int, typer.Option(help="Kills (faults).")] = 30,
    minutes: Annotated[float, typer.Option(help="Longest time for them (faults).")] = 120,
    seed: Annotated[int, typer.Option(help="Of the kills (faults).")] = 0,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = RESULTS,
) -> None:
    """Measure what searching costs beside training, how it grows, and what it survives.

    Example: python -m benchmarks.searching scale --scale-trials 500
    """
    torch.set_num_threads(1)
    environment.apply()
    for name in names:
        if name not in NAMES:
            raise InputError(f"no benchmark {name!r}", wanted=", ".join(NAMES))
    runners: dict[str, Callable[[], Result]] = {
        overhead.NAME: lambda: overhead.run(trials=trials, rounds=repeats, say=_say),
        scale.NAME: lambda: scale.run(trials=scale_trials, say=_say),
        toll.NAME: lambda: faults.run(rounds=rounds, minutes=minutes, seed=seed, say=_say),
    }
    for name in names:
        result = runners[name]()
        show(result, console)
        write(result, out)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
