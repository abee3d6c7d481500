"""The command line: each command checks its arguments, calls one function, and prints.

Rooms are imported inside the commands, so that ``dtsinn --help`` does not wait for torch and Ray.
"""

from __future__ import annotations

import dataclasses
import re
import signal
import traceback
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dtsinn
from dtsinn import terminal
from dtsinn.core.errors import DtsinnError, InputError
from dtsinn.core.workspace import Workspace


class _Commands(TyperGroup):
    """Turns errors into one line and an exit code; ``--debug`` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (DtsinnError, OSError, MemoryError) as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            terminal.complain(_words(error))
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except KeyboardInterrupt:
            terminal.complain("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find, prove, keep and use networks that separate two tracers in one dynamic PET scan.",
)


def _debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta["debug"] = value


def _version(value: bool) -> None:
    if value:
        terminal.say(dtsinn.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Root = Annotated[
    Path,
    typer.Option(
        "--workspace", envvar="DTSINN_WORKSPACE", help="Folder of runs, searches and models."
    ),
]
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="A zarr store: path or URL.")]
ROOT = Path("dtsinn-workspace")


@app.command(epilog="Example: dtsinn simulate brain.zarr --subjects 60 --noise mid")
def simulate(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The store to write: path or URL.")],
    tracers: Annotated[
        str, typer.Option(help="Two tracers, the one injected first first.")
    ] = "fmz,fdg",
    protocol: Annotated[str, typer.Option(help="Frames and injection times.")] = "p1",
    phantom: Annotated[str, typer.Option(help="Anatomy.")] = "brain",
    noise: Annotated[str, typer.Option(help="Noise level: low, mid or high.")] = "mid",
    subjects: Annotated[int, typer.Option(min=1, help="Number of subjects.")] = 60,
    slices: Annotated[int, typer.Option(min=1, help="Slices per subject.")] = 8,
    size: Annotated[int, typer.Option(min=8, help="Rows and columns of a slice.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all draws.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one per core.")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Simulate a study of dual-tracer scans and write it as a store.

    An interrupted simulation is continued by the same command.
    """
    from dtsinn.simulation.study import simulate as run
    from dtsinn.simulation.subject import StudyRequest

    request = StudyRequest(
        tracers=_pair(tracers),
        protocol=protocol,
        phantom=phantom,
        noise=noise,
        subjects=subjects,
        slices=slices,
        size=size,
        seed=seed,
    )
    with terminal.progress(quiet) as progress:
        header = run(request, out, workers=workers, progress=progress)
    terminal.say(f"{out}: {header.samples} samples, digest {header.digest[:12]}", quiet=quiet)


