"""The command that trains one run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dtsinn.commands.options import (
    MACHINES,
    MOST,
    RESUME_OR_BEGIN,
    ROOT,
    Commands,
    Debug,
    Quiet,
    Root,
    finite,
)
from dtsinn.core.display import duration
from dtsinn.core.workspace import Workspace, choose_name
from dtsinn.workflows import console

if TYPE_CHECKING:
    from dtsinn.training.loop import Report

app = Commands()

RUN = "The run"
"""Group of options, as the help shows it."""


@app.command(epilog="Example: dtsinn train brain.zarr --set model.blocks=3 --set steps=2000")
def train(
    stores: Annotated[
        list[str],
        typer.Argument(metavar="STORE...", help="Zarr stores: paths or URLs; the first names it."),
    ],
    config: Annotated[
        str,
        typer.Option(metavar="{runs}|FILE", help="Run configuration.", rich_help_panel=RUN),
    ] = "default",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.", rich_help_panel=RUN),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the run; by default the time.", rich_help_panel=RUN
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Continue this run from its checkpoint.", rich_help_panel=RUN
        ),
    ] = None,
    resume_or_begin: Annotated[
        bool, typer.Option("--resume-or-begin", help=RESUME_OR_BEGIN, rich_help_panel=RUN)
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="Start from this separator's weights.", rich_help_panel=RUN
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar="cpu|cuda", help="Where it trains.", rich_help_panel=MACHINES),
    ] = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            help="Processes that share each step's batches.",
            rich_help_panel=MACHINES,
        ),
    ] = 1,
    cpus_per_worker: Annotated[
        float,
        typer.Option(
            min=0.1, max=MOST, callback=finite, help="Cores of a worker.", rich_help_panel=MACHINES
        ),
    ] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Ray cluster of the workers.", rich_help_panel=MACHINES
        ),
    ] = None,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train one separator and register it; its checkpoint is kept for --resume.

    Where its model has no champion, the linear map is registered first and made it.

    The number of workers changes how fast a result comes, not what it is.
    """
    from dtsinn.workflows.pipeline import train as run

    at, called = Workspace(workspace), choose_name(resume or name, "run")
    try:
        with _TrainingLine(quiet) as line:
            trained = run(
                stores,
                config=config,
                settings=set_ or [],
                name=None if resume else (name if resume_or_begin else called),
                resume=resume,
                resume_or_begin=resume_or_begin,
                init=init,
                device=device,
                workers=workers,
                cpus_per_worker=cpus_per_worker,
                cluster=cluster,
                workspace=at,
                on_report=line.report,
                on_step=line.step,
            )
    except KeyboardInterrupt:
        again = at.command("train", *stores, "--resume", called)
        kept = (at.runs / called).exists()
        console.complain("interrupted" + f"; what was trained is kept; try {again}" * kept)
        raise typer.Exit(130) from None
    reached, version = trained.run, trained.version
    registered = "" if version is None else f", registered as {version.ref}"
    done = "done: " if trained.was_done else ""
    console.say(f"run {reached.key}: {done}{reached.best_psnr:.2f} dB on val{registered}")
    if trained.first_champion is not None:
        from dtsinn.registry.gate.report import say_first_champion

        console.say(say_first_champion(trained.first_champion.ref))
    console.say(f"package: {reached.package}")
    if version is None:
        again = at.command("train", *stores, "--resume", called)
        console.complain(
            f"{reached.undelivered} events are not delivered to MLflow yet; they are kept, and the "
            f"run is not registered yet; try {again} when it answers"
        )
        return
    console.say(f"try: {at.command('evaluate', '--model', version.ref)}", quiet=quiet)


REFRESH_s = 0.5
"""Between two looks at the clock on a live line, s (uncited)."""


class _TrainingLine:
    """A live bar on a terminal; where nobody watches, a line for each validation.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.steps = 0
        """The whole budget, as the training says it."""
        self.first: tuple[int, float] | None = None
        """The step, and the time in s, that this session's pace is counted from."""
        self.shown = 0.0
        self.quality = ""
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            console=console.err,
        )
        self.task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.task is not None:
            self.bar.stop()

    def step(self, step: int, steps: int) -> None:
        """A step of so many is done."""
        self.steps = steps
        now = time.monotonic()
        if self.first is None:
            self.first = step, now
        elif not self.quiet and now - self.shown >= REFRESH_s:
            self.shown = now
            self._draw(step, self._left(step, now))

    def report(self, report: Report) -> None:
        """A validation is done."""
        self.steps = report.steps
        now = time.monotonic()
        if self.quiet:
            return
        metrics = report.metrics
        self.quality = f"{metrics['val_psnr']:.2f} dB on val, " + (
            f"{metrics['samples_per_second']:.1f} samples/s, "
            f"{1000 * metrics['step_seconds']:.0f} ms a step"
            if "step_seconds" in metrics  # what is fitted in closed form takes none
            else f"fitted in {duration(metrics['seconds'])}"
        )
        left = "" if report.finished else self._left(report.step, now)
        if self.first is None:
            self.first = report.step, now
        console.note(f"step {report.step} of {report.steps}: {self.quality}{left}")
        if report.finished and report.step < report.steps:
            console.note(f"ended early: {report.ended}")
        self._draw(report.step, left)

    def _left(self, step: int, now: float) -> str:
        """The remaining time at this session's pace, validations included."""
        if self.first is None or step <= self.first[0]:
            return ""
        pace = (now - self.first[1]) / (step - self.first[0])
        return f", {duration(pace * (self.steps - step))} left"

    def _draw(self, step: int, left: str) -> None:
        pace = f"{self.quality}{left}".removeprefix(", ")
        if self.task is None:
            self.bar.start()  # here, so that a command that refuses its input shows no empty bar
            self.task = self.bar.add_task("training", total=self.steps, pace=pace)
        self.bar.update(self.task, completed=step, total=self.steps, pace=pace)
