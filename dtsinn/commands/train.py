"""The command that trains one run."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import typer

from dtsinn.commands.options import MOST, ROOT, Debug, Quiet, Root, finite
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.data.device import check_device
from dtsinn.workflows import console

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
        int, typer.Option(min=1, max=MOST, help="Processes that share each step's batches.")
    ] = 1,
    cpus_per_worker: Annotated[
        float, typer.Option(min=0.1, max=MOST, callback=finite, help="Cores of a worker.")
    ] = 1,
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
    if not resume and len({store.header.digest for store in opened}) < len(opened):
        raise InputError("a store is given twice", got=", ".join(stores), wanted="each once")
    device = device.lower()
    check_device(device)
    from dtsinn.search.engine.cluster import Workers
    from dtsinn.workflows.pipeline import TrainRequest, train_and_register

    team = Workers(
        number=workers, cpus=cpus_per_worker, gpu=device.startswith("cuda"), cluster=cluster
    )
    request = TrainRequest(
        name=name_of(resume or name, "run"),
        config=settings,
        asked=stated_settings(config, set_ or []),
        resume=resume is not None,
        init=init,
        device=device,
        workers=team if workers > 1 or cluster else None,
    )
    at = Workspace(workspace)
    try:
        with TrainingLine(quiet) as line:
            run, version = train_and_register(
                opened, request, at, on_report=line.report, on_step=line.step
            )
    except KeyboardInterrupt:
        again = at.command("train", *stores, "--resume", request.name)
        kept = (at.runs / request.name).exists()
        console.complain("interrupted" + f"; what was trained is kept; try {again}" * kept)
        raise typer.Exit(130) from None
    console.say(f"run {run.key}: {run.best_psnr:.2f} dB on val, registered as {version.ref}")
    console.say(f"package: {run.package}")
    console.say(f"try: {at.command('evaluate', '--model', version.ref)}", quiet=quiet)


def name_of(given: str | None, kind: str) -> str:
    """A name for a run or a search, safe as a folder and as a key."""
    name = given or f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise InputError(
            f"name of the {kind}",
            got=repr(name),
            wanted="up to 64 letters, digits, '-' and '_', a letter or digit first",
        )
    return name
