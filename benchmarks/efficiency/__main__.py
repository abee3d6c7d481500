"""``python -m benchmarks.efficiency``: make the tables of curves, then simulate searches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.efficiency.contest import contest
from benchmarks.efficiency.lineup import METHODS, SLOW
from benchmarks.efficiency.problem import PROBLEMS
from benchmarks.efficiency.results import report
from benchmarks.efficiency.table import collect, load, save
from benchmarks.efficiency.tables import make
from benchmarks.report import show, write

FOLDER = Path(__file__).parent.parent
RESULTS = FOLDER / "results"

console = Console(highlight=False, soft_wrap=True)
app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def tables(
    workers: Annotated[int, typer.Option(help="Processes, each on one thread.")] = 2,
    work: Annotated[
        Path, typer.Option(help="Data, and the book of finished curves: a second call goes on.")
    ] = FOLDER / ".work",
    out: Annotated[Path, typer.Option(help="Where the tables are written.")] = RESULTS,
) -> None:
    """Train every configuration of both grids and keep the curves; under an hour on two cores.

    Example: python -m benchmarks.efficiency tables
    """
    book = make(work, workers=workers, say=_say)
    for problem in PROBLEMS.values():
        path = save(collect(problem, book), out)
        _say(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(help="Searches of each method.")] = 30,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    slow: Annotated[bool, typer.Option(help=f"With {', '.join(SLOW)}: minutes more.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the tables are.")] = RESULTS,
    out: Annotated[Path, typer.Option(help="Where results are written.")] = RESULTS,
) -> None:
    """Search on the tables with every method, and write how much sooner each gets there.

    Example: python -m benchmarks.efficiency simulate --seeds 5 --out look
    """
    methods = [name for name in METHODS if slow or name not in SLOW]
    contests = [
        contest(name, folder, methods, seeds, workers=workers, say=_say) for name in PROBLEMS
    ]
    result = report(contests, {name: load(name, folder) for name in PROBLEMS}, seeds)
    show(result, console)
    write(result, out)


def _say(text: str) -> None:
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    app()
