"""The results of the simulation: tables, notes and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks.efficiency.chart import regret_chart
from benchmarks.efficiency.contest import LEAST, Contest
from benchmarks.efficiency.judge import Verdict
from benchmarks.efficiency.lineup import JUDGED, RANDOM, SHOWN
from benchmarks.efficiency.methods import TRAINING, TRIALS
from benchmarks.efficiency.problem import FIRST, PROBLEMS, REPORTS
from benchmarks.efficiency.simulate import WORKERS
from benchmarks.efficiency.table import CurveTable
from benchmarks.machine import describe_machine
from benchmarks.report import Result, Table

NAME = "efficiency"


def report(contests: Sequence[Contest], tables: Mapping[str, CurveTable], seeds: int) -> Result:
    """What was found on all tables."""
    panels = {
        PROBLEMS[one.table].title: (
            {name: one.traces[name] for name in SHOWN if name in one.traces},
            float(np.nanmax(tables[one.table].curves.test_PR)),
            one.target,
        )
        for one in contests
    }
    picture = regret_chart(panels, training=TRAINING, trainings=LEAST // TRAINING)
    return Result(
        name=NAME,
        title="How much sooner a search gets there",
        machine=describe_machine(),
        notes=_notes(contests, tables, seeds),
        tables=[_verdicts(one, tables[one.table]) for one in contests],
        data={
            one.table: {
                "target": one.target,
                "random_twice": one.twice,
                "points": len(tables[one.table].problem.points),
                "methods": [asdict(verdict) for verdict in one.verdicts],
            }
            for one in contests
        },
        pictures={f"{NAME}.png": picture},
    )


def _verdicts(one: Contest, table: CurveTable) -> Table:
    problem = PROBLEMS[one.table]
    purpose = "chosen on" if problem is FIRST else "judged on"
    return Table(
        title=(
            f"{problem.title} ({purpose}, {len(table.problem.points)} points); "
            f"target {one.target:.2f} dB"
        ),
        columns=[
            "method",
            "speed-up [95 %]",
            "trainings to the target [quartiles]",
            "ratio of medians",
            f"reached within {TRIALS}",
            f"PSNR dB after {LEAST // TRAINING}",
            "trials, finished",
        ],
        rows=[_row(verdict) for verdict in one.verdicts],
    )


def _row(verdict: Verdict) -> list[str]:
    mean, low, high = verdict.speed_up
    lower, middle, upper = verdict.steps
    name = f"**{verdict.method}**" if verdict.method == JUDGED else verdict.method
    own = verdict.method == RANDOM
    bound = "at most " if 2 * verdict.reached < verdict.searches else ""
    return [
        name,
        "1" if own else f"{bound}{mean:.2f} [{low:.2f}, {high:.2f}]",
        f"{middle:.0f} [{lower:.0f}, {upper:.0f}]",
        "1" if own else f"{verdict.middle:.2f}",
        f"{verdict.reached} of {verdict.searches}",
        f"{verdict.best:.2f}",
        f"{verdict.trials:.0f}, {verdict.finished:.0f}",
    ]


def noise_of(table: CurveTable) -> float:
    """Standard deviation over seeds of the final ``val`` PSNR, dB; the median of the points."""
    rows = list(table.repeated)
    seeds = [table.curves.val_PR[rows, -1], *(more.val_PR[:, -1] for more in table.more)]
    spread_P = np.std(np.stack(seeds), axis=0, ddof=1)
    return float(np.nanmedian(spread_P))


def _notes(contests: Sequence[Contest], tables: Mapping[str, CurveTable], seeds: int) -> list[str]:
    seconds = np.nanmedian(
        np.concatenate([table.curves.seconds_PR[:, -1] for table in tables.values()])
    )
    twice = ", ".join(f"{one.twice:.2f} dB" for one in contests)
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
