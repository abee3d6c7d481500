"""``python -m benchmarks.promoting NAME ...``: measure the gate and the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.promoting import kills, page, power, seconds
from benchmarks.report import Result, show, write
from dtsinn.core.errors import InputError
from dtsinn.registry.tracking import environment

NAMES = (seconds.NAME, page.NAME, kills.NAME, power.NAME)
RESULTS = Path(__file__).parent.parent / "results"

console = Console(highlight=False, soft_wrap=True)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(NAMES)}; all by default.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of each training (power).")] = 400,
    pool: Annotated[int, typer.Option(help="Subjects that are scored (power).")] = 192,
    gates: Annotated[int, typer.Option(help="Of each pair and difference (power).")] = 400,
    versions: Annotated[int, typer.Option(help="That are registered (seconds).")] = 4,
    trials: Annotated[int, typer.Option(help="Of the search (page).")] = page.TRIALS,
    rounds: Annotated[int, typer.Option(help="Kills (kills).")] = 30,
    seed: Annotated[int, typer.Option(help="Of the kills (kills).")] = 0,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = RESULTS,
) -> None:
    """Measure what the gate decides, and what promotion costs.

    Example: python -m benchmarks.promoting power --gates 100
    """
    torch.set_num_threads(1)
    environment.apply()
    chosen = names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise InputError(f"no benchmark {name!r}", wanted=", ".join(NAMES))
    runners: dict[str, Callable[[Path], Result]] = {
        seconds.NAME: lambda at: seconds.run(at, versions=versions, steps=20, say=_say),
        page.NAME: lambda at: page.run(at, trials=trials, say=_say),
        kills.NAME: lambda at: kills.run(at, rounds=rounds, seed=seed, say=_say),
        power.NAME: lambda at: power.run(at, steps=steps, pool=pool, gates=gates, say=_say),
    }
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            result = runners[name](Path(folder))
        show(result, console)
        write(result, out)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