@app.command(epilog="Example: dtsinn info brain.zarr --json")
def info(
    store: StorePath, as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Describe a store."""
    from dtsinn.core.config import to_mapping
    from dtsinn.data.store import open_store

    opened = open_store(store)
    header = opened.header
    if as_json:
        plain = dataclasses.asdict(header) | {"protocol": to_mapping(header.protocol)}
        terminal.say_json(plain | {"subjects": opened.split_counts()})
        return
    first, second = header.protocol.injection_time
    minutes = header.protocol.end / 60
    counts = ", ".join(f"{split} {n}" for split, n in opened.split_counts().items())
    rows = [
        [
            "tracers",
            f"{header.tracers[0]} at {first / 60:g} min, {header.tracers[1]} at "
            f"{second / 60:g} min",
        ],
        ["protocol", f"{header.protocol.name}: {header.protocol.frames} frames, {minutes:g} min"],
        [
            "samples",
            f"{header.samples} of {header.size[0]} x {header.size[1]} pixels, "
            f"{header.voxel_size[0]:.2f} mm",
        ],
        ["subjects", counts],
        ["phantom", header.phantom or "unknown"],
        ["noise", header.noise or "unknown"],
        ["seed", "unknown" if header.seed is None else str(header.seed)],
        ["truth", "yes" if header.has_truth else "no"],
        ["digest", header.digest],
    ]
    terminal.say_table(["", store], rows)


@app.command(epilog="Example: dtsinn check brain.zarr")
def check(store: StorePath, quiet: Quiet = False, debug: Debug = False) -> None:
    """Verify every chunk, checksum and invariant of a store."""
    from dtsinn.data.check import check_store

    with terminal.progress(quiet) as progress:
        checked = check_store(store, progress)
    terminal.say(f"{store} is whole: {checked.header.samples} samples", quiet=quiet)


@app.command(epilog="Example: dtsinn train brain.zarr --set model.blocks=3 --set steps=2000")
def train(
    store: StorePath,
    config: Annotated[str, typer.Option(help="Run configuration: name or YAML file.")] = "default",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; by default the time.")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Continue this run from its checkpoint.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train one separator and register it; its checkpoint is kept for --resume."""
    from dtsinn.data.store import open_store
    from dtsinn.road import train_and_register
    from dtsinn.training.config import load_run_config
    from dtsinn.training.loop import Report

    if resume and (set_ or name or config != "default"):
        raise InputError("--resume continues a run as it is", wanted="no --config, --set or --name")
    settings = load_run_config(config, set_ or [])
    opened = open_store(store, need_truth=True)
    _check_device(device)
    with terminal.progress(quiet) as progress:

        def tell(report: Report) -> None:
            progress("training", report.step, report.steps)
            if not quiet:
                psnr = report.metrics["val_psnr"]
                terminal.note(f"step {report.step}: {psnr:.2f} dB on the val subjects")

        run, version = train_and_register(
            opened,
            settings,
            _name(resume or name, "run"),
            Workspace(workspace),
            resume=resume is not None,
            device=device,
            on_report=tell,
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
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    scheduler: Annotated[str, typer.Option(help="asha or none.")] = "asha",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Ray cluster; by default this machine.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the search; by default the time.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the space and stop.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the suggestions.")] = 0,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for the best separator, register it, and promote it if it passes the gate.

    The same seed gives the same suggestions when trials run one at a time (--concurrent 1).
    """
    from dtsinn.data.store import open_store
    from dtsinn.search.space import describe, load_space

    loaded = load_space(space)
    seconds = None if time_budget is None else _seconds(time_budget)
    open_store(store, need_truth=True)
    if dry_run:
        terminal.say_table(["parameter", "range"], [list(line) for line in describe(loaded)])
        return
    from dtsinn.road import search_and_promote
    from dtsinn.search.plan import SearchPlan

    plan = SearchPlan(
        name=_name(name, "search"),
        store=store,
        space=loaded,
        trials=trials,
        time_budget_s=seconds,
        concurrent=concurrent,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        sampler=sampler,
        scheduler=scheduler,
        seed=seed,
        cluster=cluster,
    )
    found = search_and_promote(plan, Workspace(workspace), terminal.live(quiet))
    _say_found(found)
    terminal.say(f"try: dtsinn evaluate --model {found.version.ref}", quiet=quiet)


@app.command(epilog="Example: dtsinn evaluate --model best --suite quick")
def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="REF", help="The model (best); give it twice to compare two."),
    ] = None,
    suite: Annotated[str, typer.Option(help="Suite: name or YAML file, or none.")] = "quick",
    data: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="Score its test subjects; by default the model's own."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the report.")] = None,
    as_json: AsJson = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Evaluate a model on test subjects and over a grid of noise, tracers and protocols."""
    from dtsinn.evaluation.record import as_record
    from dtsinn.evaluation.suite import load_suite
    from dtsinn.road import evaluate_models

    grid = None if suite == "none" else load_suite(suite)
    refs = model or ["best"]
    with terminal.progress(quiet or as_json) as progress:
        evaluation, folder = evaluate_models(refs, grid, data, out, Workspace(workspace), progress)
    if as_json:
        terminal.say_json(as_record(evaluation))
        return
    terminal.say_evaluation(evaluation)
    if data is None and all(cell.source != "store" for cell in evaluation.cells):
        terminal.note("no test subjects of a store: the model's own is gone or changed; try --data")
    terminal.say(f"report: {folder / 'report.html'}")


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
    """List the registered models, or show where one comes from."""
    from dtsinn.registry.lineage import show_model
    from dtsinn.registry.tracking import connect_existing
    from dtsinn.registry.versions import list_models

    if what not in (None, "show") or (what is None) != (ref is None):
        raise InputError("models", got=f"{what} {ref or ''}", wanted="nothing, or show REF")
    tracker = connect_existing(Workspace(workspace))
    if ref is not None:
        lineage = show_model(ref, tracker)
        if as_json:
            terminal.say_json(lineage)
        else:
            terminal.say_tree(lineage["ref"], lineage)
        return
    versions = list_models(tracker)
    if as_json:
        terminal.say_json([dataclasses.asdict(version) for version in versions])
        return
    rows = [
        [
            version.ref,
            ", ".join(version.aliases),
            f"{version.metrics.get('val_psnr', float('nan')):.2f}",
            version.tags.get("search", ""),
            datetime.fromtimestamp(version.created / 1000).strftime("%Y-%m-%d %H:%M"),
            version.digest[:12],
        ]
        for version in versions
    ]
    terminal.say_table(["model", "alias", "val dB", "search", "when", "digest"], rows)


@app.command(epilog="Example: dtsinn export best --out fmz-fdg")
def export(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
    ref: Annotated[str, typer.Argument(metavar="[REF]", help="Which model.")] = "best",
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a model's package, after proving its ONNX graphs against torch."""
    from dtsinn.road import export_model

    with terminal.progress(quiet) as progress:
        model, proof = export_model(ref, out, Workspace(workspace), progress)
    version = "" if model.version is None else f"/{model.version}"
    terminal.say(f"{model.name}{version} is in {out}")
    terminal.say(f"ONNX Runtime against torch: relative error {proof.model_error:.1e}")
    if proof.round_trip_error is not None:
        terminal.say(f"inverse of forward in ONNX Runtime: {proof.round_trip_error:.1e}")


@app.command(epilog="Example: dtsinn ui --port 5000")
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser", help="Open a browser too.")] = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show this workspace in the MLflow UI on 127.0.0.1, until Ctrl-C."""
    from dtsinn.registry.server import ui as show

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


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def _say_found(found: Any) -> None:
    result = found.search
    if result.interrupted:
        terminal.say("interrupted: what the trials had reached by then is kept")
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    terminal.say(
        f"search {result.name}: {states}; best {result.best_psnr:.2f} dB in "
        f"{result.best_trial}, registered as {found.version.ref}"
    )
    for line in found.gate.lines():
        terminal.say(line)
    if result.undelivered:
        terminal.complain(
            f"{result.undelivered} events did not reach MLflow; they are in "
            f"{result.folder / 'ledger.jsonl'}"
        )


def _pair(text: str) -> tuple[str, str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise InputError("--tracers", got=repr(text), wanted="two names with a comma: fmz,fdg")
    return names[0], names[1]


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


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError("--device", got=f"{device}: {error}", wanted="cpu, or cuda") from None


def main() -> None:
    """Entry point of the ``dtsinn`` command; SIGTERM ends it as tidily as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
