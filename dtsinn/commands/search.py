"""Commands that search: begin or resume one, see where all stand, end one gently."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtsinn.commands.options import (
    MACHINES,
    MOST,
    RESUME_OR_BEGIN,
    ROOT,
    AsJson,
    Commands,
    Debug,
    Folder,
    Quiet,
    Root,
    StorePath,
    finite,
)
from dtsinn.core.display import duration, value_text
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace, choose_name, command
from dtsinn.workflows import console

if TYPE_CHECKING:
    from dtsinn.search.plan import SearchOptions, SearchPlan
    from dtsinn.search.run import SearchResult
    from dtsinn.search.status import SearchStatus
    from dtsinn.workflows.delivery import RunDelivery
    from dtsinn.workflows.pipeline import PromotedSearch
    from dtsinn.workflows.resuming import ConcludedSearch

app = Commands()

WHAT, END = "What is searched, and how", "When it ends"
"""Groups of options, as the help shows them."""


@app.command(epilog="Example: dtsinn search brain.zarr --space quick --trials 8 --name first")
def search(
    ctx: typer.Context,
    store: StorePath,
    space: Annotated[
        str, typer.Option(metavar="{spaces}|FILE", help="Search space.", rich_help_panel=WHAT)
    ] = "default",
    objective: Annotated[
        str,
        typer.Option(
            metavar="METRIC:max|min",
            help="What is sought; several, with commas, give a Pareto front.",
            rich_help_panel=WHAT,
        ),
    ] = "psnr:max",
    trials: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Number of trials.", rich_help_panel=END)
    ] = 50,
    time_budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Stop after this time: 90s, 30m, 2h.", rich_help_panel=END
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="Stop after so many training steps of all trials.", rich_help_panel=END
        ),
    ] = None,
    max_gpu_hours: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Stop after so many GPUs times hours.", rich_help_panel=END
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="Stop when the first objective is as good as this (psnr: dB).",
            rich_help_panel=END,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop when so many trials ended without a better one.",
            rich_help_panel=END,
        ),
    ] = None,
    concurrent: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST,
            help="Trials at a time; by default what fits.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    cpus_per_trial: Annotated[
        float,
        typer.Option(
            min=0.1, max=MOST, callback=finite, help="Cores of a trial.", rich_help_panel=MACHINES
        ),
    ] = 1,
    gpus_per_trial: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|auto",
            help="GPUs, or parts, of a trial; auto packs them by memory.",
            rich_help_panel=MACHINES,
        ),
    ] = "0",
    workers_per_trial: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            help="Processes that train a trial together, each with the above.",
            rich_help_panel=MACHINES,
        ),
    ] = 1,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.search.sampling.samplers:SAMPLERS}",
            help="How suggestions are found.",
            rich_help_panel=WHAT,
        ),
    ] = "tpe",
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="{dtsinn.search.sampling.halving:SCHEDULERS}",
            help="Which trials are pruned early.",
            rich_help_panel=WHAT,
        ),
    ] = "asha",
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Begin from a search, a model or a file of points.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="A+B,C+D",
            help="One search per tracer pair, on stores simulated as STORE was.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    gate: Annotated[
        str,
        typer.Option(metavar="{gates}|FILE", help="Gate for the best trial.", rich_help_panel=WHAT),
    ] = "default",
    floor: Annotated[
        bool,
        typer.Option(
            " /--no-floor",
            show_default=False,
            help="Fit no linear map first, for the trials to be measured against.",
            rich_help_panel=WHAT,
        ),
    ] = True,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster; by default this machine.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the search; by default the time.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search of this --name.")
    ] = False,
    resume_or_begin: Annotated[
        bool, typer.Option("--resume-or-begin", help=RESUME_OR_BEGIN)
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the space, samples of it and the cost, and stop."),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**32 - 1, help="Seed of the suggestions.", rich_help_panel=WHAT),
    ] = 0,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for the best separator, register it, and promote it if it passes the gate.

    The first champion of a model is the linear map, which the best trial has to beat.
    Whichever budget is spent first ends it. Ctrl-C keeps what is under way for --resume.
    The same seed gives the same suggestions when trials run one at a time (--concurrent 1).
    """
    from dtsinn.search.plan import SearchOptions, make_plan, resume_command

    if resume and (name is None or warm_start or dry_run):
        raise InputError("--resume", wanted="--name NAME, and neither --warm-start nor --dry-run")
    at = Workspace(workspace)
    if resume_or_begin:
        if name is None or resume or dry_run:
            wanted = "--name NAME, and neither --resume nor --dry-run"
            raise InputError("--resume-or-begin", wanted=wanted)
        resume = _is_begun(name, pairs, at)
        warm_start = None if resume else warm_start  # a search that began knows them already
    options: Any = {
        option: ctx.params[option]
        for option in SearchOptions.__annotations__
        if not resume or _is_given(ctx, option)
    }
    if pairs is not None:
        if dry_run:
            raise InputError("--pairs", wanted="no --dry-run: a search of one pair has that")
        _search_pairs(name, store, pairs, options, at, resume, warm_start or [], quiet)
        return
    plan = make_plan(name, store, options, at, resume=resume)
    if dry_run:
        _say_forecast(plan)
        return
    from dtsinn.workflows.pipeline import PromotedSearch, search_and_promote
    from dtsinn.workflows.resuming import find_concluded

    if resume_or_begin and resume and (done := find_concluded(plan, at)):
        _say_done(done)
        return

    with console.progress(quiet) as progress:
        found = search_and_promote(
            plan,
            at,
            console.live(quiet),
            resume=resume,
            warm_start=warm_start or [],
            progress=progress,
        )
    if not isinstance(found, PromotedSearch):
        _say_search(found)
        # What ended early would be taken up again; it is only to be delivered and registered.
        ended = found.over and not found.interrupted
        enough = sum(found.states.values()) if ended else None
        _say_what_is_missing(found, plan, resume_command(plan.store, plan.name, at, enough))
        return
    _say_promoted(found)
    further = at.command("evaluate", "--model", found.version.ref)
    console.say(f"try: {further}", quiet=quiet)


