"""``published``: the separator against halving, the published recipe and a plain CNN.

All methods train on the same samples for the same process CPU time on one thread, side by side
in one run, and are scored on test subjects that no training and no tuning saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.chart import Dots, comparison_chart
from benchmarks.machine import describe_machine
from benchmarks.methods import CNN, PUBLISHED, SEPARATOR, Method, all_methods
from benchmarks.report import Result, Table
from benchmarks.training import Plan, Speed, calibrate, fastest, plan, train
from dtsinn.data.store import Store
from dtsinn.evaluation.metrics import Interval, paired_difference
from dtsinn.evaluation.score import halve, psnr_of_subjects

NAME = "published"
HALVING = "halving the mixture"
CALIBRATIONS = 3
"""Calibrations of each method, interleaved; the fastest one stands."""
CALIBRATION_SHARE = 0.05
"""Seconds of a calibration over seconds of the budget."""
TUNING_SEED = 1000
"""Seed of the tuning runs, which no counted run shares."""
TUNING_RUNS = 5
"""Most tuning runs of a method."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with its score."""

    method: str
    seed: int
    learning_rate: float
    steps: int
    validations: int
    cpu_seconds: float
    val_psnr: float | None
    """dB; None where an answer was not finite."""
    round_trip_error: float | None
    """Relative; None where the network has no inverse."""
    test_psnr: dict[str, tuple[float, float]]
    """Subject -> dB per tracer; empty for tuning runs."""

    @property
    def mean_psnr(self) -> float:
        """Mean over subjects and tracers, dB."""
        return float(np.mean(list(self.test_psnr.values())))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method with all that was measured of it."""

    name: str
    parameters: int
    learning_rate: float | None
    speed: Speed | None
    plan: Plan | None
    tuning: list[Run]
    runs: list[Run]

    @property
    def per_tracer(self) -> tuple[float, float]:
        """Mean over seeds and subjects, dB."""
        psnr = np.mean([list(run.test_psnr.values()) for run in self.runs], axis=(0, 1))
        return float(psnr[0]), float(psnr[1])

    @property
    def mean(self) -> float:
        """Mean over seeds, subjects and tracers, dB."""
        return float(np.mean([run.mean_psnr for run in self.runs]))

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest of the seeds' means, dB."""
        means = [run.mean_psnr for run in self.runs]
        return min(means), max(means)

    @property
    def by_subject(self) -> list[float]:
        """Mean over seeds and tracers, subject by subject, dB."""
        psnr = np.mean([list(run.test_psnr.values()) for run in self.runs], axis=(0, 2))
        return [float(value) for value in psnr]


def run(store: Store, *, seconds: float, seeds: int, say: Say) -> Result:
    """Measure all methods and report.

    Args:
        store: Data with ``train``, ``val`` and ``test`` subjects.
        seconds: Process CPU seconds of each training.
        seeds: Trainings of each method.
        say: Told what is being done.
    """
    return report(store, measure(store, seconds=seconds, seeds=seeds, say=say), seconds, seeds)


def measure(store: Store, *, seconds: float, seeds: int, say: Say) -> list[Entry]:
    """Halving, then every method: calibrated, tuned where it has a grid, trained."""
    methods = all_methods()
    speeds = _speeds(store, methods, seconds)
    entries = [_halving(store)]
    for method in methods:
        speed = speeds[method.name]
        spent = plan(speed, seconds)
        say(f"{method.name}: {1e3 * speed.step:.0f} ms a step, {spent.steps} steps")
        tuning = _tune(store, method, spent, say)
        best = max(tuning, key=_val_psnr, default=None)
        network = method.make(store, 0, method.rate).network
        entries.append(
            Entry(
                name=method.name,
                parameters=sum(p.numel() for p in network.parameters()),
                learning_rate=best.learning_rate if best else method.rate,
                speed=speed,
                plan=spent,
                tuning=tuning,
                runs=[],
            )
        )
    for seed in range(seeds):
        for method, entry in zip(methods, entries[1:], strict=True):
            assert entry.plan is not None  # noqa: S101 (for the type checker)
            assert entry.learning_rate is not None  # noqa: S101 (for the type checker)
            entry.runs.append(
                _train(store, method, entry.plan, seed, entry.learning_rate, test=True, say=say)
            )
    return entries


