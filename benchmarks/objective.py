"""``objective``: what should a search maximise, so that its champion reads kinetics well?

A pool of configurations is trained once on each set; searches are then drawn from the pool, and
each rule picks its champion from the same trials. ``test`` says how good they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer

from benchmarks.prepare import WORK
from benchmarks.quality.comparison import Done
from benchmarks.quality.data import DataSet, data_sets
from benchmarks.quality.methods import LINEAR, OURS, all_methods
from benchmarks.quality.scores import kinetic, scored, values
from benchmarks.report import Result, Say, Table, Work, Workers, make_table
from benchmarks.trainings import Wanted, fit_all
from benchmarks.workers import Book
from dtsinn.core.config import to_mapping
from dtsinn.core.seeds import generator
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import SearchSpace

NAME, BOOK = "objective", "objective.jsonl"
SPACE = "quick"
SEED = 16
"""Of the pool's random configurations."""
TRIALS = 8
"""Of a search."""
SEARCHES = 1000
BOUNDS = 2.0, 2.5, 3.0, 4.0, 5.0
"""Bounds of the kinetic bias on ``val``, percent."""
WITHIN_dB = 0.2
"""Of the best on ``val`` a front's pick may be so far away."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trained configuration: what a search sees of it, and what it is worth."""

    psnr: float
    """On ``val``, dB."""
    bias: float
    """kinetic_bias on ``val``, percent, as a search is told it."""
    test_psnr: float
    test_error: float
    """kinetic_error on ``test``, percent."""
    test_bias: float


Pick = Callable[[Sequence[Trial]], Trial | None]
"""Picks a search's champion; None where no trial may be it, so that the floor stays."""


def by_psnr(trials: Sequence[Trial]) -> Trial:
    """The highest PSNR."""
    return max(trials, key=lambda one: one.psnr)


def under_bound(bound: float) -> Pick:
    """The highest PSNR of those whose kinetic bias keeps a bound."""

    def pick(trials: Sequence[Trial]) -> Trial | None:
        kept = [one for one in trials if one.bias <= bound]
        return by_psnr(kept) if kept else None

    return pick


def from_front(trials: Sequence[Trial]) -> Trial:
    """The lowest kinetic bias of those near the highest PSNR: a pick from the front of both."""
    near = [one for one in trials if one.psnr >= by_psnr(trials).psnr - WITHIN_dB]
    return min(near, key=lambda one: one.bias)


RULES: dict[str, Pick] = {
    "PSNR": by_psnr,
    **{f"PSNR, kinetic_bias <= {one:g} %": under_bound(one) for one in BOUNDS},
    f"front: least kinetic_bias within {WITHIN_dB:g} dB of the best": from_front,
}


def run(
    *,
    configurations: Annotated[int, typer.Option(help="Configurations of the pool.")] = 16,
    seconds: Annotated[float, typer.Option(help="CPU seconds of a training.")] = 25,
    work: Work = WORK,
    workers: Workers = 1,
    say: Say,
) -> Result:
    """Compare objectives on a pool of trained configurations; about 20 min on one core.

    Example: python -m benchmarks objective --configurations 8
    """
    return measure(data_sets(), configurations, seconds, work=work, workers=workers, say=say)


def measure(
    sets: Mapping[str, DataSet],
    configurations: int,
    seconds: float,
    *,
    work: Path,
    workers: int = 1,
    say: Say,
) -> Result:
    """Train the pool on every set, draw searches, and report.

    Args:
        sets: Data by name.
        configurations: Of the pool.
        seconds: CPU seconds of a training.
        work: Folder of stores, book and weights.
        workers: Processes, each on one thread.
        say: Told of what is being done.
    """
    stores = {name: data.prepare(work) for name, data in sets.items()}
    pool = draw_pool(load_space(SPACE), configurations)
    linear = all_methods()[LINEAR].settings({})
    wanted = [Wanted(method=LINEAR, data=name, settings=linear) for name in sets]
    wanted += [
        Wanted(method=OURS, data=name, settings=settings, seconds=seconds)
        for settings in pool
        for name in sets
    ]
    book = Book(work / BOOK)
    done = fit_all(wanted, stores, book=book, work=work, workers=workers, say=say)
    found = {name: [run for run in done if run[0].data == name] for name in sets}
    return report(sets, found, seconds)


