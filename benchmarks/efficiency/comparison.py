"""The methods that search, compared on a table: how much sooner does each get there?"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import optuna
import torch
import typer
from matplotlib.figure import Figure
from optuna.pruners import BasePruner, HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from benchmarks.efficiency.curves import FIRST, PROBLEMS, REPORTS, STEPS_OF_REPORT, CurveTable, load
from benchmarks.efficiency.simulate import WORKERS, Decide, Trace, parameters_of, search
from benchmarks.report import Result, Say, Seeds, Table, Workers, make_table
from benchmarks.workers import make_pool
from dtsinn.core.seeds import generator
from dtsinn.plots.style import png
from dtsinn.search.sampling.halving import BRACKETS, FIRST_PART, REDUCTION, Halving
from dtsinn.search.sampling.samplers import make_sampler

TRAINING = REPORTS * STEPS_OF_REPORT
"""Steps of a whole training."""
TRIALS = 100
"""Trials of random search."""
BUDGET = TRIALS * TRAINING
"""Steps of all its trials."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to search."""

    name: str
    sampler: Callable[[CurveTable, int], BaseSampler]
    """Made of the table, whose grid is the space, and a seed."""
    decide: Callable[[optuna.Study], Decide] | None = None
    pruner: Callable[[], BasePruner] | None = None


def product(name: str) -> Callable[[CurveTable, int], BaseSampler]:
    """A sampler of the product with its own settings, for a search of as many trials as random."""
    return lambda table, seed: make_sampler(name, parameters_of(table), trials=TRIALS, seed=seed)


def halving(*, first: float, reduction: float, brackets: int = 1) -> Callable[..., Decide]:
    """The product's halving; ``first`` is the first rung as a part of a training."""

    def made(study: optuna.Study) -> Decide:
        rungs = Halving(
            first=round(first * TRAINING), most=TRAINING, reduction=reduction, brackets=brackets
        )
        return lambda trial, step, value: rungs.goes_on(
            str(trial.number), trial.number, step, value
        )

    return made


def optuna_decides(study: optuna.Study) -> Decide:
    """What Optuna's own pruner says."""
    return lambda trial, step, value: not trial.should_prune()


def hyperband() -> BasePruner:
    """Optuna's Hyperband with its defaults, over the reports of a training."""
    return HyperbandPruner(min_resource=STEPS_OF_REPORT, max_resource=TRAINING, reduction_factor=3)


RANDOM = "random"
KEEN, THIRD = 1 / 27, 1 / 3

_ALL = (
    Method(name=RANDOM, sampler=lambda table, seed: RandomSampler(seed=seed)),
    Method(
        name="random + ASHA from 1/27",
        sampler=lambda table, seed: RandomSampler(seed=seed),
        decide=halving(first=KEEN, reduction=3),
    ),
    Method(
        name="random + ASHA from 1/3",
        sampler=lambda table, seed: RandomSampler(seed=seed),
        decide=halving(first=THIRD, reduction=3),
    ),
    Method(name="Optuna's TPE", sampler=lambda table, seed: TPESampler(seed=seed)),
    Method(
        name="Optuna's TPE + Hyperband",
        sampler=lambda table, seed: TPESampler(seed=seed),
        decide=optuna_decides,
        pruner=hyperband,
    ),
    Method(
        name="gp",
        sampler=product("gp"),
    ),
    Method(
        name="tpe + halving from 2/3",
        sampler=product("tpe"),
        decide=halving(first=FIRST_PART, reduction=REDUCTION, brackets=BRACKETS),
    ),
)
METHODS = {method.name: method for method in _ALL}
JUDGED = "tpe + halving from 2/3"
"""The default of the product."""
SHOWN = (RANDOM, "random + ASHA from 1/3", "Optuna's TPE", "Optuna's TPE + Hyperband", JUDGED)
"""In the picture."""
SLOW = ("gp",)
"""Takes longer than all others together."""