def _speeds(store: Store, methods: Sequence[Method], seconds: float) -> dict[str, Speed]:
    """Seconds a step of each method, the methods interleaved, each one's fastest round."""
    share = CALIBRATION_SHARE * seconds
    rounds = [
        [calibrate(store, method.make(store, 0, method.rate), share) for method in methods]
        for _ in range(CALIBRATIONS)
    ]
    return {
        method.name: fastest(found)
        for method, found in zip(methods, zip(*rounds, strict=True), strict=True)
    }


def _tune(store: Store, method: Method, spent: Plan, say: Say) -> list[Run]:
    """Runs in the order of their learning rate; the best one is no end of the grid.

    A grid whose end is best grows there by a factor of 2, up to :data:`TUNING_RUNS` runs.
    """
    runs: list[Run] = []
    pending = list(method.grid)
    while pending:
        runs += [
            _train(store, method, spent, TUNING_SEED, rate, test=False, say=say) for rate in pending
        ]
        runs.sort(key=lambda run: run.learning_rate)
        best = max(range(len(runs)), key=lambda place: _val_psnr(runs[place]))
        pending = []
        if 1 < len(runs) < TUNING_RUNS and best in (0, len(runs) - 1):
            pending = [runs[best].learning_rate * (2.0 if best else 0.5)]
    return runs


def _val_psnr(run: Run) -> float:
    return -np.inf if run.val_psnr is None else run.val_psnr


def report(store: Store, entries: Sequence[Entry], seconds: float, seeds: int) -> Result:
    """Tables, notes, numbers and the chart."""
    named = {entry.name: entry for entry in entries}
    over_cnn = _difference(named[SEPARATOR], named[CNN])
    over_published = _difference(named[SEPARATOR], named[PUBLISHED])
    header = store.header
    counts = store.split_counts()
    notes = [
        f"Data: {' then '.join(header.tracers)}, protocol {header.protocol.name}, phantom "
        f"{header.phantom}, noise {header.noise}, {header.size[0]} x {header.size[1]} pixels, "
        f"{header.protocol.frames} frames; {counts['train']} subjects train, {counts['val']} "
        f"steer, {counts['test']} test (unseen). Store digest {header.digest[:12]}.",
        "PSNR by subject: body pixels, frames from each tracer's injection on, peak of the true "
        "tracer. Mean over subjects and seeds; in brackets the lowest and highest seed.",
        f"Budget: {seconds:g} s of process CPU time a training, one torch thread, batch 1, reading "
        "and validations included. The number of steps comes from calibrations before (methods "
        f"interleaved, the fastest of {CALIBRATIONS} each), which are not counted, so that every "
        "cosine ends with the budget and other work on the machine moves the measured seconds, "
        "not the scores.",
        "The weights that were best on the validation subjects are scored, where at least two "
        "validations fit into a tenth of the budget; else the last weights.",
        f"{seeds} seeds of every method, run side by side.",
        *_tuning_notes(entries),
        f"{SEPARATOR} minus {CNN}, paired by subject: {_signed(over_cnn)} dB (95 % bootstrap "
        f"interval over {len(named[CNN].by_subject)} subjects, seeds averaged).",
        f"{SEPARATOR} minus {PUBLISHED}, likewise: {_signed(over_published)} dB.",
    ]
    return Result(
        name=NAME,
        title=f"Separation after {seconds:g} CPU seconds of training",
        machine=describe_machine(),
        notes=notes,
        tables=[_score_table(entries, header.tracers), _cost_table(entries)],
        data={
            "store_digest": header.digest,
            "seconds": seconds,
            "seeds": seeds,
            "methods": [_plain(entry) for entry in entries],
            "difference_to_cnn": over_cnn._asdict(),
            "difference_to_published": over_published._asdict(),
        },
        pictures={f"{NAME}.png": comparison_chart(_dots(entries), header.tracers, seconds)},
    )


def _halving(store: Store) -> Entry:
    run = Run(
        method=HALVING,
        seed=0,
        learning_rate=0.0,
        steps=0,
        validations=0,
        cpu_seconds=0.0,
        val_psnr=float(np.mean(list(psnr_of_subjects(halve, store, "val").values()))),
        round_trip_error=None,
        test_psnr=psnr_of_subjects(halve, store, "test"),
    )
    return Entry(
        name=HALVING,
        parameters=0,
        learning_rate=None,
        speed=None,
        plan=None,
        tuning=[],
        runs=[run],
    )