def draw_pool(space: SearchSpace, count: int) -> list[dict[str, Any]]:
    """Random configurations of a space, as plain data; always the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    return [to_mapping(space.config(space.draw(study.ask()))) for _ in range(count)]


def report(
    sets: Mapping[str, DataSet],
    done: Mapping[str, list[Done]],
    seconds: float,
) -> Result:
    """Tables and numbers of all sets.

    Args:
        sets: Data by name.
        done: The linear map of each set, then its pool.
        seconds: CPU seconds of a training.
    """
    tables, data = [], {}
    for name, (floor, *pool) in done.items():
        told = [trial for one in pool if (trial := read(one)) is not None]
        below = read(floor)
        if below is None or len(told) < 2:
            continue
        picked = {rule: search_often(told, below, pick) for rule, pick in RULES.items()}
        tables += [_pool_table(sets[name], told, below), _rules_table(sets[name], picked)]
        data[name] = {
            "floor": vars(below),
            "trials": [vars(one) for one in told],
            "champions": {
                rule: {
                    key: float(np.mean([vars(one)[key] for one in found])) for key in vars(below)
                }
                for rule, found in picked.items()
            },
        }
    return Result(
        name=NAME,
        title="What a search should maximise",
        notes=[
            f"Pool: random configurations of the space {SPACE}, {seconds:g} CPU s each on the sets "
            "of the quality benchmark, weights by PSNR on val; 12 val subjects, 28 test.",
            f"{SEARCHES} searches of {TRIALS} trials, drawn from the pool without return, the same "
            "for all rules; no trial is stopped early and no sampler learns from the others.",
            "Where no trial keeps the bound, the linear map stays champion.",
            "Means over the searches; test numbers are never seen by a rule. Worse or better than "
            "by PSNR alone: searches whose champion has more or less kinetic_error on test.",
        ],
        tables=tables,
        data=data,
    )


def read(done: Done) -> Trial | None:
    """A training as a trial; None where it diverged or has no kinetic numbers."""
    _, result = done
    if not scored([done]):
        return None
    error, bias = (kinetic([done], name) for name in ("kinetic_error", "kinetic_bias"))
    if error is None or bias is None:
        return None
    return Trial(
        psnr=result["val_psnr"],
        bias=result["val_kinetic_bias"],
        test_psnr=float(values([done], "psnr").mean()),
        test_error=error.mean,
        test_bias=bias.mean,
    )


def search_often(pool: Sequence[Trial], floor: Trial, pick: Pick) -> list[Trial]:
    """Champions of searches drawn from the pool; the same searches for every rule."""
    rng = generator(0, "objective")
    drawn = [rng.permutation(len(pool))[:TRIALS] for _ in range(SEARCHES)]
    return [pick([pool[i] for i in search]) or floor for search in drawn]


def _pool_table(data: DataSet, trials: Sequence[Trial], floor: Trial) -> Table:
    def row(what: str, one: Callable[[str], float]) -> list[str]:
        names = ("psnr", "bias", "test_psnr", "test_error", "test_bias")
        return [what] + [f"{one(name):.2f}" for name in names]

    def over(name: str) -> np.ndarray:
        return np.array([vars(one)[name] for one in trials])

    rank = np.corrcoef([np.argsort(np.argsort(over(name))) for name in
                        ("test_error", "psnr", "bias")])[0]  # fmt: skip
    return Table(
        title=f"{data.title}: the pool of {len(trials)}; rank correlation with kinetic_error on "
        f"test: of PSNR on val {rank[1]:+.2f}, of kinetic_bias on val {rank[2]:+.2f}",
        columns=["", "val PSNR dB", "val kinetic_bias %", "test PSNR dB", "test kinetic_error %",
                 "test kinetic_bias %"],
        rows=[
            row("linear map", lambda name: vars(floor)[name]),
            row("lowest", lambda name: over(name).min()),
            row("median", lambda name: float(np.median(over(name)))),
            row("highest", lambda name: over(name).max()),
        ],
    )  # fmt: skip


def _rules_table(data: DataSet, picked: Mapping[str, Sequence[Trial]]) -> Table:
    usual = picked["PSNR"]

    def share(found: Sequence[Trial], test: Callable[[Trial, Trial], bool]) -> str:
        pairs = zip(found, usual, strict=True)
        return f"{100 * np.mean([test(one, other) for one, other in pairs]):.0f} %"

    return make_table(
        picked.items(),
        {
            "objective": lambda item: item[0],
            "test PSNR dB": lambda item: f"{np.mean([one.test_psnr for one in item[1]]):.2f}",
            "kinetic_error %": lambda item: f"{np.mean([one.test_error for one in item[1]]):.2f}",
            "kinetic_bias %": lambda item: f"{np.mean([one.test_bias for one in item[1]]):.2f}",
            "less error": lambda item: share(item[1], lambda a, b: a.test_error < b.test_error),
            "more error": lambda item: share(item[1], lambda a, b: a.test_error > b.test_error),
            "PSNR within 0.2 dB": lambda item: share(
                item[1], lambda a, b: a.test_psnr >= b.test_psnr - WITHIN_dB
            ),
        },
        f"{data.title}: champions of {SEARCHES} searches, shares against PSNR alone",
    )
