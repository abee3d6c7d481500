"""What the benchmarks of searching share: a small store, spaces, a way to run a whole session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

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
from dtsinn.simulation.study import simulate_study

QUIET = Console(quiet=True)
SMALL = StudyRequest(subjects=12, slices=2, size=32, noise="mid", seed=0)
"""Enough to train on for a moment."""


def small_store(folder: Path) -> str:
    """Path of a small store in ``folder``, simulated where it is missing."""
    path = folder / "small.zarr"
    if not path.exists():
        simulate_study(SMALL, str(path))
    return str(path)


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
        "base": "default",
        "fixed": {"steps": steps, "validate_every": validate_every, "model.width": 8},
        "parameters": dict(parameters),
    }
    path = folder / "space.yaml"
    path.write_text(format_yaml(content), encoding="utf-8")
    return str(path)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A session that has been opened, and where it lies."""

    driver: Driver
    outbox: Outbox
    workspace: Workspace

    @property
    def event_log(self) -> Path:
        """The search's event log."""
        return self.outbox.event_log.path


def open_seat(plan: SearchPlan, workspace: Workspace, concurrent: int) -> Seat:
    """Open a session as ``dtsinn search`` does, with a real event log, study and outbox."""
    folder = workspace.searches / plan.name
    outbox = Outbox(EventLog(folder / LOG_FILE), lambda: connect(workspace))
    driver = open_session(
        plan,
        folder,
        open_store(plan.store, need_truth=True),
        outbox,
        QUIET,
        events=list(outbox.event_log),
        points=(),
        warm=(),
        concurrent=concurrent,
        share=None,
    )
    return Seat(driver=driver, outbox=outbox, workspace=workspace)


def sit(seat: Seat, train: Callable[[Driver], None], patience_s: float) -> int:
    """Train a session's trials and close it; returns the events that were never delivered."""
    seat.outbox.start()
    with seat.driver.tools.table:
        train(seat.driver)
    seat.driver.close()
    seat.driver.end("finished")
    return seat.outbox.close(patience_s)
