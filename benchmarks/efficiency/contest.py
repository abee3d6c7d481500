"""All methods on a table, each with as many searches as there are seeds."""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from benchmarks.efficiency.judge import Verdict, judge, target_of
from benchmarks.efficiency.lineup import METHODS, RANDOM
from benchmarks.efficiency.methods import BUDGET, TRAINING
from benchmarks.efficiency.simulate import Trace
from benchmarks.efficiency.table import CurveTable, load
from benchmarks.report import Say

LEAST = 30 * TRAINING
"""Steps that every search spends: where the picture ends."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What the methods did on a table."""

    table: str
    target: float
    """Random's own final best, dB."""
    traces: Mapping[str, Sequence[Trace]]
    """By method; random's have twice the budget, others end when they are at the target."""
    verdicts: Sequence[Verdict]
    twice: float
    """Random's final best with twice the budget, dB."""


def contest(
    table: str, folder: Path, names: Sequence[str], seeds: int, *, workers: int, say: Say
) -> Contest:
    """Search with every method and seed on the table in ``folder``, and judge."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
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
    return Contest(
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
    budget = 2 * BUDGET if name == RANDOM else BUDGET
    return METHODS[name].search(
        _table(table, folder), seed, budget=budget, target=target, least=LEAST
    )


@functools.cache
def _table(name: str, folder: Path) -> CurveTable:
    return load(name, folder)
