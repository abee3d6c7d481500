"""The whole measurement: data, speeds, searches and seeds, then what the inverse is worth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.quality.book import Book
from benchmarks.quality.budget import Speed, calibrate
from benchmarks.quality.code import code_digest
from benchmarks.quality.contest import Budget, Contest, places_of
from benchmarks.quality.data import UNSEEN_LEVELS, DataSet, prepared
from benchmarks.quality.lanes import run_lanes
from benchmarks.quality.method import Method
from benchmarks.quality.methods import OURS, TWIN
from benchmarks.report import Say
from dtsinn.core.progress import no_progress
from dtsinn.data.store import Store

BOOK = "quality.jsonl"
FEW_SUBJECTS = 8
"""Training subjects of the runs with few of them (uncited)."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """All methods on one set."""

    data: DataSet
    store: Store
    contests: dict[str, Contest]
    """By method, in the order of the tables."""

    @property
    def best_rival(self) -> Contest | None:
        """The rival with the highest PSNR on the ``val`` subjects; None where there is none."""
        rivals = [one for one in self.contests.values() if one.method.role == "rival"]
        return max(rivals, key=lambda one: one.val_psnr, default=None)

    @property
    def finalists(self) -> list[Contest]:
        """Ours, the best rival and the twin."""
        three = [self.contests.get(OURS), self.best_rival, self.contests.get(TWIN)]
        return [one for one in three if one is not None]


def measure(
    methods: Mapping[str, Method],
    sets: Sequence[DataSet],
    budget: Budget,
    *,
    work: Path,
    workers: int,
    say: Say,
) -> list[Standing]:
    """Do everything that the book in ``work`` does not know yet.

    Args:
        methods: Rows, by name.
        sets: Data; stores that ``work`` has are used again.
        budget: Of each method on each set.
        work: Folder of stores, book and weights.
        workers: Processes, each on one thread; 1 stays in this one.
        say: Told of what is being done.
    """
    stores = {}
    for data in sets:
        say(f"data: {data.title}")
        stores[data.name] = prepared(data, work, no_progress)
    book = Book(work / BOOK)
    speeds = _speeds(methods, stores[sets[0].name], book, say)
    standings = [
        Standing(
            data=data,
            store=stores[data.name],
            contests={
                name: Contest(
                    method=method,
                    data=data,
                    store=stores[data.name],
                    budget=budget,
                    speeds=speeds[name],
                    work=work,
                )
                for name, method in methods.items()
            },
        )
        for data in sets
    ]
    contests = [one for standing in standings for one in standing.contests.values()]
    run = partial(run_lanes, book=book, workers=workers, say=say)
    run([(one.lane(), one.jobs) for one in contests])
    say("ours, the best rival and the twin: few subjects, unseen noise")
    finalists = [(standing, one) for standing in standings for one in standing.finalists]
    lanes = [(one.few_lane(FEW_SUBJECTS), budget.seeds) for _, one in finalists]
    for standing in standings:
        for level in UNSEEN_LEVELS:
            unseen = prepared(standing.data.unseen(level), work, no_progress)
            lanes += [(one.unseen_lane(level, unseen), budget.seeds) for one in standing.finalists]
    run(lanes)
    return standings


def _speeds(
    methods: Mapping[str, Method], store: Store, book: Book, say: Say
) -> dict[str, dict[int, Speed]]:
    """Speeds of each method by place of its width; those that the book knows are not measured."""
    shape = [store.header.protocol.frames, *store.header.size, store.subject_count("val")]
    wanted, keys = {}, {}
    for name, method in methods.items():
        for place, settings in places_of(method).items():
            said = ["speed", name, settings, code_digest(method.modules), shape]
            text = json.dumps(said, sort_keys=True).encode()
            keys[name, place] = hashlib.sha256(text).hexdigest()[:20]
            if keys[name, place] not in book.results:
                wanted[name, place] = settings
    if wanted:
        say(f"measuring the speed of {len(wanted)} settings")
        clocks = [
            partial(methods[name].rounds, store, settings) for (name, _), settings in wanted.items()
        ]
        for which, speed in zip(wanted, calibrate(store, clocks), strict=True):
            job = {"task": "speed", "method": which[0], "settings": wanted[which]}
            book.record(keys[which], job, asdict(speed))
    found: dict[str, dict[int, Speed]] = {name: {} for name in methods}
    for (name, number), key in keys.items():
        found[name][number] = Speed(**book.results[key])
    return found
