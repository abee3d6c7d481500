"""Commands that use models: evaluate, suites, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtsinn.commands.options import MACHINES, MOST, ROOT, AsJson, Commands, Debug, Quiet, Root
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

app = Commands()


@app.command(epilog="Example: dtsinn evaluate --model best --suite standard")
def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="REF", help="The model (best); give it twice to compare two."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="{suites}|FILE|none",
            help="Grid of cells to score on; by default own, or none with --data.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Score its test subjects; by default the model's own."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Score the rivals without training too.")
    ] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the report.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help="Processes that score cells; by default one per core.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A running Ray cluster that scores them: HOST:PORT, or auto.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Evaluate a model on test subjects and over a grid of noise, tracers and protocols."""
    from dtsinn.evaluation.record import as_record
    from dtsinn.workflows.pipeline import evaluate as run

    with console.progress(quiet or as_json) as progress:
        evaluation, folder = run(
            model or ["best"],
            data,
            suite=suite,
            baselines=baselines,
            workers=workers,
            cluster=cluster,
            out=out,
            workspace=Workspace(workspace),
            progress=progress,
        )
    if as_json:
        console.say_json(as_record(evaluation))
        return
    console.say_evaluation(evaluation)
    if data is None and all(cell.source != "store" for cell in evaluation.cells):
        console.note("no test subjects of a store: the model's own is gone or changed; try --data")
    console.say(f"report: {folder / 'report.html'}")


@app.command(epilog="Example: dtsinn suites standard")
def suites(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One suite: name or YAML file.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the grids of `evaluate --suite`, or the cells of one; a file of yours is checked."""
    from dtsinn.core.config import config_names, to_mapping
    from dtsinn.evaluation.suite import load_suite

    known = [load_suite(one) for one in ([name] if name else config_names("suites"))]
    if as_json:
        console.say_json([to_mapping(suite) for suite in known])
    elif name:
        console.say_suite(known[0])
    else:
        console.say_suites(known)


@app.command(epilog="Example: dtsinn export best --out fmz-fdg")
def export(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    ref: Annotated[str, typer.Argument(metavar="[REF]", help="Which model.")] = "best",
    no_calibration: Annotated[
        bool,
        typer.Option(
            "--no-calibration",
            help="Without the calibration subjects that limits and intervals of `separate` need.",
        ),
    ] = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a model's package, after proving its ONNX graphs against torch."""
    from dtsinn.workflows.pipeline import export_model

    with console.progress(quiet) as progress:
        model, proof, calibration = export_model(
            ref, out, Workspace(workspace), progress, calibrated=not no_calibration
        )
    version = "" if model.version is None else f"/{model.version}"
    console.say(f"{model.name}{version} is in {out}")
    console.say(f"calibration: {calibration}")
    console.say(f"ONNX Runtime against torch: relative error {proof.model_error:.1e}")
    if proof.round_trip_error is not None:
        console.say(f"inverse of forward in ONNX Runtime: {proof.round_trip_error:.1e}")
