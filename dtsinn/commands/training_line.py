"""The line of a training: how far it is, how fast, how long still, and how good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from dtsinn.core.display import duration
from dtsinn.workflows import console

if TYPE_CHECKING:
    from dtsinn.training.loop import Report

REFRESH_s = 0.5
"""Between two looks at the clock on a live line, s (uncited)."""


class TrainingLine:
    """A live bar on a terminal; where nobody watches, a line for each validation.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.steps = 0
        """The whole budget, as the training says it."""
        self.first: tuple[int, float] | None = None
        """The step, and the time in s, that this sitting's pace is counted from."""
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
        self.quality = (
            f"{metrics['val_psnr']:.2f} dB on val, {metrics['samples_per_second']:.1f} samples/s, "
            f"{1000 * metrics['step_seconds']:.0f} ms a step"
        )
        left = "" if report.finished else self._left(report.step, now)
        if self.first is None:
            self.first = report.step, now
        console.note(f"step {report.step} of {report.steps}: {self.quality}{left}")
        if report.finished and report.step < report.steps:
            console.note(f"ended early: {report.ended}")
        self._draw(report.step, left)

    def _left(self, step: int, now: float) -> str:
        """The remaining time at this sitting's pace, validations included."""
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
