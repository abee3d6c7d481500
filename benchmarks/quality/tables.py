"""What was measured, as tables, notes, charts and plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer
from matplotlib.figure import Figure

from benchmarks.chart import X_LABEL, draw_dots, frame_rows
from benchmarks.prepare import WORK
from benchmarks.quality.comparison import FEW_SUBJECTS, Budget, Done, Entry, SetResults, measure
from benchmarks.quality.data import UNSEEN_LEVELS, data_sets
from benchmarks.quality.method import FACTORS, LEARNING_RATE, ROUNDS, STARTUP, Cost
from benchmarks.quality.methods import LINEAR, OURS, RECIPE, TWIN, all_methods
from benchmarks.quality.scores import (
    Statistic,
    difference,
    interval,
    kinetic,
    scored,
    shown,
    values,
)
from benchmarks.report import Result, Say, Seeds, T, Table, Trials, Work, Workers, make_table
from dtsinn.core.errors import InputError
from dtsinn.plots.style import INK, SERIES, heading, png

NAME = "quality"
OVER_RIVAL = 0.5
"""dB by which ours is to lead the best rival, with an interval above 0."""
OVER_PUBLISHED = 12.0
"""dB by which ours is to lead the published recipe on the first set."""
NONE = "none"
LINK, BAND = "#c9d2dc", "#eef4fb"
"""Colours of what joins the tracers of a method, and of what lies behind ours."""
Column = Callable[[Entry], str]


def run(
    *,
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training.")] = 30,
    trials: Trials = 8,
    seeds: Seeds = 3,
    workers: Workers = 2,
    methods: Annotated[str, typer.Option(help="Names, with commas; all by default.")] = "",
    sets: Annotated[str, typer.Option(help="Names of data, with commas; all by default.")] = "",
    work: Work = WORK,
    say: Say,
) -> Result:
    """Give every method the same search and the same seeds; under an hour on two cores.

    Example: python -m benchmarks quality --seconds 3 --trials 2 --seeds 1 --methods unet,dtsinn
    """
    chosen, data = choose(methods, all_methods(), "method"), choose(sets, data_sets(), "set")
    budget = Budget(seconds=seconds, trials=trials, seeds=seeds)
    results = measure(chosen, list(data.values()), budget, work=work, workers=workers, say=say)
    return report(results, budget)


def choose(given: str, known: dict[str, T], what: str) -> dict[str, T]:
    """Those that are named, in the order in which they are known; all where none is named."""
    names = given.split(",") if given else list(known)
    for name in names:
        if name not in known:
            raise InputError(f"no {what} {name!r}", wanted=", ".join(known))
    return {name: one for name, one in known.items() if name in names}


def report(standings: Sequence[SetResults], budget: Budget) -> Result:
    """Everything of all sets."""
    costs = {
        (standing.data.name, one.method.name): one.method.cost(standing.store, one.best_settings)
        for standing in standings
        for one in standing.entries.values()
    }
    tables = [_aims(standings)]
    for standing in standings:
        tables += [
            _scores(standing),
            _leaks(standing),
            _costs(standing, costs),
            _inverse(standing),
        ]
    return Result(
        name=NAME,
        title=f"Quality after {budget.seconds:g} CPU seconds of training",
        notes=_notes(standings, budget),
        tables=[table for table in tables if table.rows],
        data={
            "budget": asdict(budget),
            "sets": {standing.data.name: _plain(standing, costs) for standing in standings},
        },
        pictures={
            f"{NAME}-{standing.data.name}.png": _chart(standing, budget.seconds)
            for standing in standings
        },
    )


def _aims(standings: Sequence[SetResults]) -> Table:
    rows = []
    for place, standing in enumerate(standings):
        ours, recipe, twin = (standing.entries.get(name) for name in (OURS, RECIPE, TWIN))
        others = ((standing.best_rival, OVER_RIVAL), (twin, OVER_RIVAL), (recipe, OVER_PUBLISHED))
        for other, least in others:
            if ours is None or other is None:
                continue
            found = difference(ours.finals, other.finals)
            met = found is not None and found.mean >= least and found.lies_above(0)
            aim = f"at least {least:+g}: {'met' if met else 'missed'}"
            if other is recipe and place > 0:
                aim = ""
            what = f"{standing.data.title}: over {other.method.title}"
            rows.append([what, shown(found, sign="+"), aim])
    return Table(
        title="dtsinn's lead, paired by test subject; the rival is the one that is best on val",
        columns=["", "dB", "aim"],
        rows=rows,
    )


def _metric(metric: str, digits: int = 2, *, tracer: int | None = None, sign: str = "") -> Column:
    """A column of one metric, with its interval."""
    return lambda one: shown(interval(one.finals, metric, tracer), digits, sign)


def _kinetic(statistic: Statistic) -> Column:
    """A column of one kinetic number, with its interval."""
    return lambda one: shown(kinetic(one.finals, statistic), 1)


def _scores(standing: SetResults) -> Table:
    first, second = (tracer.upper() for tracer in standing.store.header.tracers)
    floor = standing.entries.get(LINEAR)
    over: dict[str, Column] = {}
    if floor is not None:
        over["over linear dB"] = lambda one: shown(difference(one.finals, floor.finals), sign="+")
    return make_table(
        standing.entries.values(),
        {
            "method": lambda one: one.method.title,
            f"{first} PSNR dB": _metric("psnr", tracer=0),
            f"{second} PSNR dB": _metric("psnr", tracer=1),
            "mean PSNR dB": _metric("psnr"),
            **over,
            f"{first} SSIM": _metric("ssim", 3, tracer=0),
            f"{second} SSIM": _metric("ssim", 3, tracer=1),
            f"{first} NRMSE %": _metric("nrmse", 1, tracer=0),
            f"{second} NRMSE %": _metric("nrmse", 1, tracer=1),
            "kinetic_error %": _kinetic("kinetic_error"),
            "kinetic_bias %": _kinetic("kinetic_bias"),
            "worst region %": _kinetic("worst_error"),
        },
        f"{standing.data.title}: {standing.store.subject_count('test')} test subjects",
    )


def _leaks(standing: SetResults) -> Table:
    first, second = (tracer.upper() for tracer in standing.store.header.tracers)
    return make_table(
        standing.entries.values(),
        {
            "method": lambda one: one.method.title,
            f"{second} in {first} %": _metric("crosstalk", 1, tracer=0, sign="+"),
            f"{first} in {second} %": _metric("crosstalk", 1, tracer=1, sign="+"),
            "sum off the mixture %": _metric("sum_residual", 1),
            "PSNR of the seeds dB": lambda one: _spread(one.finals),
        },
        f"{standing.data.title}: cross-talk, consistency and seeds",
    )


def _costs(standing: SetResults, costs: dict[tuple[str, str], Cost | None]) -> Table:
    known = [
        (one, cost, one.best_speed)
        for one in standing.entries.values()
        if (cost := costs[standing.data.name, one.method.name]) and one.best_speed
    ]
    return make_table(
        known,
        {
            "method": lambda row: row[0].method.title,
            "learning rate": lambda row: f"{_learning_rate(row[0].best_settings):.2g}",
            "width": lambda row: _width(row[0].best_settings),
            "parameters": lambda row: f"{row[1].parameters:,}",
            "GFLOP a slice": lambda row: f"{row[1].forward_flop / 1e9:.2f}",
            "GFLOP a step": lambda row: f"{row[1].step_flop / 1e9:.2f}",
            "peak MiB": lambda row: f"{row[1].peak_mib:.0f}",
            "ms a step": lambda row: f"{1e3 * row[2].step:.1f}",
            "steps": lambda row: row[0].best_plan.steps,
            "CPU s, measured": lambda row: _cpu_seconds(row[0]),
            "round-trip error": lambda row: _worst(row[0].finals, NONE),
        },
        f"{standing.data.title}: settings that were best on val, cost, inverse (worst seed)",
    )


def _inverse(standing: SetResults) -> Table:
    three = standing.finalists
    if not three or three[0].method.name != OURS:
        return Table(columns=[], rows=[])
    compared = [
        ("all training subjects, trained noise, dB", [one.finals for one in three]),
        (f"{FEW_SUBJECTS} training subjects, dB", [one.few for one in three]),
        *(
            (f"unseen noise {level}, dB", [one.unseen.get(level, []) for one in three])
            for level in UNSEEN_LEVELS
        ),
    ]
    rows = [
        [
            what,
            *(shown(interval(one, "psnr")) for one in runs),
            *(shown(difference(runs[0], other), sign="+") for other in runs[1:]),
        ]
        for what, runs in compared
        if all(runs)
    ]
    blank = [""] * (len(three) - 1)
    residuals = [_metric("sum_residual", 1)(one) for one in three]
    rows.append(["sum of the answers off the mixture, %", *residuals, *blank])
    rows.append(
        [
            "mixture from the answers by the network's own inverse, relative error",
            *(_worst(one.finals, "no inverse") for one in three),
            *blank,
        ]
    )
    titles = [one.method.title for one in three]
    return Table(
        title=f"{standing.data.title}: where the inverse earns its keep",
        columns=["", *titles, *(f"over {title}" for title in titles[1:])],
        rows=rows,
    )


def _notes(standings: Sequence[SetResults], budget: Budget) -> list[str]:
    header, counts = standings[0].store.header, standings[0].store.split_counts()
    low, high = LEARNING_RATE.low, LEARNING_RATE.high
    factors = ", ".join(f"{factor:g}" for factor in FACTORS)
    lost = sum(not result["test"] for s in standings for c in s.entries.values()
               for _, result in c.finals)  # fmt: skip
    notes = [
        f"Data: {' then '.join(header.tracers)}, protocol {header.protocol.name}, phantom "
        f"{header.phantom}, population {header.population}, noise {header.noise}, "
        f"{header.size[0]} x {header.size[1]} pixels, "
        f"{header.protocol.frames} frames; {counts['train']} subjects train, {counts['val']} "
        f"steer, {counts['test']} test. Store digests "
        + ", ".join(f"{s.data.name} {s.store.header.digest[:12]}" for s in standings)
        + ".",
        "All choices were made on the val subjects: learning rate and width of a method, its best "
        "weights, and which rival is the best. Test subjects were scored once for each training "
        "that is counted; trials work on a view of the data without them.",
        f"Search: the same for every method: {budget.trials} trials at the full budget, Optuna's "
        f"TPE, the first {STARTUP} points drawn before any result and the same for all; learning "
        f"rate {low:g} to {high:g}, width {factors} times the method's default. The published "
        "recipe runs as published, without a search; the exact published architecture keeps its "
        "width; spectral analysis is searched over its basis and smoothing.",
        f"Then {budget.seeds} seeds of the best settings, none of them that of the trials.",
        f"Budget: {budget.seconds:g} s of process CPU time a training on one torch thread, batch "
        "1, reading and validations before the last one included; the last validation, which "
        "every method has, comes after. The number of steps was fixed before by calibrations "
        f"(all settings interleaved, the fastest of {ROUNDS} rounds each), so that other work on "
        "the machine moves the measured seconds, not the scores.",
        "All networks but the published recipe are trained by the product's own loop and default "
        "run: loader, augmentation, loss, optimiser, schedule.",
        "In brackets: 95 % bootstrap intervals over the test subjects, seeds averaged first.",
        "PSNR, SSIM and NRMSE by subject: body pixels, frames from each tracer's injection on.",
        "Cross-talk: slope of a tracer's error on the other true tracer over the same voxels, with "
        "the tracer itself and a constant regressed too; halving leaks 50 %. Negative: too much "
        "was taken away.",
        "Operations are those of convolutions and matrices, a multiplication and an addition "
        "counted as two; peak memory is what a training step allocates beside weights and "
        "gradients.",
        f"Few subjects: the best settings trained again on the first {FEW_SUBJECTS} training "
        "subjects. Unseen noise: the counted networks on new subjects at another level.",
    ]
    if lost:
        notes.append(f"{lost} counted trainings gave no finite answer and are left out.")
    return notes


def _chart(standing: SetResults, seconds: float) -> bytes:
    """A dot chart as PNG: one row a method, a colour a tracer, the mean written beside it."""
    entries = [one for one in standing.entries.values() if scored(one.finals)]
    height = 0.46 * len(entries) + 1.5
    figure = Figure(figsize=(9.2, height))
    figure.subplots_adjust(left=0.28, right=0.9, top=1 - 0.88 / height, bottom=0.6 / height)
    axes = figure.add_subplot()
    for place, entry in enumerate(entries):
        psnr_KR = values(entry.finals, "psnr").mean(axis=1).T
        means = psnr_KR.mean(axis=1)
        if entry.method.name == OURS:
            axes.axhspan(place - 0.42, place + 0.42, color=BAND, zorder=0, lw=0)
        axes.plot([means.min(), means.max()], [place, place], color=LINK, lw=3, zorder=1)
        for seeds, colour in zip(psnr_KR.tolist(), SERIES, strict=False):
            draw_dots(axes, place, seeds, colour)
        axes.annotate(
            f"{means.mean():.1f} dB".replace("-", "−"),
            (1.015, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=10,
            color=INK,
        )
    frame_rows(axes, [entry.method.title for entry in entries], X_LABEL)
    heading(
        figure,
        f"{standing.data.title}: two tracers after {seconds:g} CPU seconds of training",
        "dots: mean of the seeds; ticks: single seeds; right: mean of both tracers",
    )
    handles = [
        axes.plot([], [], "o", ms=8, color=colour, label=tracer.upper())[0]
        for tracer, colour in zip(standing.store.header.tracers, SERIES, strict=False)
    ]
    figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(0.99, 1 - 0.3 / height),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        labelcolor=INK,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    return png(figure, dpi=150)


def _plain(standing: SetResults, costs: dict[tuple[str, str], Cost | None]) -> dict[str, Any]:
    rival = standing.best_rival
    methods = {}
    for name, one in standing.entries.items():
        cost, speed = costs[standing.data.name, name], one.best_speed
        methods[name] = {
            "settings": one.best_settings,
            "cost": asdict(cost) if cost else None,
            "speed": asdict(speed) if speed else None,
            "plan": asdict(one.best_plan),
            "trials": [_run(done) for done in one.trials],
            "finals": [_run(done) for done in one.finals],
            "few": [_run(done) for done in one.few],
            "unseen": {level: [_run(done) for done in runs] for level, runs in one.unseen.items()},
        }
    return {
        "store_digest": standing.store.header.digest,
        "best_rival": rival.method.name if rival else None,
        "methods": methods,
    }


def _run(done: Done) -> dict[str, Any]:
    job, result = done
    plain = {key: value for key, value in result.items() if key != "test"}
    means = {
        metric: np.round(np.mean([one[metric] for one in result["test"]], axis=0), 4).tolist()
        for metric in ("psnr", "ssim", "nrmse", "crosstalk", "sum_residual")
        if result.get("test")
    }
    return {"key": job.key, "seed": job.seed, "parameters": job.parameters} | plain | means


def _worst(runs: Sequence[Done], none: str) -> str:
    """The largest error of the round trip; ``none`` where there is no inverse."""
    found = [result["round_trip_error"] for _, result in runs]
    errors = [error for error in found if error is not None]
    return f"{max(errors):.1e}" if errors else none


def _cpu_seconds(entry: Entry) -> str:
    seconds = [result["cpu_seconds"] for _, result in (*entry.trials, *entry.finals)]
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


def _spread(runs: Sequence[Done]) -> str:
    if not scored(runs):
        return "not finite"
    means = values(runs, "psnr").mean(axis=(1, 2))
    return f"{means.min():.2f} to {means.max():.2f}" if len(means) > 1 else f"{means[0]:.2f}"


def _learning_rate(settings: dict[str, Any]) -> float:
    return float(settings.get("optimizer", settings)["learning_rate"])


def _width(settings: dict[str, Any]) -> int:
    return int(settings.get("model", settings.get("architecture", {}))["width"])
