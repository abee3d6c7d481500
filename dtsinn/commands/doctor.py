"""The command that says what is wrong with the machine, before another one fails at it."""

from __future__ import annotations

import dataclasses

import typer

from dtsinn.commands.options import ROOT, AsJson, Debug, Folder, Quiet
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

app = typer.Typer()


@app.command(epilog="Example: dtsinn doctor")
def doctor(
    as_json: AsJson = False,
    workspace: Folder = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at all that commands need here; exit code 1 if one would fail.

    Each problem comes with its cure. --quiet shows problems and notes only.
    """
    from dtsinn.workflows.doctor import examine

    findings = examine(Workspace(workspace))
    problems, notes = (sum(one.state == state for one in findings) for state in ("problem", "note"))
    if as_json:
        plain = [dataclasses.asdict(one) for one in findings]
        console.say_json({"problems": problems, "notes": notes, "findings": plain})
    else:
        for one in findings:
            console.say(
                f"{one.state:<9}{one.what}: {one.found}" + f"; try {one.cure}" * bool(one.cure),
                quiet=quiet and one.state == "ok",
            )
        console.say(f"{problems} problems, {notes} notes")
    if problems:
        raise typer.Exit(1)


if __name__ == "__main__":  # where a checkout's links are broken, and the command line with them
    app()
