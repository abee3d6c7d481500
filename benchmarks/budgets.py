"""``budgets``: PSNR and kinetic error against the CPU seconds of a training.

``python -m benchmarks budgets`` trains for 30, 100 and 600 CPU seconds; a second call goes on where
the first one stopped. The weights are kept, and scored on other suites afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.prepare import WORK, prepare_store
from benchmarks.quality.comparison import Done, Job
from benchmarks.quality.data import DataSet, data_sets
from benchmarks.quality.methods import (
    CASCADE,
    FROM_LINEAR,
    LATENT,
    LINEAR,
    OURS,
    TWIN,
    NetworkMethod,
    all_methods,
)
from benchmarks.quality.scores import difference, interval, kinetic, shown, summarise
from benchmarks.report import Result, Say, Seeds, Table, Work, Workers, make_table
from benchmarks.trainings import Wanted, fit_all, found_settings, run_jobs
from benchmarks.workers import Book
from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.evaluation.suite import SPLIT, Suite, cells_of, load_suite
from dtsinn.plots.style import INK, SERIES, grid_lines, heading, png, tidy
from dtsinn.training.package import separator_info

NAME = "budgets"
BOOK = "budgets.jsonl"
SPECTRAL = "spectral"
WITHOUT_BUDGET = (LINEAR, SPECTRAL, CASCADE)
NETWORKS = (OURS, LATENT, TWIN, *FROM_LINEAR, *(f"{kind}-linear" for kind in FROM_LINEAR))
SUITES = "own,stress"
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


Cells = dict[str, list[Row]]
"""Rows of each cell of a suite, by its key."""


def run(
    *,
    seeds: Seeds = 3,
    seconds: Annotated[str, typer.Option(help="Budgets, with commas.")] = "30,100,600",
    suites: Annotated[str, typer.Option(help="Suites, with commas; empty only trains.")] = SUITES,
    methods: Annotated[str, typer.Option(help="Networks, with commas.")] = ",".join(NETWORKS),
    work: Work = WORK,
    workers: Workers = 1,
    say: Say,
) -> Result:
    """Train for 30, 100 and 600 CPU seconds, then score suites; about 3 h on one core.

    Example: python -m benchmarks budgets --seconds 30 --seeds 1
    """
    budgets = {float(one): min(seeds, SEEDS.get(float(one), seeds)) for one in seconds.split(",")}
    asked = [load_suite(name) for name in suites.split(",") if name]
    networks = [name for name in methods.split(",") if name]
    data = data_sets()["image"]
    return measure(data, budgets, asked, networks, work=work, workers=workers, say=say)


def measure(
    data: DataSet,
    budgets: dict[float, int],
    suites: Sequence[Suite],
    networks: Sequence[str] = NETWORKS,
    *,
    work: Path,
    workers: int = 1,
    say: Say,
) -> Result:
    """Train every method for each budget, score the suites, and report.

    Args:
        data: The set; all of its settings are those that the quality benchmark found there.
        budgets: CPU seconds -> seeds.
        suites: What the kept networks are scored on beside the test subjects.
        networks: Those that have budgets.
        work: Folder of store, book and weights.
        workers: Processes, each on one thread.
        say: Told of what is being done.
    """
    store = data.prepare(work)
    settings = {name: found_settings(name, data.name) for name in (*WITHOUT_BUDGET, *networks)}

    def want(method: str, seconds: float = 0.0, seed: int = 0) -> Wanted:
        chosen = settings[method][0]
        return Wanted(method=method, data=data.name, settings=chosen, seconds=seconds, seed=seed)

    wanted = [want(method) for method in WITHOUT_BUDGET]
    for seed in range(max(budgets.values())):  # the first seed of everything comes first
        wanted += [
            want(method, seconds, seed)
            for seconds, seeds in sorted(budgets.items())
            for method in networks
            if seed < seeds
        ]
    book = Book(work / BOOK)
    stores = {data.name: store}
    done = fit_all(wanted, stores, book=book, work=work, workers=workers, say=say)
    rows = _rows(done)
    cells = {
        suite.name: score_suite(suite, rows, store, book, work=work, workers=workers, say=say)
        for suite in suites
    }
    return report(data, rows, cells, {name: known for name, (_, known) in settings.items()})


def _rows(done: Sequence[Done]) -> list[Row]:
    """Trainings by method and budget, in the order in which these first come."""
    rows: dict[tuple[str, float], Row] = {}
    for job, result in done:
        key = (job.method, job.parameters["seconds"])
        row = rows.setdefault(key, Row(method=key[0], seconds=key[1], runs=[]))
        row.runs.append((job, result))
    return list(rows.values())


def score_suite(
    suite: Suite,
    rows: Sequence[Row],
    store: Store,
    book: Book,
    *,
    work: Path,
    workers: int,
    say: Say,
) -> Cells:
    """Score what was trained on the cells of a suite; what the book knows is not done again.

    Args:
        suite: Its ``own`` is the pair, protocol and phantom of the training.
        rows: Trainings that left their weights.
        store: That they were trained on.
        book: Where scores are recorded.
        work: Folder of stores and weights.
        workers: Processes, each on one thread.
        say: Told of what is being done.
    """
    method = all_methods()[LINEAR]
    (job, _), *_ = next(row.runs for row in rows if row.method == LINEAR)
    if not isinstance(method, NetworkMethod):
        raise RunError(f"{LINEAR} is no network")
    state = method.restore(store, job.settings, Path(job.weights))
    info = separator_info(state, store.header, NAME)
    found: dict[str, list[Done]] = {}
    jobs: list[Job] = []
    for cell in cells_of(suite, info, Workspace(work)):
        if cell.request is None:
            say(f"{cell.key}: {cell.reason}")
            continue
        say(f"data: suite {suite.name}, {cell.key}")
        made = prepare_store(f"{suite.name}-{cell.key}", cell.request, work, {SPLIT: 1.0})
        jobs += [
            replace(
                one,
                task="unseen",
                data=f"{suite.name}: {cell.key}",
                store=made.header.path,
                digest=made.header.digest,
                of=one.key,
            )
            for row in rows
            for one, result in row.runs
            if result["test"]
        ]
    for one in run_jobs(jobs, book, workers=workers, say=say):
        found.setdefault(one[0].data.removeprefix(f"{suite.name}: "), []).append(one)
    return {key: _rows(scores) for key, scores in found.items()}


def report(
    data: DataSet, rows: Sequence[Row], suites: Mapping[str, Cells], known: dict[str, bool]
) -> Result:
    """Tables, chart and numbers."""
    found = [name for name, on_record in known.items() if on_record]
    others = [name for name, on_record in known.items() if not on_record]
    request = data.request
    sets = {"test subjects": list(rows)} | {
        f"suite {name}": _pool(cells) for name, cells in suites.items() if cells
    }
    tables = [_table(name, own) for name, own in sets.items()]
    for name, cells in suites.items():
        tables += [_cells_table(name, cells, metric) for metric in ("psnr", "kinetic_error")]
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
            "falls over all of them. Measured: other work on the machine lengthens the seconds and "
            "does not change the scores. Brackets: 95 % bootstrap intervals over subjects, means "
            "over seeds.",
            "kinetic_error, kinetic_bias and worst region: read-outs (V_T, Ki) of the answers "
            "against those of the true images, percent; regions under 60 pixels a subject "
            "and those of fewer than five subjects are left out.",
            "Suites: all their cells together, each subject counting once; then PSNR (dB) and "
            "kinetic_error (%) by cell. The linear map is the one fitted to the training subjects.",
        ],
        tables=[table for table in tables if table.rows],
        data={
            "rows": [
                _numbers(row)
                | {
                    "runs": [
                        {"seed": job.seed, "steps": job.plan.steps}
                        | {name: value for name, value in result.items() if name != "test"}
                        | {name: one["mean"] for name, one in summarise([(job, result)]).items()}
                        for job, result in row.runs
                    ]
                }
                for row in rows
            ],
            "suites": {
                name: {key: [_numbers(row) for row in own] for key, own in cells.items()}
                for name, cells in suites.items()
            },
        },
        pictures={f"{NAME}.png": _chart(sets)},
    )


def _numbers(row: Row) -> dict[str, Any]:
    return {"method": row.method, "seconds": row.seconds, **summarise(row.runs)}


def _pool(cells: Cells) -> list[Row]:
    """Rows whose subjects are those of all cells together, run by run."""
    pooled: dict[str, tuple[Job, list[list[dict[str, Any]]]]] = {}
    for rows in cells.values():
        for row in rows:
            for job, result in row.runs:
                pooled.setdefault(job.of, (job, []))[1].append(result["test"])
    return _rows(
        [
            # One cell without finite answers leaves nothing to compare.
            (job, {"test": [one for part in parts for one in part] if all(parts) else []})
            for job, parts in pooled.values()
        ]
    )


def _cells_table(suite: str, cells: Cells, metric: Literal["psnr", "kinetic_error"]) -> Table:
    """A row for each method and budget, a column for each cell."""
    rows: dict[tuple[str, float], list[str]] = {}
    for own in cells.values():
        for row in own:
            found = summarise(row.runs).get(metric)
            first = f"{row.title}, {row.seconds:g} s" if row.seconds else row.title
            text = "none" if found is None else f"{found['mean']:.1f}"
            rows.setdefault((row.method, row.seconds), [first]).append(text)
    return Table(
        title=f"Suite {suite}: {'PSNR, dB' if metric == 'psnr' else 'kinetic_error, %'}, by cell",
        columns=["method", *cells],
        rows=list(rows.values()),
    )


def _table(name: str, rows: Sequence[Row]) -> Table:
    floor = next(row for row in rows if row.method == LINEAR)
    trained = all("cpu_seconds" in result for row in rows for _, result in row.runs)
    return make_table(
        rows,
        {
            "method": lambda row: row.title,
            "CPU s": lambda row: f"{row.seconds:g}" if row.seconds else "none",
            **({"measured": lambda row: _mean(row, "cpu_seconds")} if trained else {}),
            "steps": lambda row: str(row.runs[0][0].plan.steps),
            "seeds": lambda row: str(len(row.runs)),
            "PSNR dB": lambda row: shown(interval(row.runs, "psnr")),
            "over linear dB": lambda row: shown(difference(row.runs, floor.runs), sign="+"),
            "kinetic_error %": lambda row: shown(kinetic(row.runs, "kinetic_error"), 1),
            "kinetic_bias %": lambda row: shown(kinetic(row.runs, "kinetic_bias"), 1),
            "worst region %": lambda row: shown(kinetic(row.runs, "worst_error"), 1),
        },
        name.capitalize(),
    )


def _mean(row: Row, name: str) -> str:
    return f"{sum(result[name] for _, result in row.runs) / len(row.runs):.0f}"


def _chart(sets: Mapping[str, Sequence[Row]]) -> bytes:
    """PSNR and kinetic error over CPU seconds as PNG, a row of panels for each set of subjects."""
    height = 2.7 * len(sets) + 1.9
    figure = Figure(figsize=(10.0, height))
    figure.subplots_adjust(
        left=0.09, right=0.98, top=1 - 0.75 / height, bottom=1.15 / height, wspace=0.2, hspace=0.2
    )
    panels = figure.subplots(len(sets), 2, squeeze=False)
    for (name, rows), line in zip(sets.items(), panels, strict=True):
        for axes, metric, label in zip(
            line, ("psnr", "kinetic_error"), ("PSNR, dB", "kinetic_error, %"), strict=True
        ):
            _draw(axes, rows, metric)
            axes.set_ylabel(f"{label}\n{name}", fontsize=9.5, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("CPU seconds of training", fontsize=9.5, color=INK)
    figure.legend(
        *panels[0][0].get_legend_handles_labels(),
        loc="lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    heading(
        figure,
        "What CPU seconds of training bring",
        "means over seeds and subjects; bars: 95 % intervals over subjects",
    )
    return png(figure, dpi=150)


def _draw(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    """Draw one number over CPU seconds; what has no budget is a level line."""
    for place, method in enumerate((*WITHOUT_BUDGET, *NETWORKS)):
        own = [row for row in rows if row.method == method]
        found = [(row, summarise(row.runs).get(metric)) for row in own]
        points = [(row.seconds, one) for row, one in found if one is not None]
        colour = SERIES[place % len(SERIES)]
        if not points:
            continue
        if method in WITHOUT_BUDGET:
            level = points[0][1]["mean"]
            axes.axhline(level, ls="--", lw=1.5, color=colour, label=own[0].title)
            continue
        seconds = [s for s, _ in points]
        means = [one["mean"] for _, one in points]
        axes.plot(seconds, means, "o-", color=colour, lw=1.8, ms=6, label=own[0].title)
        for s, one in points:
            if one["low"] is not None:
                axes.plot([s, s], [one["low"], one["high"]], color=colour, lw=1, alpha=0.7)
    budgets = sorted({row.seconds for row in rows if row.seconds})
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{one:g}" for one in budgets])
    axes.minorticks_off()
    grid_lines(axes, "y")
    tidy(axes)
