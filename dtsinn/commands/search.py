"""Commands that search: begin or resume one, see where all stand, end one gently."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dtsinn.commands.choices import WithChoices
from dtsinn.commands.options import (
    MOST,
    ROOT,
    AsJson,
    Debug,
    Folder,
    Quiet,
    Root,
    StorePath,
    finite,
)
from dtsinn.commands.train import name_of
from dtsinn.core.display import value_text
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace, command
from dtsinn.workflows import console

app = typer.Typer()


@app.command(
    cls=WithChoices,
    epilog="Example: dtsinn search brain.zarr --space quick --trials 8 --name first",
)
def search(
    ctx: typer.Context,
    store: StorePath,
    space: Annotated[str, typer.Option(help="Search space: name or YAML file.")] = "default",
    objective: Annotated[
        str,
        typer.Option(help="METRIC:max or METRIC:min; several, with commas, give a Pareto front."),
    ] = "psnr:max",
    trials: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of trials.")] = 50,
    time_budget: Annotated[
        str | None, typer.Option(help="Stop after this time: 90s, 30m, 2h.")
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many training steps of all trials.")
    ] = None,
    max_gpu_hours: Annotated[
        float | None, typer.Option(callback=finite, help="Stop after so many GPUs times hours.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Stop when the first objective is as good as this (psnr: dB)."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop when so many trials ended without a better one.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Trials at a time; by default what fits.")
    ] = None,
    cpus_per_trial: Annotated[
        float, typer.Option(min=0.1, max=MOST, callback=finite, help="Cores of a trial.")
    ] = 1,
    gpus_per_trial: Annotated[
        str, typer.Option(help="GPUs, or parts, of a trial; auto packs them by memory.")
    ] = "0",
    workers_per_trial: Annotated[
        int,
        typer.Option(
            min=1, max=MOST, help="Processes that train a trial together, each with the above."
        ),
    ] = 1,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="dtsinn.search.sampling.samplers:SAMPLERS",
            help="How suggestions are found.",
        ),
    ] = "tpe",
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="dtsinn.search.sampling.halving:SCHEDULERS",
            help="Which trials are stopped early.",
        ),
    ] = "asha",
    warm_start: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Begin from a search, a model or a file of points."),
    ] = None,
    gate: Annotated[str, typer.Option(help="Gate for the best trial: name or file.")] = "default",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster; by default this machine.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the search; by default the time.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search of this --name.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the space, samples of it and the cost, and stop."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the suggestions.")] = 0,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for the best separator, register it, and promote it if it passes the gate.

    Whichever budget is spent first ends it. Ctrl-C keeps what is under way for --resume.
    The same seed gives the same suggestions when trials run one at a time (--concurrent 1).
    """
    from dtsinn.data.store import open_store
    from dtsinn.search.objective import read_objectives
    from dtsinn.search.plan import SearchPlan, resume_command
    from dtsinn.search.space.reader import load_space

    gpus_per_trial = gpus_per_trial.lower()
    if len(set(warm_start or [])) < len(warm_start or []):
        raise InputError("--warm-start names something twice", got=", ".join(warm_start or []))
    if resume and (name is None or warm_start or dry_run):
        raise InputError("--resume", wanted="--name NAME, and neither --warm-start nor --dry-run")
    given: dict[str, Any] = {
        "space": load_space(space) if not resume or _is_given(ctx, "space") else None,
        "objectives": read_objectives(objective),
        "trials": trials,
        "time_budget_s": None if time_budget is None else _seconds(time_budget),
        "step_budget": max_steps,
        "gpu_hours": max_gpu_hours,
        "target": target,
        "patience": patience,
        "concurrent": concurrent,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": _gpus(gpus_per_trial),
        "pack_gpus": gpus_per_trial == "auto",
        "workers_per_trial": workers_per_trial,
        "sampler": sampler,
        "scheduler": scheduler,
        "seed": seed,
        "cluster": cluster,
        "gate": str(Path(gate).resolve()) if Path(gate).suffix else gate,
    }
    opened = open_store(store, need_truth=True)
    at = Workspace(workspace)
    if resume:
        from dtsinn.search.events.state import read_history
        from dtsinn.search.plan import changed_plan, read_plan

        folder = at.searches / name_of(name, "search")
        before = read_plan(folder, read_history(folder))
        changes = {key: value for key, value in given.items() if _is_given(ctx, _OPTIONS[key])}
        plan = changed_plan(before, changes | {"store": before.store, "name": before.name})
        plan = dataclasses.replace(plan, store=store)
    else:
        plan = SearchPlan(name=name_of(name, "search"), store=store, **given)
    if dry_run:
        from dtsinn.commands.forecast_table import say_forecast

        say_forecast(plan, opened)
        return
    from dtsinn.workflows.pipeline import Found, search_and_promote

    with console.progress(quiet) as progress:
        found = search_and_promote(
            plan,
            at,
            console.live(quiet),
            resume=resume,
            warm_start=warm_start or [],
            progress=progress,
        )
    result = found.search if isinstance(found, Found) else found
    _say_search(result)
    if isinstance(found, Found):
        console.say(f"registered as {found.version.ref}")
        for line in found.gate.lines():
            console.say(line)
        further = at.command("evaluate", "--model", found.version.ref)
        console.say(f"try: {further}", quiet=quiet)
        return
    # What ended early would be taken up again; it is only to be delivered and registered.
    enough = sum(result.states.values()) if result.over and not result.interrupted else None
    again = resume_command(store, plan.name, at, enough)
    if result.interrupted:
        console.complain(f"interrupted ({result.over}); what was under way is kept; try {again}")
        raise typer.Exit(130 if result.over in {"Ctrl-C", "SIGTERM"} else 1)
    if result.undelivered:
        console.complain(
            f"MLflow has not got {result.undelivered} events; they are kept, and the best trial "
            f"is not registered yet; try {again} when it answers"
        )
    elif result.package is None:
        from dtsinn.networks.build import METHODS

        title = METHODS[plan.space.base["model"]["kind"]].title
        console.say(f"nothing to register: {title} has no weights")


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
    from dtsinn.registry.tracking.tracker import connect
    from dtsinn.search.events.state import search_folder, search_names
    from dtsinn.search.status import Standing, standing

    at = Workspace(workspace)
    folders = [search_folder(at, one) for one in ([name] if name else search_names(at))]
    told, damaged = [], False
    for folder in folders:
        try:
            told.append(standing(folder, lambda: connect(at)))
        except Exception as error:  # the others are none the worse for it
            if name:
                raise
            told.append(
                Standing(name=folder.name, state="damaged", reason=str(in_our_words(error)))
            )
            damaged = True
    if as_json:
        console.say_json([dataclasses.asdict(one) for one in told])
        raise typer.Exit(InputError.exit_code if damaged else 0)
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
    if damaged:
        raise typer.Exit(InputError.exit_code)


