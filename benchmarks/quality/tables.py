"""What was measured, as tables, notes, charts and plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.quality.budget import ROUNDS
from benchmarks.quality.chart import Dots, dot_chart
from benchmarks.quality.comparison import Budget, Done
from benchmarks.quality.data import UNSEEN_LEVELS, data_sets
from benchmarks.quality.measure import FEW_SUBJECTS, SetResults, measure
from benchmarks.quality.method import FACTORS, LEARNING_RATE, STARTUP, Cost
from benchmarks.quality.methods import HALVING, OURS, RECIPE, TWIN, all_methods
from benchmarks.quality.scores import difference, interval, scored, shown, values
from benchmarks.report import Result, Say, Seeds, T, Table, Trials, Work, Workers
from benchmarks.stores import WORK
from dtsinn.core.errors import InputError

NAME = "quality"
OVER_RIVAL = 0.5
"""dB by which ours is to lead the best rival, with an interval above 0."""
OVER_PUBLISHED = 12.0
"""dB by which ours is to lead the published recipe on the first set."""
NONE = "none"
Row = list[str]


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
        ours = standing.entries.get(OURS)
        recipe, twin = standing.entries.get(RECIPE), standing.entries.get(TWIN)
        others = ((standing.best_rival, OVER_RIVAL), (twin, OVER_RIVAL), (recipe, OVER_PUBLISHED))
        for other, least in others:
            if ours is None or other is None:
                continue
            found = difference(ours.finals, other.finals)
            counts = other is not recipe or place == 0
            met = found is not None and found.mean >= least and found.lies_above(0)
            aim = f"at least {least:+g}: {'met' if met else 'missed'}" if counts else ""
            rows.append(
                [
                    f"{standing.data.title}: over {other.method.title}",
                    shown(found, sign=True),
                    aim,
                ]
            )
    return Table(
        title="dtsinn's lead, paired by test subject; the rival is the one that is best on val",
        columns=["", "dB", "aim"],
        rows=rows,
    )


def _scores(standing: SetResults) -> Table:
    tracers = standing.store.header.tracers
    floor = standing.entries.get(HALVING)
    rows = []
    for one in standing.entries.values():
        row = [one.method.title]
        row += [shown(interval(one.finals, "psnr", k)) for k in (0, 1)]
        row.append(shown(interval(one.finals, "psnr")))
        if floor is not None:
            row.append(shown(difference(one.finals, floor.finals), sign=True))
        row += [shown(interval(one.finals, "ssim", k), 3) for k in (0, 1)]
        row += [shown(interval(one.finals, "nrmse", k), 1) for k in (0, 1)]
        rows.append(row)
    return Table(
        title=f"{standing.data.title}: {standing.store.subject_count('test')} test subjects",
        columns=[
            "method",
            *(f"{tracer.upper()} PSNR dB" for tracer in tracers),
            "mean PSNR dB",
            *(["over halving dB"] if floor is not None else []),
            *(f"{tracer.upper()} SSIM" for tracer in tracers),
            *(f"{tracer.upper()} NRMSE %" for tracer in tracers),
        ],
        rows=rows,
    )


def _leaks(standing: SetResults) -> Table:
    first, second = (tracer.upper() for tracer in standing.store.header.tracers)
    rows = []
    for one in standing.entries.values():
        row = [one.method.title]
        row += [shown(interval(one.finals, "crosstalk", k), 1, sign=True) for k in (0, 1)]
        row.append(shown(interval(one.finals, "sum_residual"), 1))
        row.append(_spread(one.finals))
        rows.append(row)
    return Table(
        title=f"{standing.data.title}: cross-talk, consistency and seeds",
        columns=[
            "method",
            f"{second} in {first} %",
            f"{first} in {second} %",
            "sum off the mixture %",
            "PSNR of the seeds dB",
        ],
        rows=rows,
    )


def _costs(standing: SetResults, costs: dict[tuple[str, str], Cost | None]) -> Table:
    rows = []
    for one in standing.entries.values():
        cost, speed = costs[standing.data.name, one.method.name], one.best_speed
        if cost is None or speed is None:
            continue
        settings, errors = one.best_settings, _round_trips(one.finals)
        cpu = [result["cpu_seconds"] for _, result in [*one.trials, *one.finals]]
        rows.append(
            [
                one.method.title,
                f"{_learning_rate(settings):.2g}",
                str(settings.get("model", settings.get("architecture", {}))["width"]),
                f"{cost.parameters:,}",
                f"{cost.forward_flop / 1e9:.2f}",
                f"{cost.step_flop / 1e9:.2f}",
                f"{cost.peak_mib:.0f}",
                f"{1e3 * speed.step:.1f}",
                str(one.best_plan.steps),
                f"{min(cpu):.1f} to {max(cpu):.1f}",
                f"{max(errors):.1e}" if errors else NONE,
            ]
        )
    return Table(
        title=f"{standing.data.title}: settings that were best on val, cost, inverse (worst seed)",
        columns=[
            "method",
            "learning rate",
            "width",
            "parameters",
            "GFLOP a slice",
            "GFLOP a step",
            "peak MiB",
            "ms a step",
            "steps",
            "CPU s, measured",
            "round-trip error",
        ],
        rows=rows,
    )


def _inverse(standing: SetResults) -> Table:
    three = standing.finalists
    if not three or three[0].method.name != OURS:
        return Table(title="", columns=[], rows=[])
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
            *(shown(difference(runs[0], other), sign=True) for other in runs[1:]),
        ]
        for what, runs in compared
        if all(runs)
    ]
    blank = [""] * (len(three) - 1)
    residuals = [shown(interval(one.finals, "sum_residual"), 1) for one in three]
    errors = [_round_trips(one.finals) for one in three]
    rows.append(["sum of the answers off the mixture, %", *residuals, *blank])
    rows.append(
        [
            "mixture from the answers by the network's own inverse, relative error",
            *(f"{max(found):.1e}" if found else "no inverse" for found in errors),
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
        f"{header.phantom}, noise {header.noise}, {header.size[0]} x {header.size[1]} pixels, "
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
        "Brackets: 95 % bootstrap intervals over the test subjects, seeds averaged first.",
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
    rows = [
        Dots(
            name=one.method.title,
            ours=one.method.name == OURS,
            seeds=[tuple(float(v) for v in run) for run in values(one.finals, "psnr").mean(axis=1)],
        )
        for one in standing.entries.values()
        if scored(one.finals)
    ]
    title = f"{standing.data.title}: two tracers after {seconds:g} CPU seconds of training"
    return dot_chart(rows, standing.store.header.tracers, title)


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


def _round_trips(runs: Sequence[Done]) -> list[float]:
    found = [result["round_trip_error"] for _, result in runs]
    return [error for error in found if error is not None]


def _spread(runs: Sequence[Done]) -> str:
    if not scored(runs):
        return "not finite"
    means = values(runs, "psnr").mean(axis=(1, 2))
    return f"{means.min():.2f} to {means.max():.2f}" if len(means) > 1 else f"{means[0]:.2f}"


def _learning_rate(settings: dict[str, Any]) -> float:
    optimizer = settings.get("optimizer", settings)
    return float(optimizer["learning_rate"])
