"""The whole measurement: data, speeds, searches and seeds, then what the inverse is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.quality.budget import Speed, calibrate
from benchmarks.quality.code import code_digest
from benchmarks.quality.comparison import Budget, Entry, key_of, perform, places_of
from benchmarks.quality.data import UNSEEN_LEVELS, DataSet
from benchmarks.quality.method import Method
from benchmarks.quality.methods import OURS, TWIN
from benchmarks.report import Say
from benchmarks.workers import Book, run_rows
from dtsinn.data.store import Store

BOOK = "quality.jsonl"
FEW_SUBJECTS = 8
"""Training subjects of the runs with few of them (uncited)."""


@dataclass(frozen=True, kw_only=True)
class SetResults:
    """All methods on one set."""

    data: DataSet
    store: Store
    entries: dict[str, Entry]
    """By method, in the order of the tables."""

    @property
    def best_rival(self) -> Entry | None:
        """The rival with the highest PSNR on the ``val`` subjects; None where there is none."""
        rivals = [one for one in self.entries.values() if one.method.role == "rival"]
        return max(rivals, key=lambda one: one.val_psnr, default=None)

    @property
    def finalists(self) -> list[Entry]:
        """Ours, the best rival and the twin."""
        three = [self.entries.get(OURS), self.best_rival, self.entries.get(TWIN)]
        return [one for one in three if one is not None]


def measure(
    methods: Mapping[str, Method],
    sets: Sequence[DataSet],
    budget: Budget,
    *,
    work: Path,
    workers: int,
    say: Say,
) -> list[SetResults]:
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
        stores[data.name] = data.prepare(work)
    book = Book(work / BOOK)
    speeds = _speeds(methods, stores[sets[0].name], book, say)
    results = [
        SetResults(
            data=data,
            store=stores[data.name],
            entries={
                name: Entry(
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
    run = partial(run_rows, book=book, perform=perform, workers=workers, say=say)
    entries = [one for found in results for one in found.entries.values()]
    run([one.search for one in entries], jobs=sum(one.jobs for one in entries))
    say("ours, the best rival and the twin: few subjects, unseen noise")
    rows = []
    for found in results:
        rows += [partial(one.train_on_few, subjects=FEW_SUBJECTS) for one in found.finalists]
        for level in UNSEEN_LEVELS:
            unseen = found.data.unseen(level).prepare(work)
            rows += [
                partial(one.score_unseen, level=level, store=unseen) for one in found.finalists
            ]
    run(rows, jobs=len(rows) * budget.seeds)
    return results


def _speeds(
    methods: Mapping[str, Method], store: Store, book: Book, say: Say
) -> dict[str, dict[int, Speed]]:
    """Speeds of each method by place of its width; those that the book knows are not measured."""
    shape = [store.header.protocol.frames, *store.header.size, store.subject_count("val")]
    wanted, keys = {}, {}
    for name, method in methods.items():
        for place, settings in places_of(method).items():
            decisive = ["speed", name, settings, code_digest(method.modules), shape]
            keys[name, place] = key_of(decisive)
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
