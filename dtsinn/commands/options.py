"""Options that several commands share."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from dtsinn.core.workspace import DEFAULT


def _debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta["debug"] = value
    if value:
        warnings.simplefilter("default")


def _workspace(value: Path) -> Path:
    """Refuse variables of MLflow that can never work, before anything is done."""
    from dtsinn.registry import environment

    environment.check()
    return value


Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show tracebacks.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Pictures = Annotated[
    Path | None, typer.Option("--pictures", metavar="DIR", help="Draw into this folder too.")
]
_NAMES: Any = {
    "envvar": "DTSINN_WORKSPACE",
    "help": "Folder of runs, searches and models.",
}
Root = Annotated[Path, typer.Option("--workspace", callback=_workspace, **_NAMES)]
Folder = Annotated[Path, typer.Option("--workspace", **_NAMES)]
"""As :data:`Root`, of commands that do without MLflow."""
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="A zarr store: path or URL.")]
ROOT = DEFAULT
