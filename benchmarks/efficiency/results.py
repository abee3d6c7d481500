"""The results of the simulation: tables, notes and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure

from benchmarks.efficiency.comparison import (
    JUDGED,
    LEAST,
    METHODS,
    RANDOM,
    SHOWN,
    SLOW,
    TRAINING,
    TRIALS,
    Comparison,
    Verdict,
    compare,
)
from benchmarks.efficiency.curves import FIRST, PROBLEMS, REPORTS
from benchmarks.efficiency.simulate import WORKERS, Trace
from benchmarks.efficiency.table import CurveTable, load
from benchmarks.report import Result, Say, Seeds, Table, Workers, make_table
from dtsinn.plots.style import png

RESULTS = Path(__file__).parents[1] / "results"


def run(
    *,
    seeds: Seeds = 30,
    workers: Workers = 2,
    slow: Annotated[bool, typer.Option(help="With the Gaussian process: minutes more.")] = False,
    tables: Annotated[Path, typer.Option(help="Where the tables are.")] = RESULTS,
    say: Say,
) -> Result:
    """Search on the kept tables with every method; how much sooner does each get there?"""
    methods = [name for name in METHODS if slow or name not in SLOW]
    comparisons = [
        compare(name, tables, methods, seeds, workers=workers, say=say) for name in PROBLEMS
    ]
    return report(comparisons, {name: load(name, tables) for name in PROBLEMS}, seeds)


def report(
    comparisons: Sequence[Comparison], tables: Mapping[str, CurveTable], seeds: int
) -> Result:
    """What was found on all tables."""
    panels = {
        PROBLEMS[one.table].title: (
            {name: one.traces[name] for name in SHOWN if name in one.traces},
            float(np.nanmax(tables[one.table].curves.test_PR)),
            one.target,
        )
        for one in comparisons
    }
    picture = regret_chart(panels, training=TRAINING, trainings=LEAST // TRAINING)
    return Result(
        name="efficiency",
        title="How much sooner a search gets there",
        notes=_notes(comparisons, tables, seeds),
        tables=[_verdicts(one, tables[one.table]) for one in comparisons],
        data={
            one.table: {
                "target": one.target,
                "random_twice": one.twice,
                "points": len(tables[one.table].problem.points),
                "methods": [asdict(verdict) for verdict in one.verdicts],
            }
            for one in comparisons
        },
        pictures={"efficiency.png": picture},
    )


def _verdicts(one: Comparison, table: CurveTable) -> Table:
    problem = PROBLEMS[one.table]
    purpose = "chosen on" if problem is FIRST else "judged on"
    return make_table(
        one.verdicts,
        {
            "method": lambda v: f"**{v.method}**" if v.method == JUDGED else v.method,
            "speed-up [95 %]": _speed_up,
            "trainings to the target [quartiles]": lambda v: "{1:.0f} [{0:.0f}, {2:.0f}]".format(
                *v.steps
            ),
            "ratio of medians": lambda v: "1" if v.method == RANDOM else f"{v.middle:.2f}",
            f"reached within {TRIALS}": lambda v: f"{v.reached} of {v.searches}",
            f"PSNR dB after {LEAST // TRAINING}": lambda v: f"{v.best:.2f}",
            "trials, finished": lambda v: f"{v.trials:.0f}, {v.finished:.0f}",
        },
        f"{problem.title} ({purpose}, {len(problem.points)} points); target {one.target:.2f} dB",
    )


def _speed_up(verdict: Verdict) -> str:
    if verdict.method == RANDOM:
        return "1"
    bound = "at most " if 2 * verdict.reached < verdict.searches else ""
    return bound + "{:.2f} [{:.2f}, {:.2f}]".format(*verdict.speed_up)


def noise_of(table: CurveTable) -> float:
    """Standard deviation over seeds of the final ``val`` PSNR, dB; the median of the points."""
    rows = list(table.repeated)
    seeds = [table.curves.val_PR[rows, -1], *(more.val_PR[:, -1] for more in table.more)]
    spread_P = np.std(np.stack(seeds), axis=0, ddof=1)
    return float(np.nanmedian(spread_P))


def _notes(
    comparisons: Sequence[Comparison], tables: Mapping[str, CurveTable], seeds: int
) -> list[str]:
    seconds = np.nanmedian(
        np.concatenate([table.curves.seconds_PR[:, -1] for table in tables.values()])
    )
    twice = ", ".join(f"{one.twice:.2f} dB" for one in comparisons)
    notes = [
        f"Every point of a grid was trained once, {TRAINING} steps on 32 x 32 pixels "
        f"({seconds:.1f} CPU s, the median) with {REPORTS} reports; searches are simulated over "
        f"these curves with {WORKERS} workers, {seeds} seeds a method. Samplers and halving are "
        "the product's own.",
        f"Target: the median over seeds of what random search has after {TRIALS} whole trainings, "
        "as test PSNR of the incumbent, which is chosen by its val PSNR. Steps are those of all "
        "trials, counted in whole trainings.",
        "Speed-up: random's own steps to the target over the method's, paired by seed; geometric "
        f"mean with its bootstrap interval. A search has the steps of {TRIALS} trainings, which "
        "count where it did not reach the target; random has twice as many, to be timed.",
        f"Random with twice the budget ends at {twice}.",
        "Settings were chosen on the first table only. A point that a sampler asks for again is "
        "trained again, with the same result.",
    ]
    repeated = [table for table in tables.values() if table.repeated]
    return notes + [
        f"Training noise: {noise_of(table):.2f} dB, the standard deviation over "
        f"{1 + len(table.more)} training seeds of the final val PSNR (median of "
        f"{len(table.repeated)} points of {table.problem.name}); searches see seed 0 only."
        for table in repeated
    ]


SMALLEST = 0.003
"""Regret in dB at which the axis ends: zero has no place on a logarithmic one."""


def regret_chart(
    panels: Mapping[str, tuple[Mapping[str, Sequence[Trace]], float, float]],
    *,
    training: int,
    trainings: int,
) -> bytes:
    """A panel per table: median regret of each method with its quartiles; as PNG.

    Args:
        panels: Title -> searches by method, the table's best test PSNR and the target, dB.
        training: Steps of a whole training.
        trainings: Where the axis of steps ends, in whole trainings.
    """
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    for axes, (title, (methods, best, target)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        grid = np.linspace(1, trainings, 4 * trainings)
        for number, (name, traces) in enumerate(methods.items()):
            regret = np.array(
                [[best - trace.at(int(x * training)) for x in grid] for trace in traces]
            )
            low, middle, high = np.quantile(np.clip(regret, SMALLEST, None), (0.25, 0.5, 0.75), 0)
            color = f"C{number}"
            axes.plot(grid, middle, color=color, label=name, linewidth=1.6)
            axes.fill_between(grid, low, high, color=color, alpha=0.1, linewidth=0)
        axes.axhline(best - target, color="0.4", linestyle=":", label="random's final best")
        axes.set(
            title=title,
            xlabel="steps of all trials, in whole trainings",
            ylabel="test PSNR below the table's best, dB",
            yscale="log",
            xlim=(1, trainings),
            ylim=(SMALLEST, 5),
        )
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    return png(figure)
