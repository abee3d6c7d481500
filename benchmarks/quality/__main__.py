"""``python -m benchmarks.quality``: measure, or go on measuring, and write the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.quality.contest import Budget
from benchmarks.quality.data import data_sets
from benchmarks.quality.measure import measure
from benchmarks.quality.methods import all_methods
from benchmarks.quality.tables import report
from benchmarks.report import show, write
from dtsinn.core.errors import InputError

FOLDER = Path(__file__).parent.parent
METHODS, SETS = all_methods(), data_sets()

console = Console(highlight=False, soft_wrap=True)


def main(
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training.")] = 30,
    trials: Annotated[int, typer.Option(help="Trials of each search.")] = 8,
    seeds: Annotated[int, typer.Option(help="Trainings of each method's best settings.")] = 3,
    workers: Annotated[int, typer.Option(help="Processes, each on one thread.")] = 2,
    methods: Annotated[str, typer.Option(help=f"Of {', '.join(METHODS)}; with commas.")] = "",
    sets: Annotated[str, typer.Option(help=f"Of {', '.join(SETS)}; with commas.")] = "",
    work: Annotated[
        Path, typer.Option(help="Data, and the book of finished jobs: a second call goes on.")
    ] = FOLDER / ".work",
    out: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER / "results",
) -> None:
    """Give every method the same search and the same seeds; under an hour on two cores.

    Example: python -m benchmarks.quality --seconds 3 --trials 2 --seeds 1 --methods unet,dtsinn
    """
    torch.set_num_threads(1)
    chosen, data = _chosen("method", methods, list(METHODS)), _chosen("set", sets, list(SETS))
    budget = Budget(seconds=seconds, trials=trials, seeds=seeds)
    standings = measure(
        {name: METHODS[name] for name in chosen},
        [SETS[name] for name in data],
        budget,
        work=work,
        workers=workers,
        say=_say,
    )
    result = report(standings, budget)
    show(result, console)
    write(result, out)


def _chosen(what: str, given: str, known: list[str]) -> list[str]:
    """Names in the order in which they are known."""
    names = given.split(",") if given else known
    for name in names:
        if name not in known:
            raise InputError(f"no {what} {name!r}", wanted=", ".join(known))
    return [name for name in known if name in names]


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