@app.command(epilog="Example: dtsinn stop first")
def stop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The search.")],
    workspace: Folder = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """End a running search gently: what its trials have reached is kept, registered and judged."""
    from dtsinn.search.engine.driver import STOP
    from dtsinn.search.events.lock import holder, is_driven
    from dtsinn.search.events.state import search_folder

    folder = search_folder(Workspace(workspace), name)
    if not is_driven(folder):
        raise InputError(f"search {name} is not running", hint=command("status", name))
    (folder / STOP).touch()
    console.say(
        f"search {name}, driven by {holder(folder)}, ends its trials within seconds "
        "and registers the best"
    )


_OPTIONS = {
    "objectives": "objective",
    "time_budget_s": "time_budget",
    "step_budget": "max_steps",
    "gpu_hours": "max_gpu_hours",
    "pack_gpus": "gpus_per_trial",
} | {
    key: key
    for key in (
        "space", "trials", "target", "patience", "concurrent", "cpus_per_trial",
        "gpus_per_trial", "workers_per_trial", "sampler", "scheduler", "seed", "cluster", "gate",
    )
}  # fmt: skip
"""Name of the option that gives each part of a plan."""


def _is_given(ctx: typer.Context, option: str) -> bool:
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _say_search(result: Any) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    best = f"; best {result.best_psnr:.2f} dB in {result.best_trial}" if result.best_trial else ""
    console.say(f"search {result.name}: {states}{best}")
    if result.over and not result.interrupted:
        console.say(f"it ended early: {result.over}")
    if result.suggestion:
        tried = ", ".join(f"{key}={value_text(value)}" for key, value in result.suggestion.items())
        console.say(f"with {tried}")
    if result.front:
        console.say(f"no other trial beats in all objectives: {', '.join(result.front)}")


def _gpus(text: str) -> float:
    if text == "auto":
        return 1.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST:
        raise InputError("--gpus-per-trial", got=repr(text), wanted="a number, or auto")
    return number


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise InputError("--time-budget", got=repr(text), wanted="such as 90s, 30m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
