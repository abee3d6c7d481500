"""Commands that show: the MLflow UI, and the demo of the whole road."""

from __future__ import annotations

from typing import Annotated

import typer

from dtsinn import terminal
from dtsinn.commands.options import ROOT, Debug, Quiet, Root
from dtsinn.core.workspace import Workspace

app = typer.Typer()


@app.command(epilog="Example: dtsinn ui --port 5000")
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser", help="Open a browser too.")] = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show this workspace in the MLflow UI on 127.0.0.1, until Ctrl-C."""
    from dtsinn.registry.ui import ui as show

    show(
        Workspace(workspace),
        port,
        announce=lambda url: terminal.say(f"{url}   (Ctrl-C ends it)", quiet=quiet),
        open_browser=browser,
    )


@app.command(epilog="Example: dtsinn demo")
def demo(
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Walk the whole road on a small store: minutes on two cores."""
    from dtsinn.demo import walk

    walk(Workspace(workspace), quiet=quiet)
