"""One method on one set of data: its search and the seeds of its best, as jobs."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.quality.data import UNSEEN_LEVELS, DataSet, with_few, without_test
from benchmarks.quality.method import FACTORS, Fitted, Method, Plan, Speed, calibrate, plan, suggest
from benchmarks.quality.methods import OURS, TWIN, all_methods, save_weights
from benchmarks.quality.scores import score
from benchmarks.report import Say
from benchmarks.workers import Book, Do, Result, run_rows
from dtsinn.core.errors import RunError
from dtsinn.core.version import code_version
from dtsinn.data.store import Store, open_store

ROOT = Path(__file__).parents[2]
FOLLOWED = ("dtsinn.networks", "dtsinn.training")
"""Packages inside which imports are followed; not from one into the other, since the training
loop knows some networks by name and every network would then depend on them."""
PASSED_OVER = (
    "dtsinn.networks.build",
    "dtsinn.networks.method",
    "dtsinn.training.config",
    "dtsinn.training.package",
)
"""They name every network, or only carry settings: a job holds its own settings."""
ALWAYS = (
    "dtsinn.data.augmentation",
    "dtsinn.data.body",
    "dtsinn.data.loader",
    "dtsinn.data.order",
    "dtsinn.evaluation.metrics",
    "dtsinn.evaluation.score",
    "dtsinn.networks.normalisation",
    "benchmarks.quality.scores",
)
"""What every method uses."""


@functools.cache
def code_digest(modules: tuple[str, ...]) -> str:
    """SHA-256 over the source of ``modules``, of what they import, and of :data:`ALWAYS`."""
    found: dict[str, bytes] = {}
    pending = [*modules, *ALWAYS]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = _source(name)
        inside = tuple(package for package in FOLLOWED if name.startswith(package))
        pending += [
            other
            for other in _imports(found[name])
            if other.startswith(inside) and other not in PASSED_OVER
        ]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + found[name] + b"\0")
    return digest.hexdigest()[:16]


def _file(name: str) -> Path:
    """Where a module of this checkout lies, if it is one."""
    place = ROOT / name.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _source(name: str) -> bytes:
    return _file(name).read_bytes()


def _imports(source: bytes) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            for alias in node.names:  # a module, or a name inside one
                whole = f"{node.module}.{alias.name}"
                if whole.startswith(FOLLOWED) and _file(whole).is_file():
                    yield whole
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


TRIAL_SEED = 1000
"""Seed of all trials, which no counted run shares."""
UNTRAINED = Plan(steps=0, validations=0)
NO_WIDTH = -1
"""Key of the speed of a method whose width is not searched."""
Task = Literal["trial", "final", "few", "unseen"]
PLACES = ("store", "weights")
"""Fields that say where things lie: the job is the same wherever that is."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work.

    ``trial`` trains and validates, and cannot see the test subjects; ``final`` trains with another
    seed and scores them; ``few`` likewise, after training on few subjects; ``unseen`` scores what
    a final job left on the test subjects of another store.
    """

    task: Task
    method: str
    data: str
    """Name of the set."""
    number: int
    """Of the trial or seed, from 0."""
    seed: int
    settings: dict[str, Any]
    """Of the method."""
    parameters: dict[str, float] = field(default_factory=dict)
    """What the sampler drew."""
    plan: Plan
    store: str
    """Path."""
    digest: str
    """Of the store's content."""
    code: str
    """Digest of the code."""
    subjects: int | None = None
    """Training subjects; None is all."""
    weights: str = ""
    """File that a final job writes, and that ``unseen`` reads; none where empty."""
    of: str = ""
    """Key of the job that left the weights (unseen)."""

    @property
    def key(self) -> str:
        """Digest of everything that decides the result."""
        decisive = {name: value for name, value in asdict(self).items() if name not in PLACES}
        return key_of(decisive)

    @property
    def described(self) -> dict[str, Any]:
        """The job as plain data."""
        return asdict(self)

    def describe_result(self, result: Result) -> str:
        """What it was and what it gave, in words."""
        name = f"{self.data}, {self.method}, {self.task} {self.number}"
        if "val_psnr" not in result:
            return f"{name}: scored"
        drawn = "".join(f"{name} {value:.3g}, " for name, value in self.parameters.items())
        psnr = result["val_psnr"]
        found = "diverged" if psnr is None else f"{psnr:.2f} dB on val"
        return f"{name}: {drawn}{found}, {result['cpu_seconds']:.1f} CPU s"


