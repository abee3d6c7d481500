"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtsinn.core.workspace import DEFAULT, VARIABLE, Workspace


def _debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta["debug"] = value


def _note_workspace(ctx: typer.Context, value: Path) -> Path:
    ctx.meta["workspace"] = Workspace(value)  # for the commands that an error advises
    return value


Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Pictures = Annotated[
    Path | None, typer.Option("--pictures", metavar="DIR", help="Draw into this folder too.")
]
Root = Annotated[
    Path,
    typer.Option(
        "--workspace",
        envvar=VARIABLE,
        callback=_note_workspace,
        help="Folder of runs, searches and models.",
    ),
]
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="A zarr store: path or URL.")]
ROOT = DEFAULT
