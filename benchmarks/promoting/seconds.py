"""``seconds``: what registering, the gate without its scores, and promoting take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from benchmarks.promoting.setting import begun_run
from benchmarks.report import Result, Say, Steps, Table
from benchmarks.stores import prepare_store
from benchmarks.trainings import train_state
from dtsinn.core.workspace import Workspace
from dtsinn.evaluation.score import score_subjects
from dtsinn.registry.gate import comparison
from dtsinn.registry.gate.cells import gate_cells
from dtsinn.registry.gate.config import load_gate
from dtsinn.registry.promotion import promotion
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect
from dtsinn.simulation.request import StudyRequest
from dtsinn.training.package import package_run

STORE = StudyRequest(subjects=20, slices=4, size=64, noise="mid", seed=0)
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
    taken, together, rows = list[dict[str, Any]](), list[float](), list[list[str]]()
    for number in range(versions):
        key = f"version-{number}"
        package = folder / key
        state = train_state(store, [], steps * 2**number, validations=4)
        package_run(state, store.header, package, key)
        begun_run(tracker, store, key)
        begun = time.perf_counter()
        version = register(tracker, package, run_key=key)
        registering = time.perf_counter() - begun
        with scoring() as seconds:
            begun = time.perf_counter()
            report = promotion.promote(tracker, workspace, version, store, config)
            promoting = time.perf_counter() - begun
        cost = {
            "register": registering,
            "promote": promoting - sum(seconds),
            "scoring": sum(seconds),
        }
        together.append(cost["register"] + cost["promote"])
        say(f"{version.ref} {report.verdict}: {together[-1]:.2f} s")
        taken.append(cost | {"verdict": report.verdict})
        rows.append(
            [f"{number + 1}, {report.verdict}"]
            + [f"{s:.2f}" for s in (registering, cost["promote"], together[-1], cost["scoring"])]
        )
    return Result(
        name="seconds",
        title="From a package to a champion",
        notes=[
            "The default network, embedded SQLite, one process; scoring is simulating the gate's "
            "suite, which the first version waits for, and separating and scoring its subjects.",
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
        data={"versions": taken},
    )  # fmt: skip


@contextmanager
def scoring() -> Iterator[list[float]]:
    """Seconds of all scoring, and of what it scores, within."""
    seconds: list[float] = []

    def watched(what: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return what(*given, **named)
            finally:
                seconds.append(time.perf_counter() - begun)

        return watch

    with (
        patch.object(comparison, "score_subjects", watched(score_subjects)),
        patch.object(promotion, "gate_cells", watched(gate_cells)),
    ):
        yield seconds