def key_of(decisive: Any) -> str:
    """A digest of plain data that decide a result."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:20]


def perform(job: Job) -> dict[str, Any]:
    """Do a job; plain data come back.

    Returns:
        ``val_psnr`` (None where the training diverged), ``cpu_seconds``, ``round_trip_error``,
        ``code_version``; the kinetic numbers of ``val`` where they can be told; and, unless it is a
        trial, ``test``: scores by subject.
    """
    torch.set_num_threads(1)
    method, store = all_methods()[job.method], open_store(job.store, need_truth=True)
    if job.task == "unseen":
        loaded = method.load(store, job.settings, Path(job.weights))
        return {"test": _scored(loaded, job)}
    seen = without_test(store)
    if job.subjects is not None:
        seen = with_few(seen, "train", job.subjects)
    fitted = method.fit(seen, job.settings, job.plan, job.seed)
    result: dict[str, Any] = {
        "val_psnr": _finite(fitted.val_psnr),
        "cpu_seconds": fitted.cpu_seconds,
        "round_trip_error": _finite(fitted.round_trip_error),
        "code_version": code_version(),
        **fitted.kinetics,
    }
    if job.task != "trial":
        result["test"] = _scored(fitted, job)
        if job.weights and fitted.weights:
            save_weights(fitted.weights, Path(job.weights))
    return result


def _scored(fitted: Fitted, job: Job) -> list[dict[str, Any]]:
    """Scores by subject; none where the training diverged or an answer is not finite."""
    if fitted.separate is None:
        return []
    try:
        return score(fitted.separate, open_store(job.store, need_truth=True), "test")
    except RunError:
        return []


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Done = tuple[Job, Result]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every method gets."""

    seconds: float
    """Process CPU time of a training on one thread."""
    trials: int
    seeds: int