@app.command(epilog="Example: dtsinn status first")
def status(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One search; all by default.")
    ] = None,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show where searches stand; mend what killed ones left, deliver what MLflow has not got."""
    from dtsinn.core.causes import in_our_words
    from dtsinn.registry.tracking.tracker import connect_once
    from dtsinn.search.events.state import search_folder, search_names
    from dtsinn.search.status import SearchStatus, reconcile
    from dtsinn.workflows.delivery import deliver_runs

    at = Workspace(workspace)
    folders = [search_folder(at, one) for one in ([name] if name else search_names(at))]
    connect, told = connect_once(at), []
    for folder in folders:
        try:
            told.append(reconcile(folder, connect))
        except Exception as error:  # the others are none the worse for it
            if name:
                raise
            told.append(
                SearchStatus(name=folder.name, state="damaged", reason=str(in_our_words(error)))
            )
    runs = [] if name else list(deliver_runs(at, connect))
    found: list[Any] = [*told, *runs]
    if as_json:
        console.say_json([dataclasses.asdict(one) for one in found])
    else:
        _say_deliveries(runs)
        _say_searches(told)
    if any(one.state == "damaged" for one in found):
        raise typer.Exit(InputError.exit_code)


def _say_deliveries(runs: Sequence[RunDelivery]) -> None:
    for run in runs:
        for line in (*run.repaired, run.reason):
            if line:
                console.say(f"{run.kind} {run.name}: {line}")


def _say_searches(told: Sequence[SearchStatus]) -> None:
    if not told:
        console.say("no searches yet")
        return
    rows = [
        [
            one.name,
            f"running: {one.driver}" if one.driver else one.state,
            f"{one.ended}/{one.planned}",
            ", ".join(f"{count} {state}" for state, count in sorted(one.trials.items())),
            "" if one.best is None else f"{one.best:.4g} in {one.best_trial}",
            f"{one.steps:,}",
            str(one.undelivered),
        ]
        for one in told
    ]
    console.say_table(
        ["search", "state", "trials", "of them", "best", "steps", "undelivered"], rows
    )
    for one in told:
        for line in (one.reason, *one.repaired):
            if line:
                console.say(f"{one.name}: {line}")
        if one.resume:
            console.say(f"{one.name}: try {one.resume}")


@app.command(epilog="Example: dtsinn stop first")
def stop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The search.")],
    workspace: Folder = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """End a running search gently: what its trials have reached is kept, registered and judged."""
    from dtsinn.eventlog.lock import holder, is_driven
    from dtsinn.search.engine.driver import STOP
    from dtsinn.search.events.state import search_folder

    folder = search_folder(Workspace(workspace), name)
    if not is_driven(folder):
        raise InputError(f"search {name} is not running", hint=command("status", name))
    (folder / STOP).touch()
    console.say(
        f"search {name}, driven by {holder(folder)}, ends its trials within seconds "
        "and registers the best"
    )


def _is_given(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _is_begun(name: str, pairs: str | None, at: Workspace) -> bool:
    """Whether the search of this name has begun, or with ``pairs`` one of theirs."""
    from dtsinn.search.events.state import is_begun
    from dtsinn.workflows.pairs import names_of_pairs, read_pairs

    names = names_of_pairs(name, read_pairs(pairs)).values() if pairs else [name]
    return any(is_begun(at.searches / choose_name(one, "search")) for one in names)


def _search_pairs(
    name: str | None,
    store: str,
    pairs: str,
    options: SearchOptions,
    at: Workspace,
    resume: bool,
    warm_start: Sequence[str],
    quiet: bool,
) -> None:
    from dtsinn.search.events.state import read_state
    from dtsinn.search.plan import read_plan
    from dtsinn.workflows.pairs import PairSearches, read_pairs, search_pairs

    asked, name = read_pairs(pairs), choose_name(name, "search")
    with console.progress(quiet) as progress:
        found = search_pairs(
            name,
            store,
            asked,
            options,
            at,
            console.live(quiet),
            resume=resume,
            warm_start=warm_start,
            progress=progress,
        )
    if not isinstance(found, PairSearches):
        _say_search(found)
        again = at.command("search", store, "--pairs", pairs, "--name", name, "--resume")
        _say_what_is_missing(found, read_plan(found.folder, read_state(found.folder)), again)
        return
    for one in found.searches:
        _say_promoted(one)
    console.say_pairs(found)
    console.say(f"report: {found.report / 'report.html'}")


def _say_promoted(found: PromotedSearch) -> None:
    _say_search(found.search)
    console.say(f"registered as {found.version.ref}")
    for line in found.gate.lines():
        console.say(line)


def _say_done(found: ConcludedSearch) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items()))
    registered = f", registered as {found.ref}" if found.ref else ""
    console.say(f"search {found.name} is done: {states}; best {found.best_trial}{registered}")
    if found.over:
        console.say(f"it ended early: {found.over}")


def _say_search(result: SearchResult) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    best = f"; best {result.best_psnr:.2f} dB in {result.best_trial}" if result.best_trial else ""
    over = result.best_psnr - result.floor_psnr
    best += f", {over:+z.2f} dB over linear" if math.isfinite(over) else ""
    console.say(f"search {result.name}: {states}{best}")
    if result.over and not result.interrupted:
        console.say(f"it ended early: {result.over}")
    if result.suggestion:
        tried = ", ".join(f"{key}={value_text(value)}" for key, value in result.suggestion.items())
        console.say(f"with {tried}")
    if result.front:
        console.say(f"no other trial beats in all objectives: {', '.join(result.front)}")


def _say_what_is_missing(result: SearchResult, plan: SearchPlan, again: str) -> None:
    """Why a search registered nothing, and how to go on: by ``again``, a command.

    Raises:
        typer.Exit: It was interrupted.
    """
    if result.interrupted:
        console.complain(f"interrupted ({result.over}); what was under way is kept; try {again}")
        raise typer.Exit(130 if result.over in {"Ctrl-C", "SIGTERM"} else 1)
    if result.undelivered:
        console.complain(
            f"{result.undelivered} events are not delivered to MLflow yet; they are kept, and the "
            f"best trial is not registered yet; try {again} when it answers"
        )
    else:
        from dtsinn.networks.build import METHODS

        title = METHODS[plan.space.base["model"]["kind"]].title
        console.say(f"no trial to register: {title} has no weights")


def _say_forecast(plan: SearchPlan) -> None:
    """The space, its size, some samples, and what the search will cost."""
    from dtsinn.data.store import open_store
    from dtsinn.search.forecast import forecast
    from dtsinn.search.space.constraints import MiB
    from dtsinn.search.space.space import describe

    store = open_store(plan.store, need_truth=True)
    console.say_table(["parameter", "range"], [list(line) for line in describe(plan.space)])
    fitting = max(1, int((os.cpu_count() or 1) / (plan.cpus_per_trial * plan.workers_per_trial)))
    at_a_time = plan.concurrent or fitting
    told = forecast(plan, store, at_a_time)
    size = "a range is continuous" if told.size is None else f"{told.size:,}"
    console.say(f"different suggestions: {size}")
    if told.refused:
        console.say(f"refused before a trial starts: about {100 * told.refused:.0f} %")
    rows = [
        [
            ", ".join(f"{key}={value_text(value)}" for key, value in sample.suggestion.items()),
            f"{sample.takes.parameters:,}" if sample.takes else "0",
            f"{sample.takes.total / MiB:.0f}" if sample.takes else "0",
            f"{1000 * sample.step_seconds:.0f}",
        ]
        for sample in told.samples
    ]
    console.say_table(["samples", "parameters", "MiB", "ms a step"], rows)
    if told.seconds:
        stops = f", about {told.expected_steps:,} with {plan.scheduler}'s stops"
        console.say(
            f"{plan.trials} trials: at most {told.steps:,} training steps"
            f"{stops if told.expected_steps < told.steps else ''}; about {duration(told.seconds)} "
            f"of training, {at_a_time} at a time on this machine's cores"
        )
