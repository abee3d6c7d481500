"""Commands that train: one run, or a search of many."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import typer

from dtsinn import terminal
from dtsinn.commands.options import ROOT, Debug, Quiet, Root, StorePath
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.data.device import check_device

app = typer.Typer()


@app.command(epilog="Example: dtsinn train brain.zarr --set model.blocks=3 --set steps=2000")
def train(
    stores: Annotated[
        list[str],
        typer.Argument(metavar="STORE...", help="Zarr stores: paths or URLs; the first names it."),
    ],
    config: Annotated[str, typer.Option(help="Run configuration: name or YAML file.")] = "default",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; by default the time.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue this run from its checkpoint.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="REF", help="Start from this separator's weights.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share each step's batches.")
    ] = 1,
    cpus_per_worker: Annotated[float, typer.Option(min=0.1, help="Cores of a worker.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster of the workers.")
    ] = None,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train one separator and register it; its checkpoint is kept for --resume.

    The number of workers changes how fast a result comes, not what it is.
    """
    from dtsinn.commands.training_line import TrainingLine
    from dtsinn.data.store import open_store
    from dtsinn.training.config import load_run_config, stated_settings

    if resume and (set_ or name or init or config != "default"):
        raise InputError(
            "--resume continues a run as it is", wanted="no --config, --set, --name or --init"
        )
    settings = load_run_config(config, set_ or [])
    opened = [open_store(path, need_truth=True) for path in stores]
    check_device(device)
    from dtsinn.road import TrainRequest, train_and_register
    from dtsinn.search.parallel import Workers

    team = Workers(
        number=workers, cpus=cpus_per_worker, gpu=device.startswith("cuda"), cluster=cluster
    )
    request = TrainRequest(
        name=_name(resume or name, "run"),
        config=settings,
        asked=stated_settings(config, set_ or []),
        resume=resume is not None,
        init=init,
        device=device,
        workers=team if workers > 1 or cluster else None,
    )
    with TrainingLine(quiet) as line:
        run, version = train_and_register(
            opened, request, Workspace(workspace), on_report=line.report, pulse=line.step
        )
    terminal.say(f"run {run.key}: {run.best_psnr:.2f} dB on val, registered as {version.ref}")
    terminal.say(f"package: {run.package}")
    terminal.say(f"try: dtsinn evaluate --model {version.ref}", quiet=quiet)


@app.command(epilog="Example: dtsinn search brain.zarr --space quick --trials 8 --name first")
def search(
    store: StorePath,
    space: Annotated[str, typer.Option(help="Search space: name or YAML file.")] = "default",
    trials: Annotated[int, typer.Option(min=1, help="Number of trials.")] = 50,
    time_budget: Annotated[
        str | None, typer.Option(help="Stop after this time: 90s, 30m, 2h.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time; by default what fits.")
    ] = None,
    cpus_per_trial: Annotated[float, typer.Option(min=0.1, help="Cores of a trial.")] = 1,
    gpus_per_trial: Annotated[float, typer.Option(min=0, help="GPUs, or parts, of a trial.")] = 0,
    workers_per_trial: Annotated[
        int, typer.Option(min=1, help="Processes that train a trial together, each with the above.")
    ] = 1,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    scheduler: Annotated[str, typer.Option(help="asha or none.")] = "asha",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster; by default this machine.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the search; by default the time.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the space, samples of it and the cost, and stop."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the suggestions.")] = 0,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for the best separator, register it, and promote it if it passes the gate.

    The same seed gives the same suggestions when trials run one at a time (--concurrent 1).
    """
    from dtsinn.data.store import open_store
    from dtsinn.search.plan import SearchPlan
    from dtsinn.search.space import load_space

    loaded = load_space(space)
    seconds = None if time_budget is None else _seconds(time_budget)
    opened = open_store(store, need_truth=True)
    plan = SearchPlan(
        name=_name(name, "search"),
        store=store,
        space=loaded,
        trials=trials,
        time_budget_s=seconds,
        concurrent=concurrent,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        workers_per_trial=workers_per_trial,
        sampler=sampler,
        scheduler=scheduler,
        seed=seed,
        cluster=cluster,
    )
    if dry_run:
        from dtsinn.commands.forecast_table import say_forecast

        say_forecast(plan, opened)
        return
    from dtsinn.road import search_and_promote, search_bases

    if loaded.base["model"]["kind"] == "spectral":
        _say_bases(search_bases(plan, Workspace(workspace), terminal.live(quiet)))
        return
    found = search_and_promote(plan, Workspace(workspace), terminal.live(quiet))
    _say_found(found)
    terminal.say(f"try: dtsinn evaluate --model {found.version.ref}", quiet=quiet)


def _say_found(found: Any) -> None:
    _say_search(found.search, f"registered as {found.version.ref}")
    for line in found.gate.lines():
        terminal.say(line)
    _say_undelivered(found.search)


def _say_bases(result: Any) -> None:
    basis = ", ".join(f"{key} {value:.3g}" for key, value in sorted(result.suggestion.items()))
    _say_search(result, f"with {basis}")
    terminal.say("nothing to register: spectral analysis has no weights")
    _say_undelivered(result)


def _say_search(result: Any, outcome: str) -> None:
    if result.interrupted:
        terminal.say("interrupted: what the trials had reached by then is kept")
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    terminal.say(
        f"search {result.name}: {states}; best {result.best_psnr:.2f} dB in "
        f"{result.best_trial}, {outcome}"
    )


def _say_undelivered(result: Any) -> None:
    if result.undelivered:
        terminal.complain(
            f"{result.undelivered} events did not reach MLflow; they are in "
            f"{result.folder / 'ledger.jsonl'}"
        )


def _name(given: str | None, kind: str) -> str:
    """A name for a run or a search, safe as a folder and as a key."""
    name = given or f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise InputError(
            f"name of the {kind}",
            got=repr(name),
            wanted="up to 64 letters, digits, '-' and '_', a letter or digit first",
        )
    return name


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError("--time-budget", got=repr(text), wanted="such as 90s, 30m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
