"""One method on one set of data: its search, and the seeds of its best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.quality.budget import Plan, Speed, plan
from benchmarks.quality.code import code_digest
from benchmarks.quality.data import DataSet
from benchmarks.quality.jobs import Job, Task
from benchmarks.quality.lanes import Lane, Result
from benchmarks.quality.method import Method
from benchmarks.quality.search import FACTORS, suggest
from dtsinn.core.errors import RunError
from dtsinn.data.store import Store

TRIAL_SEED = 1000
"""Seed of all trials, which no counted run shares."""
UNTRAINED = Plan(steps=0, validations=0)
NO_WIDTH = -1
"""Key of the speed of a method whose width is not searched."""
Done = tuple[Job, Result]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every method gets."""

    seconds: float
    """Process CPU time of a training on one thread."""
    trials: int
    seeds: int


@dataclass(kw_only=True)
class Contest:
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
    def searched(self) -> bool:
        """Whether it has anything to search."""
        return bool(self.method.space)

    @property
    def jobs(self) -> int:
        """Trials and final jobs, all together."""
        return self.budget.trials * self.searched + self._seeds

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

    def lane(self) -> Lane:
        """The search, then the seeds of its best."""
        space = self.method.space
        for number in range(self.budget.trials if self.searched else 0):
            past = [(job.parameters, result["val_psnr"]) for job, result in self.trials]
            drawn = suggest(space, past, number)
            job = self._job("trial", number, drawn)
            self.trials.append((job, (yield job)))
        best = self.parameters
        for number in range(self._seeds):
            job = self._job("final", number, best)
            self.finals.append((job, (yield job)))

    def few_lane(self, subjects: int) -> Lane:
        """The best settings again, trained on few subjects."""
        for number in range(self._seeds):
            job = self._job("few", number, self.parameters, subjects=subjects)
            self.few.append((job, (yield job)))

    def unseen_lane(self, level: str, store: Store) -> Lane:
        """The finals' networks on the test subjects of another store."""
        for final, result in self.finals:
            if not result["test"]:
                continue
            if not Path(final.weights).exists():
                raise RunError(
                    f"no weights at {final.weights}", hint="another --work, or its line deleted"
                )
            job = Job(
                task="unseen",
                method=final.method,
                data=f"{self.data.name}-{level}",
                number=final.number,
                seed=final.seed,
                settings=final.settings,
                plan=final.plan,
                store=store.header.path,
                digest=store.header.digest,
                code=final.code,
                weights=final.weights,
                of=final.key,
            )
            self.unseen.setdefault(level, []).append((job, (yield job)))

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
        return Job(**(vars(job) | {"weights": str(self.work / f"weights/{job.key}.safetensors")}))

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
