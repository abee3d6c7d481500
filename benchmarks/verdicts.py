"""``verdicts``: does `dtsinn separate` say outside when it should, and do its intervals hold?

``python -m benchmarks verdicts`` trains a separator, or takes a package, calibrates it, and judges
subjects that nothing has used: of the training population, and of the suites ``own`` and
``stress``. Everybody is separated and judged as a scan is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.stats import binomtest

from benchmarks.prepare import WORK
from benchmarks.quality.data import data_sets
from benchmarks.report import Result, Say, Table, Work, Workers
from dtsinn.core.workspace import Workspace
from dtsinn.deploy.package import read_package
from dtsinn.evaluation.suite import cells_of, load_suite
from dtsinn.separation.calibration import Calibration, Measured
from dtsinn.separation.intervals import coverage
from dtsinn.simulation.request import StudyRequest
from dtsinn.workflows.calibrating import SLICES, find_calibration, measure_simulated

NAME = "verdicts"
UNSEEN = 400
"""Subjects of the training population on whom false alarms are counted."""
WRONG = 10.0
"""kinetic_error, %, above which a scan should raise an alarm."""
SEEN = ("own", "stress")
"""Suites."""
AIMED = ("dose", "kinetics", "thorax", "osem")
"""Parts of the keys of cells whose wrong scans should raise an alarm."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Subjects of one kind.

    Attributes:
        key: Of the cell.
        alarms: Whether each lies outside.
        wrong: kinetic_error of each, %; NaN where nothing can be read.
        why: Check -> how many it failed.
        covered: Read-out -> whether each interval holds the truth, of curves in how many frames.
    """

    key: str
    alarms: list[bool]
    wrong: list[float]
    why: dict[str, int]
    covered: dict[str, list[float]]

    @property
    def wrong_alarms(self) -> list[bool]:
        """Alarms of the subjects that are wrong."""
        return [
            alarm for alarm, wrong in zip(self.alarms, self.wrong, strict=True) if wrong > WRONG
        ]


def run(
    *,
    package: Annotated[str, typer.Option(help="A separator package; without one it trains.")] = "",
    subjects: Annotated[int, typer.Option(help="Unseen ones of the training population.")] = UNSEEN,
    suites: Annotated[str, typer.Option(help="Suites, with commas.")] = ",".join(SEEN),
    work: Work = WORK,
    workers: Workers = 2,
    say: Say,
) -> Result:
    """Count false alarms, alarms on scans that go wrong, and the coverage of intervals; 10 minutes.

    Example: python -m benchmarks verdicts --package exported
    """
    folder = Path(package) if package else train(work, say)
    return measure(
        folder, Workspace(work / "verdicts"), subjects, suites.split(","), workers=workers, say=say
    )


def train(work: Path, say: Say) -> Path:
    """The package of coupling blocks, trained once on the set of the quality benchmark."""
    from dtsinn.workflows.pipeline import train as train_one

    workspace = Workspace(work / "verdicts")
    folder = workspace.runs / NAME / "separator"
    if not folder.exists():
        say("training coupling blocks")
        store = data_sets()["image"].prepare(work)
        train_one(store, name=NAME, workspace=workspace)
    return folder


def measure(
    package: Path,
    workspace: Workspace,
    subjects: int,
    suites: Sequence[str],
    *,
    calibrating: int = 400,
    workers: int,
    say: Say,
) -> Result:
    """Calibrate a package and judge.

    Args:
        package: Of a separator that was trained on simulated subjects.
        workspace: Where its calibration is kept.
        subjects: Unseen ones of the training population.
        suites: Names of suites.
        calibrating: Calibration subjects.
        workers: Processes.
        say: Told of what is being done.
    """

    def tell(what: str, done: int, of: int) -> None:
        if done and done % 100 == 0:
            say(f"{what}: {done} of {of}")

    found = find_calibration(package, workspace, tell, subjects=calibrating, workers=workers)
    if isinstance(found, str):
        raise typer.BadParameter(f"{package}: {found}")
    info = read_package(package)[1]
    own = info.lineage.trained_on[0]
    model, _, level = own.noise.rpartition(" ")
    usual = StudyRequest(
        tracers=info.tracers,
        protocol=info.protocol,
        phantom=own.phantom,
        population=own.population or StudyRequest.population,
        noise=level,
        noise_model=model or "image",
        subjects=subjects,
        slices=SLICES,
        purpose="verdicts",
    )
    say("the training population")
    population = judge(found, "training population", usual, package, workers)
    cells: dict[str, list[Judged]] = {}
    for name in suites:
        for cell in cells_of(load_suite(name), info, workspace):
            if cell.request is not None:
                key = f"{name}: {cell.key}"
                say(key)
                cells.setdefault(name, []).append(judge(found, key, cell.request, package, workers))
    kind = f"{info.model.kind}, {info.lineage.steps} steps"
    return report(found, kind, population, cells)


def judge(
    known: Calibration, key: str, request: StudyRequest, package: Path, workers: int
) -> Judged:
    """Separate the subjects of a request and say of each whether it is outside."""
    measured = list(measure_simulated(package, [request], workers))
    why: Counter[str] = Counter()
    alarms = []
    for one in measured:
        distances = known.population.distances(one.features)
        failed = [name for name, far in distances.items() if far > known.population.limit(name)]
        why.update(failed)
        alarms.append(bool(failed))
    return Judged(
        key=key,
        alarms=alarms,
        wrong=[one.errors.kinetic_error for one in measured],
        why=dict(why.most_common()),
        covered=_coverage(known, measured),
    )


def _coverage(known: Calibration, measured: Sequence[Measured]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in measured:
        for name, held in coverage(known.intervals, one.errors).items():
            found.setdefault(name, []).extend(held)
    return found


def report(
    known: Calibration, kind: str, population: Judged, suites: dict[str, list[Judged]]
) -> Result:
    """Tables and numbers."""
    every = [population, *(one for cells in suites.values() for one in cells)]
    aimed = [one for one in suites.get("stress", []) if any(part in one.key for part in AIMED)]
    wrong = [alarm for one in aimed for alarm in one.wrong_alarms]
    tables = [
        Table(
            title="Verdict",
            columns=["what", "found", "aim"],
            rows=[
                ["false alarms, training population", _share(population.alarms), "at most 5 %"],
                [
                    f"alarms on scans with kinetic_error above {WRONG:g} %: dose, kinetics, "
                    "anatomy and OSEM of stress",
                    _share(wrong),
                    "at least 90 %",
                ],
            ],
        ),
        Table(
            title="By cell",
            columns=["cell", "alarms", "mean kinetic_error %", "alarms where above 10 %", "why"],
            rows=[
                [
                    one.key,
                    _share(one.alarms),
                    _mean(one.wrong),
                    _share(one.wrong_alarms),
                    ", ".join(f"{name} {count}" for name, count in list(one.why.items())[:3]),
                ]
                for one in every
            ],
        ),
        Table(
            title="Share of truths within their 90 % intervals",
            columns=["cell", *population.covered],
            rows=[
                [one.key, *(_share(one.covered.get(name, [])) for name in population.covered)]
                for one in every
            ],
        ),
    ]
    return Result(
        name=NAME,
        title="The verdict on scans, and intervals",
        notes=[
            f"Model: {kind}; calibrated on {known.source}; {known.subjects // 2} of them give the "
            "limit. Subjects here have other seeds than those of training and calibration.",
            "An alarm is a verdict of outside by what is measured of the scan; brackets: 95 % "
            "binomial intervals (Clopper and Pearson). kinetic_error: mean over tracers of the "
            "mean over read-out regions of |answer / truth - 1| of V_T and Ki, per scan.",
            "Without labels not every wrong answer can be seen: a mismatch of input functions "
            "changes no image, and a small lesion hardly any sum. No aim is set for them.",
            "Intervals are promised for the training population only; elsewhere the table says "
            "what they do there, and a scan that is outside gets none. Of curves the "
            "mean share of frames, with its 95 % normal interval over subjects and classes.",
        ],
        tables=tables,
        data={
            "calibration": {"subjects": known.subjects, "source": known.source},
            "cells": [
                {
                    "cell": one.key,
                    "subjects": len(one.alarms),
                    "alarms": sum(one.alarms),
                    "kinetic_error": [
                        round(value, 3) if math.isfinite(value) else None for value in one.wrong
                    ],
                    "alarm": one.alarms,
                    "why": one.why,
                    "coverage": {
                        name: {"held": round(sum(held), 3), "of": len(held)}
                        for name, held in one.covered.items()
                    },
                }
                for one in every
            ],
        },
    )


def _share(held: Sequence[float]) -> str:
    """Mean with its interval: binomial of what holds or not, normal of shares."""
    if not held:
        return "none"
    if set(held) - {0, 1}:
        mean, half = np.mean(held), 1.96 * np.std(held) / math.sqrt(len(held))
        return f"{100 * mean:.1f} % [{100 * (mean - half):.1f}, {100 * (mean + half):.1f}]"
    interval = binomtest(int(sum(held)), len(held)).proportion_ci(method="exact")
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * np.mean(held):.1f} % [{low:.1f}, {high:.1f}] of {len(held)}"


def _mean(values: Sequence[float]) -> str:
    told = [value for value in values if math.isfinite(value)]
    return f"{np.mean(told):.1f}" if told else "none"
