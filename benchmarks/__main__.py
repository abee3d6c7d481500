"""``python -m benchmarks NAME [--option value]``: measure, print tables, write the results.

Each command imports its benchmark only when it runs: worker processes import this module too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.report import Result, T, show, write
from benchmarks.stores import prepare_store
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.registry.tracking import environment

FOLDER = Path(__file__).parent
RESULTS, WORK = FOLDER / "results", FOLDER / ".work"

Out = Annotated[Path, typer.Option(help="Where results are written.")]
Work = Annotated[Path, typer.Option(help="Data and finished jobs: a second call goes on.")]
StorePath = Annotated[str, typer.Option("--store", help="Data; by default the demo's.")]
Rounds = Annotated[int, typer.Option(help="Repetitions, after one that is not counted.")]
Steps = Annotated[int, typer.Option(help="Steps of each training.")]
Seeds = Annotated[int, typer.Option(help="Trainings of each variant.")]
Kills = Annotated[int, typer.Option("--rounds", help="Kills.")]
KillSeed = Annotated[int, typer.Option("--seed", help="Decides the moments of the kills.")]
Trials = Annotated[int, typer.Option(help="Trials of each search.")]
Workers = Annotated[int, typer.Option(help="Processes, each on one thread.")]

console = Console(highlight=False, soft_wrap=True)
app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def prepare() -> None:
    """Measure what docs/benchmarks.md tells of; each training runs on one torch thread."""
    torch.set_num_threads(1)
    environment.apply()


@app.command()
def reading(
    store: StorePath = "", rounds: Rounds = 5, steps: Steps = 300, out: Out = RESULTS
) -> None:
    """Compare the training stream with other loaders."""
    from benchmarks import reading as benchmark

    finish(benchmark.run(open_data(store), rounds=rounds, steps=steps, say=say), out)


@app.command()
def roundtrip(store: StorePath = "", steps: Steps = 300, out: Out = RESULTS) -> None:
    """Measure how exact the inverse stays with depth, and ONNX Runtime against torch."""
    from benchmarks import roundtrip as benchmark

    finish(benchmark.run(open_data(store), steps=steps, say=say), out)


@app.command()
def ablation(
    store: StorePath = "", steps: Steps = 600, seeds: Seeds = 3, out: Out = RESULTS
) -> None:
    """Train with and without each term of the loss."""
    from benchmarks import ablation as benchmark

    finish(benchmark.run(open_data(store), steps=steps, seeds=seeds, say=say), out)


@app.command()
def conditioning(steps: Steps = 1500, seeds: Seeds = 3, out: Out = RESULTS) -> None:
    """Train one network for several protocols."""
    from benchmarks import conditioning as benchmark

    finish(benchmark.run(WORK, steps=steps, seeds=seeds, say=say), out)


@app.command()
def memory(out: Out = RESULTS) -> None:
    """Measure what a training step allocates."""
    from benchmarks import memory as benchmark

    finish(benchmark.run(say=say), out)


@app.command()
def speed(rounds: Rounds = 5, out: Out = RESULTS) -> None:
    """Time training steps against the published one."""
    from benchmarks import speed as benchmark

    finish(benchmark.run(rounds=rounds, say=say), out)


@app.command()
def quality(
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training.")] = 30,
    trials: Trials = 8,
    seeds: Seeds = 3,
    workers: Workers = 2,
    methods: Annotated[str, typer.Option(help="Names, with commas; all by default.")] = "",
    sets: Annotated[str, typer.Option(help="Names of data, with commas; all by default.")] = "",
    work: Work = WORK,
    out: Out = RESULTS,
) -> None:
    """Give every method the same search and the same seeds; under an hour on two cores.

    Example: python -m benchmarks quality --seconds 3 --trials 2 --seeds 1 --methods unet,dtsinn
    """
    from benchmarks.quality.comparison import Budget
    from benchmarks.quality.data import data_sets
    from benchmarks.quality.measure import measure
    from benchmarks.quality.methods import all_methods
    from benchmarks.quality.tables import report

    chosen, data = choose(methods, all_methods(), "method"), choose(sets, data_sets(), "set")
    budget = Budget(seconds=seconds, trials=trials, seeds=seeds)
    results = measure(chosen, list(data.values()), budget, work=work, workers=workers, say=say)
    finish(report(results, budget), out)


@app.command()
def efficiency_tables(workers: Workers = 2, work: Work = WORK, out: Out = RESULTS) -> None:
    """Train every configuration of both grids and keep the curves; under an hour on two cores."""
    from benchmarks.efficiency.table import make_tables

    make_tables(work, out, workers=workers, say=say)


@app.command()
def efficiency(
    seeds: Annotated[int, typer.Option(help="Searches of each method.")] = 30,
    workers: Workers = 2,
    slow: Annotated[bool, typer.Option(help="With the Gaussian process: minutes more.")] = False,
    tables: Annotated[Path, typer.Option(help="Where the tables are.")] = RESULTS,
    out: Out = RESULTS,
) -> None:
    """Search on the kept curves with every method; how much sooner does each get there?

    Example: python -m benchmarks efficiency --seeds 5 --out look
    """
    from benchmarks.efficiency.results import run

    finish(run(tables, seeds=seeds, workers=workers, slow=slow, say=say), out)


@app.command()
def overhead(
    trials: Trials = 12,
    rounds: Annotated[int, typer.Option(help="Searches of each kind.")] = 3,
    out: Out = RESULTS,
) -> None:
    """Measure what searching costs beside training, against Ray Tune as it comes."""
    from benchmarks.searching import overhead as benchmark

    finish(benchmark.run(trials=trials, rounds=rounds, say=say), out)


@app.command()
def scale(trials: Trials = 5000, out: Out = RESULTS) -> None:
    """Search with thousands of trials: does it slow down?

    Example: python -m benchmarks scale --trials 500
    """
    from benchmarks.searching import scale as benchmark

    finish(benchmark.run(trials=trials, say=say), out)


@app.command()
def postgres(
    writers: Annotated[int, typer.Option(help="Searches.")] = 200,
    processes: Annotated[int, typer.Option(help="That they are spread over.")] = 4,
    reports: Annotated[int, typer.Option(help="Reports of each.")] = 10,
    out: Out = RESULTS,
) -> None:
    """Let many searches report to a team's server at once.

    Example: python -m benchmarks postgres --writers 50
    """
    from benchmarks.searching import postgres as benchmark
    from tests.support.writers import Load

    load = Load(writers=writers, processes=processes, reports=reports)
    finish(benchmark.run(load, say=say), out)


@app.command()
def faults(
    rounds: Kills = 30,
    minutes: Annotated[float, typer.Option(help="Longest time for them.")] = 120,
    seed: KillSeed = 0,
    out: Out = RESULTS,
) -> None:
    """Kill workers, drivers and tracking servers of searches."""
    from benchmarks.searching import faults as benchmark

    finish(benchmark.run(rounds=rounds, minutes=minutes, seed=seed, say=say), out)


@app.command()
def seconds(
    versions: Annotated[int, typer.Option(help="Models that are registered.")] = 4,
    out: Out = RESULTS,
) -> None:
    """Time registration, gate and promotion."""
    from benchmarks.promoting import seconds as benchmark

    with tempfile.TemporaryDirectory() as folder:
        finish(benchmark.run(Path(folder), versions=versions, steps=20, say=say), out)


@app.command()
def page(trials: Trials = 1000, out: Out = RESULTS) -> None:
    """Time how soon a browser shows a large search."""
    from benchmarks.promoting import page as benchmark

    with tempfile.TemporaryDirectory() as folder:
        finish(benchmark.run(Path(folder), trials=trials, say=say), out)


@app.command()
def kills(rounds: Kills = 30, seed: KillSeed = 0, out: Out = RESULTS) -> None:
    """Kill promotions at random moments."""
    from benchmarks.promoting import kills as benchmark

    with tempfile.TemporaryDirectory() as folder:
        finish(benchmark.run(Path(folder), rounds=rounds, seed=seed, say=say), out)


@app.command()
def power(
    steps: Steps = 400,
    pool: Annotated[int, typer.Option(help="Subjects that are scored.")] = 192,
    gates: Annotated[int, typer.Option(help="Gates of each pair and difference.")] = 400,
    out: Out = RESULTS,
) -> None:
    """Simulate gates: how often do they err?

    Example: python -m benchmarks power --gates 100
    """
    from benchmarks.promoting import power as benchmark

    with tempfile.TemporaryDirectory() as folder:
        finish(benchmark.run(Path(folder), steps=steps, pool=pool, gates=gates, say=say), out)


def open_data(path: str) -> Store:
    """The store at ``path``; without one the demo's, simulated where it is missing."""
    from dtsinn.workflows.demo import REQUEST

    return open_store(path, need_truth=True) if path else prepare_store("demo", REQUEST, WORK)


def choose(given: str, known: dict[str, T], what: str) -> dict[str, T]:
    """Named ones in the order in which they are known; all where none is named."""
    names = given.split(",") if given else list(known)
    for name in names:
        if name not in known:
            raise InputError(f"no {what} {name!r}", wanted=", ".join(known))
    return {name: one for name, one in known.items() if name in names}


def finish(result: Result, out: Path) -> None:
    """Print a result and write it."""
    show(result, console)
    write(result, out)


def say(text: str) -> None:
    """Tell what is being done."""
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    app()
