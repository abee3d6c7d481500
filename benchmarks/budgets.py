"""``budgets``: PSNR and kinetic error against the CPU seconds of a training.

``python -m benchmarks budgets`` trains for 30, 100 and 600 CPU seconds; a second call goes on where
the first one stopped. The weights are kept, and scored on other suites afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from benchmarks.prepare import WORK
from benchmarks.quality.comparison import Done
from benchmarks.quality.data import DataSet, data_sets
from benchmarks.quality.methods import LINEAR, OURS, TWIN, all_methods
from benchmarks.quality.scores import difference, interval, kinetic, scored, shown, summarise
from benchmarks.report import Result, Say, Seeds, Table, Work, Workers, make_table
from benchmarks.trainings import Wanted, fit_all, found_settings
from benchmarks.workers import Book
from dtsinn.plots.style import INK, SERIES, grid_lines, heading, png, tidy

NAME = "budgets"
BOOK = "budgets.jsonl"
SPECTRAL = "spectral"
WITHOUT_BUDGET = (LINEAR, SPECTRAL)
NETWORKS = (OURS, TWIN, "unet", "residual-cnn")
SEEDS = {30.0: 3, 100.0: 1, 600.0: 3}
"""CPU seconds of a training -> seeds of it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method at a budget, with all its seeds."""

    method: str
    seconds: float
    """0 of what has no budget."""
    runs: list[Done]

    @property
    def title(self) -> str:
        """What tables call it."""
        return all_methods()[self.method].title


def run(
    *,
    seeds: Seeds = 3,
    seconds: Annotated[str, typer.Option(help="Budgets, with commas.")] = "30,100,600",
    work: Work = WORK,
    workers: Workers = 1,
    say: Say,
) -> Result:
    """Train for 30, 100 and 600 CPU seconds; about 2 h 20 min on one core.

    Example: python -m benchmarks budgets --seconds 30 --seeds 1
    """
    budgets = {float(one): min(seeds, SEEDS.get(float(one), seeds)) for one in seconds.split(",")}
    return measure(data_sets()["image"], budgets, work=work, workers=workers, say=say)


def measure(
    data: DataSet, budgets: dict[float, int], *, work: Path, workers: int = 1, say: Say
) -> Result:
    """Train every method for each budget, and report.

    Args:
        data: The set; all of its settings are those that the quality benchmark found there.
        budgets: CPU seconds -> seeds.
        work: Folder of store, book and weights.
        workers: Processes, each on one thread.
        say: Told of what is being done.
    """
    store = data.prepare(work)
    settings = {name: found_settings(name, data.name) for name in (*WITHOUT_BUDGET, *NETWORKS)}

    def want(method: str, seconds: float = 0.0, seed: int = 0) -> Wanted:
        chosen = settings[method][0]
        return Wanted(method=method, data=data.name, settings=chosen, seconds=seconds, seed=seed)

    wanted = [want(method) for method in WITHOUT_BUDGET]
    for seed in range(max(budgets.values())):  # the first seed of everything comes first
        wanted += [
            want(method, seconds, seed)
            for seconds, seeds in sorted(budgets.items())
            for method in NETWORKS
            if seed < seeds
        ]
    done = fit_all(
        wanted, {data.name: store}, book=Book(work / BOOK), work=work, workers=workers, say=say
    )
    rows: dict[tuple[str, float], Row] = {}
    for one, run in zip(wanted, done, strict=True):
        key = (one.method, one.seconds)
        rows.setdefault(key, Row(method=one.method, seconds=one.seconds, runs=[])).runs.append(run)
    return report(data, list(rows.values()), {name: known for name, (_, known) in settings.items()})


def report(data: DataSet, rows: Sequence[Row], known: dict[str, bool]) -> Result:
    """Table, chart and numbers."""
    found = [name for name, on_record in known.items() if on_record]
    others = [name for name, on_record in known.items() if not on_record]
    request = data.request
    return Result(
        name=NAME,
        title="What CPU seconds of training bring",
        notes=[
            f"Data: {data.title.lower()} {request.noise}, {' then '.join(request.tracers)}, "
            f"protocol {request.protocol}, phantom {request.phantom}, population "
            f"{request.population}, {request.size} x {request.size} pixels; 80 subjects train, 12 "
            "choose the weights, 28 test.",
            f"Settings: what the search of the quality benchmark found on this set at 30 CPU s "
            f"({', '.join(found)}); the defaults ({', '.join(others) or 'none'}).",
            "The number of steps of a budget was fixed before by a calibration; the learning rate "
            "falls over all of them. Brackets: 95 % bootstrap intervals over the test subjects, "
            "means over seeds.",
            "kinetic_error, kinetic_bias and worst region: read-outs (V_T, Ki) of the answers "
            "against those of the true images, percent; regions under 60 pixels a subject are "
            "left out.",
        ],
        tables=[_table(rows)],
        data={
            "rows": [
                {
                    "method": row.method,
                    "seconds": row.seconds,
                    **summarise(row.runs),
                    "runs": [
                        {"seed": job.seed, "steps": job.plan.steps}
                        | {name: value for name, value in result.items() if name != "test"}
                        | {
                            name: found["mean"]
                            for name, found in summarise([(job, result)]).items()
                        }
                        for job, result in row.runs
                    ],
                }
                for row in rows
            ]
        },
        pictures={f"{NAME}.png": _chart(rows)},
    )


def _table(rows: Sequence[Row]) -> Table:
    floor = next(row for row in rows if row.method == LINEAR)
    return make_table(
        rows,
        {
            "method": lambda row: row.title,
            "CPU s": lambda row: f"{row.seconds:g}" if row.seconds else "none",
            "measured": lambda row: _mean(row, "cpu_seconds"),
            "steps": lambda row: str(row.runs[0][0].plan.steps),
            "seeds": lambda row: str(len(row.runs)),
            "PSNR dB": lambda row: shown(interval(row.runs, "psnr")),
            "over linear dB": lambda row: shown(difference(row.runs, floor.runs), sign="+"),
            "kinetic_error %": lambda row: shown(kinetic(row.runs, "kinetic_error"), 1),
            "kinetic_bias %": lambda row: shown(kinetic(row.runs, "kinetic_bias"), 1),
            "worst region %": lambda row: shown(kinetic(row.runs, "worst_error"), 1),
        },
    )


def _mean(row: Row, name: str) -> str:
    return f"{sum(result[name] for _, result in row.runs) / len(row.runs):.0f}"


def _chart(rows: Sequence[Row]) -> bytes:
    """PSNR and kinetic error over CPU seconds as PNG; what has no budget is a level line."""
    figure = Figure(figsize=(10.0, 4.2))
    figure.subplots_adjust(left=0.07, right=0.76, top=0.84, bottom=0.14, wspace=0.22)
    panels = figure.subplots(1, 2)
    methods = list(dict.fromkeys(row.method for row in rows if row.runs and scored(row.runs)))
    budgets = sorted({row.seconds for row in rows if row.seconds})
    for axes, label in zip(panels, ("PSNR, dB", "kinetic_error, %"), strict=True):
        for place, method in enumerate(methods):
            own = [row for row in rows if row.method == method and scored(row.runs)]
            points = [
                interval(row.runs, "psnr") if label.startswith("PSNR")
                else kinetic(row.runs, "kinetic_error")
                for row in own
            ]  # fmt: skip
            colour, title = SERIES[place % len(SERIES)], own[0].title
            marks = [(row.seconds, one) for row, one in zip(own, points, strict=True) if one]
            if method in WITHOUT_BUDGET:
                for _, one in marks:
                    axes.axhline(one.mean, ls="--", lw=1.5, color=colour, label=title)
                continue
            axes.plot(
                [s for s, _ in marks], [one.mean for _, one in marks],
                "o-", color=colour, lw=1.8, ms=6, label=title,
            )  # fmt: skip
            for s, one in marks:
                if one.low is not None and one.high is not None:
                    axes.plot([s, s], [one.low, one.high], color=colour, lw=1, alpha=0.7)
        axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{one:g}" for one in budgets])
        axes.minorticks_off()
        axes.set_xlabel("CPU seconds of training", fontsize=9.5, color=INK)
        axes.set_ylabel(label, fontsize=9.5, color=INK)
        grid_lines(axes, "y")
        tidy(axes)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="center left", bbox_to_anchor=(0.77, 0.5), frameon=False, fontsize=9,
    )  # fmt: skip
    heading(
        figure,
        "What CPU seconds of training bring",
        "means over seeds and test subjects; bars: 95 % intervals over subjects",
    )
    return png(figure, dpi=150)