RESAMPLES = 4000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A method on a table; steps are counted in whole trainings."""

    method: str
    steps: tuple[float, float, float]
    """Lower quartile, median and upper quartile of what it takes to reach the target; what did
    not reach it counts as the whole budget."""
    reached: int
    """Searches that reached the target within random's budget."""
    searches: int
    speed_up: tuple[float, float, float]
    """Random's steps over the method's, paired by seed: geometric mean, and the ends of its 95 %
    bootstrap interval."""
    middle: float
    """Random's median steps over the method's median steps."""
    best: float
    """Median test PSNR of the incumbent after ``early`` steps, dB."""
    trials: float
    """Trials begun, mean."""
    finished: float
    """Trials that spent their budget, mean."""


def target_of(traces: Sequence[Trace], budget: int) -> float:
    """Random's own final best: the median over its searches of the test PSNR at the end, dB."""
    return float(np.median([trace.at(budget) for trace in traces]))


def steps_to(traces: Sequence[Trace], target: float, cap: int) -> Floats:
    """Steps to the target, one value per search; ``cap`` where it was not reached."""
    reached = [trace.reach(target) for trace in traces]
    return np.array([cap if steps is None else min(steps, cap) for steps in reached], dtype=float)


def judge(
    method: str,
    traces: Sequence[Trace],
    of_random: Sequence[Trace],
    *,
    target: float,
    budget: int,
    training: int,
    early: int,
) -> Verdict:
    """Compare the searches of a method with those of random, seed by seed.

    Args:
        method: Its name.
        traces: Its searches of random's budget, one per seed.
        of_random: Random's, with as many seeds, of twice its budget.
        target: Test PSNR to reach, dB.
        budget: Steps of a whole search of random's.
        training: Steps of a whole training.
        early: Steps that every search spends.
    """
    own = steps_to(traces, target, 2 * budget if traces is of_random else budget)
    random = steps_to(of_random, target, 2 * budget)
    logs = np.log(random / own)
    draws = generator("efficiency", "bootstrap").integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), (0.025, 0.975))
    quartiles = np.quantile(own, (0.25, 0.5, 0.75)) / training
    return Verdict(
        method=method,
        steps=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
        reached=sum((trace.reach(target) or 2 * budget) <= budget for trace in traces),
        searches=len(traces),
        speed_up=(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))),
        middle=float(np.median(random) / np.median(own)),
        best=float(np.median([trace.at(early) for trace in traces])),
        trials=float(np.mean([trace.trials for trace in traces])),
        finished=float(np.mean([trace.finished for trace in traces])),
    )


LEAST = 30 * TRAINING
"""Steps that every search spends: where the picture ends."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the methods did on a table."""

    table: str
    target: float
    """Random's own final best, dB."""
    traces: Mapping[str, Sequence[Trace]]
    """By method; random's have twice the budget, others end when they are at the target."""
    verdicts: Sequence[Verdict]
    twice: float
    """Random's final best with twice the budget, dB."""


def compare(
    table: str, folder: Path, names: Sequence[str], seeds: int, *, workers: int, say: Say
) -> Comparison:
    """Search with every method and seed on the table in ``folder``, and judge."""
    with make_pool(workers) as pool:
        random = _searches(pool, table, folder, RANDOM, seeds, math.inf)
        target = target_of(random, BUDGET)
        traces = {RANDOM: random}
        for name in names:
            if name != RANDOM:
                traces[name] = _searches(pool, table, folder, name, seeds, target)
                say(f"{table}: {name} has searched {seeds} times")
    verdicts = [
        judge(name, found, random, target=target, budget=BUDGET, training=TRAINING, early=LEAST)
        for name, found in traces.items()
    ]
    return Comparison(
        table=table,
        target=target,
        traces=traces,
        verdicts=verdicts,
        twice=target_of(random, 2 * BUDGET),
    )


def _searches(
    pool: Executor, table: str, folder: Path, name: str, seeds: int, target: float
) -> list[Trace]:
    one = functools.partial(_search, table, folder, name, target)
    return list(pool.map(one, range(seeds)))


def _search(table: str, folder: Path, name: str, target: float, seed: int) -> Trace:
    """One search, in a process of its own."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    method, curves = METHODS[name], load(table, folder)
    return search(
        curves,
        method.sampler(curves, seed),
        method.decide,
        budget=2 * BUDGET if name == RANDOM else BUDGET,
        pruner=method.pruner() if method.pruner else None,
        name=f"seed {seed}",
        target=target,
        least=LEAST,
    )


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