@dataclass(kw_only=True)
class Entry:
    """A method on a set; what is done of it so far."""

    method: Method
    data: DataSet
    store: Store
    budget: Budget
    speeds: Mapping[int, Speed]
    """By place of the width, or :data:`NO_WIDTH`; none where nothing is trained."""
    work: Path
    trials: list[Done] = field(default_factory=list)
    finals: list[Done] = field(default_factory=list)
    few: list[Done] = field(default_factory=list)
    unseen: dict[str, list[Done]] = field(default_factory=dict)
    """By level of noise."""

    @property
    def jobs(self) -> int:
        """Trials and final jobs, all together."""
        return self._trials + self._seeds

    @property
    def parameters(self) -> dict[str, float]:
        """Of the trial that was best on the ``val`` subjects; nothing without a search."""
        if not self.trials:
            return {}
        job, _ = max(self.trials, key=lambda done: _val_psnr(done[1]))
        return job.parameters

    @property
    def val_psnr(self) -> float:
        """Mean over the final seeds, dB: what rivals are compared by."""
        return sum(_val_psnr(result) for _, result in self.finals) / len(self.finals)

    @property
    def best_plan(self) -> Plan:
        """Of the best trial's settings."""
        return self._plan(self.parameters)

    @property
    def best_speed(self) -> Speed | None:
        """Of the best trial's settings; None where nothing is trained."""
        return self._speed(self.parameters) if self.method.trained else None

    @property
    def best_settings(self) -> dict[str, Any]:
        """Of the best trial."""
        return self.method.settings(self.parameters)

    async def search(self, do: Do[Job]) -> None:
        """The search, then the seeds of its best."""
        for number in range(self._trials):
            past = [(job.parameters, result["val_psnr"]) for job, result in self.trials]
            job = self._job("trial", number, suggest(self.method.space, past, number))
            self.trials.append((job, await do(job)))
        for number in range(self._seeds):
            job = self._job("final", number, self.parameters)
            self.finals.append((job, await do(job)))

    async def train_on_few(self, do: Do[Job], subjects: int) -> None:
        """The best settings again, trained on few subjects."""
        for number in range(self._seeds):
            job = self._job("few", number, self.parameters, subjects=subjects)
            self.few.append((job, await do(job)))

    async def score_unseen(self, do: Do[Job], level: str, store: Store) -> None:
        """The finals' networks on the test subjects of another store."""
        for final, result in self.finals:
            if not result["test"]:
                continue
            if not Path(final.weights).exists():
                raise RunError(
                    f"no weights at {final.weights}", hint="another --work, or its line deleted"
                )
            job = replace(
                final,
                task="unseen",
                data=f"{self.data.name}-{level}",
                parameters={},
                store=store.header.path,
                digest=store.header.digest,
                of=final.key,
            )
            self.unseen.setdefault(level, []).append((job, await do(job)))

    @property
    def _trials(self) -> int:
        return self.budget.trials if self.method.space else 0

    @property
    def _seeds(self) -> int:
        return self.budget.seeds if self.method.trained else 1

    def _job(
        self, task: Task, number: int, parameters: dict[str, float], subjects: int | None = None
    ) -> Job:
        job = Job(
            task=task,
            method=self.method.name,
            data=self.data.name,
            number=number,
            seed=TRIAL_SEED if task == "trial" else number,
            settings=self.method.settings(parameters),
            parameters=parameters,
            plan=self._plan(parameters),
            store=self.store.header.path,
            digest=self.store.header.digest,
            code=code_digest(self.method.modules),
            subjects=subjects,
        )
        if task != "final":
            return job
        return replace(job, weights=str(self.work / f"weights/{job.key}.safetensors"))

    def _speed(self, parameters: Mapping[str, float]) -> Speed:
        return self.speeds[int(parameters.get("width", NO_WIDTH))]

    def _plan(self, parameters: Mapping[str, float]) -> Plan:
        if not self.method.trained:
            return UNTRAINED
        return plan(self._speed(parameters), self.budget.seconds)


def places_of(method: Method) -> dict[int, dict[str, Any]]:
    """Settings of each width that a method's search may take, by place."""
    if not method.trained:
        return {}
    if "width" not in method.space:
        return {NO_WIDTH: method.settings({})}
    return {place: method.settings({"width": place}) for place in range(len(FACTORS))}


def _val_psnr(result: Result) -> float:
    psnr = result["val_psnr"]
    return -float("inf") if psnr is None else float(psnr)


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
    """Speeds of each method by place of its width."""
    shape = [store.header.protocol.frames, *store.header.size, store.subject_count("val")]
    keys, wanted = {}, {}
    for name, method in methods.items():
        for place, settings in places_of(method).items():
            key = key_of(["speed", name, settings, code_digest(method.modules), shape])
            keys[name, place], wanted[key] = key, (method, settings)
    speeds = measure_speeds(wanted, store, book, say)
    found: dict[str, dict[int, Speed]] = {name: {} for name in methods}
    for (name, number), key in keys.items():
        found[name][number] = speeds[key]
    return found


def measure_speeds(
    wanted: Mapping[str, tuple[Method, dict[str, Any]]], store: Store, book: Book, say: Say
) -> dict[str, Speed]:
    """Speeds of methods with settings, by key; those that the book knows are not measured."""
    unknown = {key: one for key, one in wanted.items() if key not in book.results}
    if unknown:
        say(f"measuring the speed of {len(unknown)} settings")
        clocks = [partial(method.rounds, store, settings) for method, settings in unknown.values()]
        for key, speed in zip(unknown, calibrate(store, clocks), strict=True):
            method, settings = unknown[key]
            job = {"task": "speed", "method": method.name, "settings": settings}
            book.record(key, job, asdict(speed))
    return {key: Speed(**book.results[key]) for key in wanted}