def _train(
    store: Store, method: Method, spent: Plan, seed: int, rate: float, *, test: bool, say: Say
) -> Run:
    learner = method.make(store, seed, rate)
    trained = train(store, learner, spent)
    first = next(store.subjects("val"))
    run = Run(
        method=method.name,
        seed=seed,
        learning_rate=rate,
        steps=trained.steps,
        validations=trained.validations,
        cpu_seconds=trained.cpu_seconds,
        val_psnr=trained.val_psnr if np.isfinite(trained.val_psnr) else None,
        round_trip_error=learner.round_trip_error(first.mixture_NTYX),
        test_psnr=psnr_of_subjects(learner.separate, store, "test") if test else {},
    )
    shown = "not finite" if run.val_psnr is None else f"{run.val_psnr:.2f} dB on val"
    scored = f", {run.mean_psnr:.2f} dB on test" if test else " (tuning)"
    say(
        f"{method.name}, seed {seed}, learning rate {rate:g}: {run.cpu_seconds:.1f} s, "
        f"{shown}{scored}"
    )
    return run


def _difference(first: Entry, second: Entry) -> Interval:
    return paired_difference(first.by_subject, second.by_subject)


def _score_table(entries: Sequence[Entry], tracers: tuple[str, str]) -> Table:
    named = {entry.name: entry for entry in entries}
    rows = []
    for entry in entries:
        low, high = entry.range
        spread = f" [{low:.2f}, {high:.2f}]" if len(entry.runs) > 1 else ""
        rows.append(
            [
                entry.name,
                *(f"{psnr:.2f}" for psnr in entry.per_tracer),
                f"{entry.mean:.2f}{spread}",
                f"{entry.mean - named[HALVING].mean:+.2f}",
                f"{entry.mean - named[PUBLISHED].mean:+.2f}",
            ]
        )
    columns = [
        "method",
        *(f"{tracer.upper()} dB" for tracer in tracers),
        "mean dB [seeds]",
        "over halving dB",
        "over published dB",
    ]
    return Table(title="PSNR on unseen subjects", columns=columns, rows=rows)


def _cost_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        if entry.speed is None:
            continue
        cpu = [run.cpu_seconds for run in entry.runs]
        errors = [e for e in (run.round_trip_error for run in entry.runs) if e is not None]
        rows.append(
            [
                entry.name,
                f"{entry.parameters:,}",
                f"{entry.learning_rate:g}",
                f"{1e3 * entry.speed.step:.0f}",
                f"{entry.runs[0].steps}",
                f"{min(cpu):.1f} to {max(cpu):.1f}",
                f"{max(errors):.1e}" if errors else "no inverse",
                f"{sum(run.cpu_seconds for run in entry.tuning):.0f}",
            ]
        )
    columns = [
        "method",
        "parameters",
        "learning rate",
        "ms a step",
        "steps",
        "CPU s, measured",
        "round-trip error",
        "CPU s of tuning",
    ]
    return Table(title="Cost and inverse (the worst seed)", columns=columns, rows=rows)


def _tuning_notes(entries: Sequence[Entry]) -> list[str]:
    notes = []
    for entry in entries:
        if not entry.tuning:
            continue
        scores = ", ".join(
            f"{run.learning_rate:g}: "
            + ("not finite" if run.val_psnr is None else f"{run.val_psnr:.2f} dB")
            for run in entry.tuning
        )
        notes.append(
            f"Learning rate of {entry.name}, tuned on the val subjects at the full budget with a "
            f"seed of its own: {scores}."
        )
    notes.append(
        f"{PUBLISHED} and {SEPARATOR} run with the learning rate that they come with: "
        "neither was tuned here."
    )
    return notes


def _dots(entries: Sequence[Entry]) -> list[Dots]:
    return [
        Dots(
            name=entry.name,
            seeds=[
                tuple(float(v) for v in np.mean(list(run.test_psnr.values()), axis=0))
                for run in entry.runs
            ],
        )
        for entry in entries
    ]


def _plain(entry: Entry) -> dict[str, object]:
    return {
        **asdict(entry),
        "psnr_per_tracer": entry.per_tracer,
        "psnr": entry.mean,
        "psnr_range": entry.range,
    }


def _signed(interval: Interval) -> str:
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
