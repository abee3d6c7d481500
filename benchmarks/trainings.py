"""Trainings of so many CPU seconds, whose weights are kept: what several benchmarks begin with.

A training is known by its settings, steps, seed and data, not by the code: one that took ten
minutes stands when a comment is edited. The version of its code stands beside its result; to train
again, delete its line in the book.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.quality.comparison import (
    UNTRAINED,
    Done,
    Job,
    key_of,
    measure_speeds,
    perform,
)
from benchmarks.quality.method import Plan, Speed, plan
from benchmarks.quality.methods import NetworkMethod, all_methods
from benchmarks.report import Say
from benchmarks.workers import Book, Do, run_rows
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.data.store import Store
from dtsinn.training.config import RunConfig

QUALITY = Path(__file__).parent / "results/quality.json"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A training that somebody wants."""

    method: str
    """A row of the quality benchmark."""
    data: str
    """Name of the set."""
    settings: dict[str, Any]
    seconds: float = 0.0
    """Process CPU time; 0 of what has no budget."""
    seed: int = 0


def found_settings(method: str, data: str) -> tuple[dict[str, Any], bool]:
    """A method's settings that the quality benchmark's search found best on a set.

    Returns:
        The settings, and whether they are on record; else they are the defaults.
    """
    sets = json.loads(QUALITY.read_text(encoding="utf-8"))["data"]["sets"]
    known = sets.get(data, {}).get("methods", {}).get(method)
    if known is None:
        return all_methods()[method].settings({}), False
    if not isinstance(all_methods()[method], NetworkMethod):
        return known["settings"], True
    # What was searched before a setting came takes that setting's default, and says so.
    return to_mapping(from_mapping(RunConfig, known["settings"], str(QUALITY))), True


def fit_all(
    wanted: Sequence[Wanted],
    stores: Mapping[str, Store],
    *,
    book: Book,
    work: Path,
    workers: int = 1,
    say: Say,
) -> list[Done]:
    """Train what the book does not know yet, in this order; each result is kept at once.

    Args:
        wanted: The trainings.
        stores: By name of the set.
        book: Speeds and results.
        work: Folder of the weights.
        workers: Processes, each on one thread.
        say: Told of what is being done.

    Returns:
        The job and the result of each, in the order of ``wanted``.
    """
    return run_jobs(_plan(wanted, stores, book, work, say), book, workers=workers, say=say)


def run_jobs(jobs: Sequence[Job], book: Book, *, workers: int, say: Say) -> list[Done]:
    """Do what the book does not know yet, in this order; the jobs with their results."""

    async def row(do: Do[Job], job: Job) -> None:
        await do(job)

    rows = [partial(row, job=job) for job in jobs]
    run_rows(rows, book, perform, jobs=len(jobs), workers=workers, say=say)
    return [(job, book.results[job.key]) for job in jobs]


def _plan(
    wanted: Sequence[Wanted], stores: Mapping[str, Store], book: Book, work: Path, say: Say
) -> list[Job]:
    """Jobs with as many steps as fit their budgets."""
    speeds: dict[str, Speed] = {}
    keys: dict[int, str] = {}
    for data, store in stores.items():
        shape = [store.header.protocol.frames, *store.header.size, store.subject_count("val")]
        unknown = {}
        for number, one in enumerate(wanted):
            if one.data == data and one.seconds:
                keys[number] = key_of(["speed", one.method, one.settings, shape])
                unknown[keys[number]] = (all_methods()[one.method], one.settings)
        speeds |= measure_speeds(unknown, store, book, say)
    return [
        _job(
            one,
            stores[one.data],
            plan(speeds[keys[number]], one.seconds) if one.seconds else UNTRAINED,
            work,
        )
        for number, one in enumerate(wanted)
    ]


def _job(one: Wanted, store: Store, steps: Plan, work: Path) -> Job:
    job = Job(
        task="final",
        method=one.method,
        data=one.data,
        number=one.seed,
        seed=one.seed,
        settings=one.settings,
        parameters={"seconds": one.seconds},
        plan=steps,
        store=store.header.path,
        digest=store.header.digest,
        code="",
    )
    return replace(job, weights=str(work / f"weights/{job.key}.safetensors"))
