"""``python -m benchmarks NAME [--option value]``: measure, print tables, write the results."""

from __future__ import annotations

import importlib
import inspect
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_origin

import torch
import typer
from rich.console import Console

from benchmarks.report import Result, show, write
from dtsinn.data.store import Store, open_store
from dtsinn.registry.tracking import environment

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = {
    "quality": ("quality.tables", "Give every method the same search and the same seeds."),
    "claims": ("claims", "Train on the axes of the paper: noise, phantom, pair, protocol."),
    "objective": ("objective", "What should a search maximise, so that kinetics are right?"),
    "real_curves": ("real_curves", "Fit curves of real scans: scipy, retest, noise law."),
    "budgets": ("budgets", "Train for 30, 100 and 600 CPU seconds: PSNR and kinetic error."),
    "verdicts": ("verdicts", "Judge unseen scans: false alarms, alarms, coverage."),
    "reading": ("reading", "Compare the training stream with other loaders."),
    "roundtrip": ("roundtrip", "Measure how exact the inverse and its ONNX graphs stay."),
    "ablation": ("ablation", "Train with and without each term of the loss."),
    "conditioning": ("conditioning", "Train one network for several protocols."),
    "memory": ("memory", "Measure what a training step allocates."),
    "speed": ("speed", "Time training steps against the published one."),
    "efficiency": ("efficiency.comparison", "Search on kept curves: how soon does it get there?"),
    "efficiency-tables": ("efficiency.curves", "Train every configuration and keep the curves."),
    "overhead": ("searching.overhead", "Measure what searching costs, against Ray Tune alone."),
    "scale": ("searching.scale", "Search with thousands of trials: does it slow down?"),
    "postgres": ("searching.postgres", "Let many searches report to a team's server at once."),
    "faults": ("searching.faults", "Kill workers, drivers and tracking servers of searches."),
    "seconds": ("promoting.seconds", "Time registration, gate and promotion."),
    "page": ("promoting.page", "Time how soon a browser shows a large search."),
    "power": ("promoting.power", "Simulate gates: how often do they err?"),
    "kills": ("promoting.kills", "Kill promotions at random moments."),
}
"""Module and purpose of each; its function ``run`` says its options."""
Run = Callable[..., Result | None]

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str]) -> None:
    """Run the benchmark that the arguments name; only its module is imported."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)
    for name, (module, purpose) in BENCHMARKS.items():
        if arguments[:1] == [name]:
            run: Run = importlib.import_module(f"benchmarks.{module}").run
            told = inspect.cleandoc(str(run.__doc__)).partition("\nArgs:")[0]
            app.command(name, help=told)(make_command(run))
        else:
            app.command(name, help=purpose)(lambda: None)
    app(arguments)


def make_command(run: Run) -> Callable[..., None]:
    """A benchmark as a command.

    Its annotated parameters are options. It is given what else it asks for: ``store`` (which
    ``--store`` names), ``folder`` (a temporary one), ``out`` (``--out``) and ``say``.
    """
    asked = inspect.signature(run, eval_str=True).parameters

    def command(out: Path, store: str = "", **chosen: Any) -> None:
        torch.set_num_threads(1)
        environment.apply()
        with tempfile.TemporaryDirectory() as folder:
            given = {"out": out, "folder": Path(folder), "say": say}
            if "store" in asked:
                given["store"] = open_data(store)
            result = run(**chosen, **{name: one for name, one in given.items() if name in asked})
        if result is not None:
            show(result, console)
            write(result, out)

    options = [one for one in asked.values() if get_origin(one.annotation) is Annotated]
    added: dict[str, tuple[Any, Any]] = {
        "out": (Annotated[Path, typer.Option(help="Where results are written.")], RESULTS)
    }
    if "store" in asked:
        added["store"] = (Annotated[str, typer.Option(help="Data; by default the demo's.")], "")
    options += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in added.items()
    ]
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in options}
    return command


def open_data(path: str) -> Store:
    """The store at ``path``; without one the demo's, simulated where it is missing."""
    # Not in each worker, which imports this module.
    from benchmarks.prepare import WORK, prepare_store
    from dtsinn.workflows.demo import REQUEST

    return open_store(path, need_truth=True) if path else prepare_store("demo", REQUEST, WORK)


def say(text: str) -> None:
    """Tell what is being done."""
    console.print(text, style="dim", markup=False)


if __name__ == "__main__":
    main(sys.argv[1:])
