"""``seconds``: what registering, the gate without its scores, and promoting take."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.clock import timed_calls
from benchmarks.prepare import begun_run, prepare_store, train_state
from benchmarks.report import Result, Say, Steps, Table
from dtsinn.core.workspace import Workspace
from dtsinn.registry.gate import comparison
from dtsinn.registry.gate.config import load_gate
from dtsinn.registry.promotion import promotion
from dtsinn.registry.promotion.first_champion import ensure_champion
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect
from dtsinn.simulation.request import StudyRequest
from dtsinn.training.package import package_run

STORE = StudyRequest(subjects=20, slices=4, size=64, noise="mid", seed=0, population="varied")
NAME = "dtsinn-fmz-fdg-p1"
TARGET_s = 3.0
"""Most that the three may take together (a target)."""


def run(
    folder: Path,
    *,
    versions: Annotated[int, typer.Option(help="Models that are registered.")] = 4,
    steps: Steps = 20,
    say: Say,
) -> Result:
    """Register and promote versions of the default network, one after the other.

    Args:
        folder: Where everything goes.
        versions: How many; each is trained longer than the one before.
        steps: Of the first; ``promote`` is without scoring, with the proof of the ONNX graphs.
        say: Told what is being done.
    """
    store = prepare_store("store", STORE, folder)
    workspace, config = Workspace(folder / "workspace"), load_gate()
    tracker = connect(workspace)
    first = 0.0
    taken, together, rows = list[dict[str, Any]](), list[float](), list[list[str]]()
    for number in range(versions):
        key = f"version-{number}"
        package = folder / key
        state = train_state(store, [], steps * 2**number, validations=4)
        package_run(state, store, package, key)
        begun_run(tracker, store, key)
        if not number:
            begun = time.perf_counter()
            ensure_champion(tracker, workspace, NAME, package, key, store)
            first = time.perf_counter() - begun
            say(f"first champion: {first:.2f} s")
        begun = time.perf_counter()
        version = register(tracker, package, run_key=key)
        registering = time.perf_counter() - begun
        with (
            timed_calls(comparison, "score_subjects") as scored,
            timed_calls(promotion, "gate_cells") as prepared,  # simulates what is scored
        ):
            begun = time.perf_counter()
            report = promotion.promote(tracker, workspace, version, store, config)
            promoting = time.perf_counter() - begun
        scoring = sum(scored) + sum(prepared)
        cost = {"register": registering, "promote": promoting - scoring, "scoring": scoring}
        together.append(cost["register"] + cost["promote"])
        say(f"{version.ref} {report.verdict}: {together[-1]:.2f} s")
        taken.append(cost | {"verdict": report.verdict})
        rows.append(
            [f"{version.version}, {report.verdict}"]
            + [f"{s:.2f}" for s in (registering, cost["promote"], together[-1], cost["scoring"])]
        )
    return Result(
        name="seconds",
        title="From a package to a champion",
        notes=[
            "The default network, embedded SQLite, one process; scoring is simulating the gate's "
            "suite, which the first version waits for, and separating and scoring its subjects. "
            f"Before it the linear map was made the first champion, version 1, in {first:.2f} s.",
            f"Wanted: at most {TARGET_s:g} s together; median "
            f"{statistics.median(together):.2f} s.",
        ],
        tables=[
            Table(
                title="",
                columns=["version", "register, s", "gate and promote, s", "together, s",
                         "beside it: scoring, s"],
                rows=rows,
            )
        ],
        data={"versions": taken, "first_champion": first},
    )  # fmt: skip
