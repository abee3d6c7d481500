"""What the benchmarks of searching share: a small store, spaces, a way to run a whole session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.prepare import prepare_store
from benchmarks.report import T
from dtsinn.core.workspace import Workspace
from dtsinn.core.yaml_text import format_yaml
from dtsinn.data.store import open_store
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.session import open_session
from dtsinn.search.plan import SearchPlan
from dtsinn.simulation.request import StudyRequest

QUIET = Console(quiet=True)
SMALL = StudyRequest(subjects=12, slices=2, size=32, noise="mid", seed=0, population="varied")
"""Enough to train on for a moment."""


def small_store(folder: Path) -> str:
    """Path of a small store in ``folder``, simulated where it is missing."""
    return prepare_store("small", SMALL, folder).header.path


RATE = {"optimizer.learning_rate": {"log": [2e-3, 1.2e-2]}}
MIXED = {
    "model.blocks": {"choice": [1, 2]},
    "loss.backward": {"choice": [0.0, 0.02, 0.1]},
    "loss.consistency": {"choice": [0.0, 0.05]},
    "augmentation.dose": {"choice": [0.0, 0.1]},
} | RATE
NEUTRAL = {"optimizer.weight_decay": {"log": [1e-6, 1e-2]}} | RATE
"""What hardly changes the time of a step."""


def space_file(
    folder: Path, parameters: Mapping[str, Any], *, steps: int, validate_every: int
) -> str:
    """Path of a space, written into ``folder``, of narrow networks."""
    content = {
        "base": "invertible",
        "fixed": {"steps": steps, "validate_every": validate_every, "model.width": 8},
        "parameters": dict(parameters),
    }
    path = folder / "space.yaml"
    path.write_text(format_yaml(content), encoding="utf-8")
    return str(path)


class OpenSession:
    """A session opened as by ``dtsinn search``, with a real event log, study and outbox.

    Args:
        plan: What is searched.
        workspace: Where.
        concurrent: Trials at a time.
    """

    def __init__(self, plan: SearchPlan, workspace: Workspace, concurrent: int) -> None:
        folder = workspace.searches / plan.name
        self.workspace = workspace
        self.outbox = Outbox(EventLog(folder / LOG_FILE), lambda: connect(workspace))
        self.driver = open_session(
            plan,
            folder,
            open_store(plan.store, need_truth=True),
            self.outbox,
            QUIET,
            events=list(self.outbox.event_log),
            points=(),
            warm=(),
            concurrent=concurrent,
            share=None,
        )

    def run(self, train: Callable[[Driver], T], patience_s: float) -> tuple[T, int]:
        """Train all trials and close.

        Args:
            train: Trains the trials of a driver.
            patience_s: Longest wait for MLflow after the last trial.

        Returns:
            What training gave, and the events that were never delivered.
        """
        self.outbox.start()
        with self.driver.tools.table:
            found = train(self.driver)
        self.driver.close()
        self.driver.end("finished")
        return found, self.outbox.close(patience_s)
