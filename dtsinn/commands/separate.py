"""The command that uses a model: a scan of two tracers in, two scans out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtsinn.commands.options import ROOT, AsJson, Commands, Debug, Folder, Quiet
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

if TYPE_CHECKING:
    from dtsinn.separation.separate import Separation

app = Commands()

OUTSIDE = 3
"""Exit code where the scan lies outside what the model knows."""
SCAN, OUTPUT = "The scan", "What comes out"
"""Groups of options."""


@app.command(epilog="Example: dtsinn separate sub-01_pet.nii.gz --model best --out separated")
def separate(
    scan: Annotated[
        str,
        typer.Argument(
            metavar="SCAN", help="NIfTI, DICOM folder, import plan, store, .npy or .mat."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    model: Annotated[
        str, typer.Option(metavar="REF|FOLDER", help="A model, or an exported package.")
    ] = "best",
    injections: Annotated[
        str | None,
        typer.Option(metavar="S,S", help="Seconds on the scan's clock.", rich_help_panel=SCAN),
    ] = None,
    subject: Annotated[
        str,
        typer.Option(metavar="ID", help="Which of a plan or store.", rich_help_panel=SCAN),
    ] = "",
    resample: Annotated[
        bool,
        typer.Option("--resample", help="Other frames become the model's.", rich_help_panel=SCAN),
    ] = False,
    nan_is_air: Annotated[
        bool,
        typer.Option("--nan-is-air", help="NaN outside the body is 0.", rich_help_panel=SCAN),
    ] = False,
    rois: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS", help="Label image on the scan's grid.", rich_help_panel=OUTPUT
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE.tsv",
            help="time_s, and the parent in plasma of each tracer.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    decay_correct: Annotated[
        bool,
        typer.Option(
            "--decay-correct", help="Each tracer from its injection.", rich_help_panel=OUTPUT
        ),
    ] = False,
    accept: Annotated[
        str,
        typer.Option(
            metavar="WHY", help="Exit 0 also outside; kept in the outputs.", rich_help_panel=OUTPUT
        ),
    ] = "",
    no_calibration: Annotated[
        bool,
        typer.Option(
            "--no-calibration",
            help="No intervals, no look at the population.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(metavar="{dtsinn.deploy.onnx_session:PROVIDERS}", help="Where it runs."),
    ] = "cpu",
    as_json: AsJson = False,
    workspace: Folder = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Separate a scan; exit code 3 if it lies outside what the model knows."""
    from dtsinn.workflows.separating import separate as run

    with console.progress(quiet or as_json) as progress:
        found = run(
            scan,
            model,
            out,
            workspace=Workspace(workspace),
            injections=None if injections is None else _read_injections(injections),
            subject=subject,
            rois=rois,
            input=inputs,
            decay_correct=decay_correct,
            resample=resample,
            nan_is_air=nan_is_air,
            device=device,
            accept=accept,
            calibrated=not no_calibration,
            progress=progress,
        )
    if as_json:
        console.say_json(_as_json(found))
    else:
        _say(found)
    if not found.verdict.inside and not accept:
        raise typer.Exit(OUTSIDE)


def _read_injections(text: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        first = second = math.nan
    if not (math.isfinite(first) and math.isfinite(second) and first <= second):
        raise InputError(
            "--injections", got=repr(text), wanted="two times in s, ascending", hint="0,1200"
        )
    return first, second


def _say(found: Separation) -> None:
    checks = [check for check in found.verdict.checks if check.outcome != "passed"]
    for check in checks:
        console.say(f"{check.outcome}: {check.words}")
    console.say(f"verdict: {'inside' if found.verdict.inside else 'outside'}")
    for name, path in found.tracers.items():
        console.say(f"{name}: {path}")
    console.say(f"report: {found.folder / 'report.html'}")


def _as_json(found: Separation) -> dict[str, Any]:
    return {
        "folder": str(found.folder),
        "tracers": {name: str(path) for name, path in found.tracers.items()},
        "residual": str(found.residual),
        **found.verdict.to_json(),
    }
