"""The command that explains a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtsinn.commands.options import ROOT, AsJson, Commands, Debug, Folder, Quiet
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

app = Commands()


@app.command(epilog="Example: dtsinn report first")
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The search.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; by default WORKSPACE/searches/NAME/report."),
    ] = None,
    as_json: AsJson = False,
    workspace: Folder = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Explain a search: what mattered, what it cost, what to doubt; also while it runs."""
    from dtsinn.search.events.state import search_folder

    folder = search_folder(Workspace(workspace), name)
    # Pictures and forests need much that finding no search does not.
    from dtsinn.search.explain.page import check_out, explain_search, write_explanation

    target = out or folder / "report"
    check_out(target)
    with console.progress(quiet) as tell:
        explanation = explain_search(folder, tell)
        page = write_explanation(explanation, target, tell)
    if as_json:
        console.say_json(explanation.record | {"report": str(page)})
        return
    for line in explanation.conclusion.lines:
        console.say(line)
    for warning in explanation.conclusion.warnings:
        console.say(f"doubt: {warning}")
    console.say(f"report: {page}")
