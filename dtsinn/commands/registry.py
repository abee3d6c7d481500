"""Commands around the registry: list and trace models, promote them, and go back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from dtsinn.commands.options import ROOT, AsJson, Commands, Debug, Quiet, Root
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

app = Commands()

TITLES = "model", "alias", "gate dB [95 %]", "val dB", "verdict", "search", "when", "store", "MB"
REFUSED = 3
"""Exit code of a promotion that the gate refused."""


@app.command(epilog="Example: dtsinn models show best")
def models(
    what: Annotated[
        str | None, typer.Argument(metavar="[show]", help="show: the lineage of one model.")
    ] = None,
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", help="Which one.")] = None,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the registered models, or show where one comes from and what became of it."""
    from dtsinn.registry.lineage import show_model
    from dtsinn.registry.promotion.alias_transaction import recover_abandoned
    from dtsinn.registry.tracking.tracker import connect_existing
    from dtsinn.registry.versions import list_models

    if what not in (None, "show") or (what is None) != (ref is None):
        raise InputError("models", got=f"{what} {ref or ''}", wanted="nothing, or show REF")
    tracker = connect_existing(Workspace(workspace))
    versions = list_models(tracker)
    settled = [recover_abandoned(tracker, name) for name in sorted({v.name for v in versions})]
    for words in filter(None, settled):
        console.note(words)
    if ref is not None:
        lineage = show_model(ref, tracker)
        if as_json:
            console.say_json(lineage)
        else:
            console.say_tree(lineage["ref"], lineage)
        return
    if any(settled):
        versions = list_models(tracker)
    if as_json:
        console.say_json([dataclasses.asdict(version) for version in versions])
        return
    if not versions:
        console.say("no models yet")
        return
    console.say_table(TITLES, [_row(version) for version in versions])


@app.command(epilog="Example: dtsinn promote dtsinn-fmz-fdg-p1/3 --dry-run")
def promote(
    ref: Annotated[str, typer.Argument(metavar="REF", help="A registered version: NAME/3.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Lead this model, not its own.")
    ] = None,
    gate: Annotated[str, typer.Option(metavar="{gates}|FILE", help="What is asked.")] = "default",
    data: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Its gate subjects take part; by default its own."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, change nothing.")] = False,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a version the champion if it passes the gate; exit code 3 if it does not.

    Where there is no champion, the linear map is registered and made it first.
    """
    from dtsinn.registry.gate.config import load_gate
    from dtsinn.workflows.pipeline import promote_model

    limits = load_gate(gate)
    with console.progress(quiet or as_json) as progress:
        report = promote_model(
            ref, data, limits, Workspace(workspace), name=name, dry_run=dry_run, progress=progress
        )
    if as_json:
        console.say_json(report.to_json())
    else:
        for line in report.lines():
            console.say(line)
    if not report.passed:
        raise typer.Exit(REFUSED)


@app.command(epilog="Example: dtsinn rollback dtsinn-fmz-fdg-p1")
def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    to: Annotated[
        int | None, typer.Option(min=1, help="An earlier champion; by default the one before.")
    ] = None,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make an earlier champion the champion again."""
    from dtsinn.registry.promotion.promotion import roll_back
    from dtsinn.registry.tracking.tracker import connect_existing

    at = Workspace(workspace)
    champion, before = roll_back(connect_existing(at), at, name, to)
    console.say(f"{champion.ref} is the champion again; {before.ref} is the previous one")


def _row(version: Any) -> list[str]:
    from dtsinn.registry.tracking import tags as tagged

    tags = version.tags
    return [
        version.ref,
        ", ".join(version.aliases),
        gate_psnr(tags),
        f"{version.metrics['val_psnr']:.2f}" if "val_psnr" in version.metrics else "",
        tagged.line(tags, "gate.verdict"),
        tagged.line(tags, "search"),
        datetime.fromtimestamp(version.created / 1000).strftime("%Y-%m-%d %H:%M"),
        tagged.line(tags, "store.digest")[:8],
        f"{size / 1e6:.1f}" if (size := tagged.natural(tags, "bytes")) else "",
    ]


def gate_psnr(tags: Mapping[str, str]) -> str:
    """Mean, interval and number of subjects of a version's gate, as its row shows them."""
    from dtsinn.registry.tracking import tags as tagged

    found = tagged.interval(tags, "gate.psnr")
    if found is None:
        return ""
    ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.mean:.2f}{ends}" + (f", n = {found.n}" if found.n is not None else "")
