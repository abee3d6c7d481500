"""Commands that keep house in the registry: move it to a server, clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dtsinn import terminal
from dtsinn.commands.options import ROOT, AsJson, Debug, Quiet, Root
from dtsinn.core.workspace import Workspace

if TYPE_CHECKING:
    from dtsinn.registry.copying.copy import CopyReport

app = typer.Typer()
inside = typer.Typer(
    no_args_is_help=True,
    help="Move the registry to a server, or clean up.",
    epilog="Example: dtsinn registry copy --to http://mlflow.lab:5000",
)
app.add_typer(inside, name="registry")


@inside.command(epilog="Example: dtsinn registry copy --to http://mlflow.lab:5000")
def copy(
    to: Annotated[
        str, typer.Option(metavar="URI", help="MLflow to copy to: http(s), postgresql, sqlite.")
    ],
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Copy all runs and models to another MLflow, and prove that they are there.

    Repeat it at any time, after a kill too: nothing is doubled, and what is there is not sent
    again. The source stays as it is.
    """
    from dtsinn.registry.copying.copy import copy_registry
    from dtsinn.registry.tracking import connect_existing
    from dtsinn.search.history import search_names
    from dtsinn.search.lock import is_driven

    at = Workspace(workspace)
    tracker = connect_existing(at)
    driven = [name for name in search_names(at) if is_driven(at.searches / name)]
    with terminal.progress(quiet or as_json) as progress:
        report = copy_registry(tracker, at, to, progress=progress)
    if as_json:
        terminal.say_json(report.to_json())
    else:
        _say_copied(report)
    for name in driven:
        terminal.note(f"{name} still runs: copy again when it has ended")
    if not report.equal:
        raise typer.Exit(1)


def _say_copied(report: CopyReport) -> None:
    what = ", ".join(f"{count} {kind}" for kind, count in report.sent.items() if count)
    terminal.say(f"{report.source} -> {report.destination}: sent {what or 'nothing'}")
    rows = [
        [row.kind, f"{row.source:,}", f"{row.destination:,}", "yes" if row.equal else "NO"]
        for row in report.rows
    ]
    terminal.say_table(["", "source", "destination", "equal"], rows)
    for row in report.rows:
        if not row.equal:
            terminal.complain(f"{row.kind} differ of {', '.join(row.differing[:5])}")
    if report.equal:
        terminal.say("all is there; commands use it where MLFLOW_TRACKING_URI names it")
