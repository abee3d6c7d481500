"""Commands that keep house: move the registry to a server, clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dtsinn.commands.options import ROOT, AsJson, Commands, Debug, Quiet, Root, finite
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

if TYPE_CHECKING:
    from dtsinn.registry.copying.copy import CopyReport
    from dtsinn.workflows.prune import PruneReport

app = Commands()
inside = Commands(
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
    from dtsinn.registry.tracking.tracker import connect_existing
    from dtsinn.workflows.delivery import find_unsent

    at = Workspace(workspace)
    tracker = connect_existing(at)
    unsent = list(find_unsent(at, tracker.place))
    with console.progress(quiet or as_json) as progress:
        report = copy_registry(tracker, at, to, progress=progress)
    if as_json:
        console.say_json(report.to_json())
    else:
        _say_copied(report)
    for line in unsent:
        console.note(line)
    if not report.equal:
        raise typer.Exit(1)


@inside.command(epilog="Example: dtsinn registry prune --search first --yes")
def prune(
    search: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this search.")] = None,
    keep: Annotated[
        int, typer.Option(metavar="N", help="Best trials of each search that are kept, 5 or more.")
    ] = 5,
    older_than: Annotated[
        float,
        typer.Option(metavar="DAYS", callback=finite, help="Only of what ended so long ago."),
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without, only say what.")] = False,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Delete checkpoints of beaten trials, and packages that no version uses.

    Kept are what registered versions point to, each search's best trials and Pareto front, and
    all of searches that run or can be resumed. Numbers, curves, pictures and reports stay; but a
    trial without its checkpoint can no longer become a package or a version.
    """
    from dtsinn.workflows.prune import Policy, prune_workspace

    policy = Policy(keep=keep, older_than_days=older_than)
    report = prune_workspace(Workspace(workspace), policy, search=search, dry_run=not yes)
    if as_json:
        console.say_json(report.to_json())
    else:
        _say_pruned(report, Workspace(workspace).command("status"))


def _say_pruned(report: PruneReport, status: str) -> None:
    goes, would = ("goes", "would free") if report.dry_run else ("deleted", "freed")
    for one in report.searches:
        if one.left_alone:
            console.say(f"{one.search}: left alone, {one.left_alone}")
            continue
        rows = [
            [kept.trial, "" if kept.value is None else f"{kept.value:.4g}", _mb(kept.bytes), why]
            for kept in one.kept
            for why in [f"kept: {kept.why}"]
        ]
        if one.gone or one.aside:
            size = _mb(one.bytes)
            rows.append([f"{len(one.gone)} others", "", size, f"{goes}: beaten"])
        console.say_table([one.search, one.objective, "MB", ""], rows)
        if one.undelivered:
            console.note(
                f"{one.search}: {one.undelivered} events are not delivered to MLflow yet; "
                f"try {status}"
            )
    if report.packages:
        size = _mb(sum(package.bytes for package in report.packages))
        console.say(f"{len(report.packages)} packages, {size} MB, {goes}: no version uses them")
    console.say(f"{would} {_mb(report.bytes)} MB")
    if any(one.gone for one in report.searches):
        console.say("a trial without its checkpoint can no longer become a package or a version")
    if report.dry_run and report.bytes:
        console.say("nothing was deleted; try it again with --yes")


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _say_copied(report: CopyReport) -> None:
    what = ", ".join(f"{count} {kind}" for kind, count in report.sent.items() if count)
    console.say(f"{report.source} -> {report.destination}: sent {what or 'nothing'}")
    rows = [
        [row.kind, f"{row.source:,}", f"{row.destination:,}", "yes" if row.equal else "NO"]
        for row in report.rows
    ]
    console.say_table(["", "source", "destination", "equal"], rows)
    for row in report.rows:
        if not row.equal:
            console.complain(f"{row.kind} differ of {', '.join(row.differing[:5])}")
    if report.equal:
        console.say("all is there; commands use it where MLFLOW_TRACKING_URI names it")
