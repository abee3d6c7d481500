"""What the benchmarks of searching share: a small store, spaces, a way to run a whole sitting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from dtsinn.core.workspace import Workspace
from dtsinn.core.yaml_text import format_yaml
from dtsinn.data.store import open_store
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.session import open_sitting
from dtsinn.search.events.ledger import LEDGER, Ledger
from dtsinn.search.events.spool import Spool
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
    """A sitting that has been opened, and where it lies."""

    driver: Driver
    spool: Spool
    workspace: Workspace

    @property
    def ledger(self) -> Path:
        """The search's ledger."""
        return self.spool.ledger.path


def open_seat(plan: SearchPlan, workspace: Workspace, concurrent: int) -> Seat:
    """Open a sitting as ``dtsinn search`` does, with a real ledger, study and spool."""
    folder = workspace.searches / plan.name
    spool = Spool(Ledger(folder / LEDGER), lambda: connect(workspace))
    driver = open_sitting(
        plan,
        folder,
        open_store(plan.store, need_truth=True),
        spool,
        QUIET,
        points=(),
        warm=(),
        concurrent=concurrent,
        share=None,
    )
    return Seat(driver=driver, spool=spool, workspace=workspace)


def sit(seat: Seat, train: Callable[[Driver], None], patience_s: float) -> int:
    """Train a sitting's trials and close it; returns the events that were never delivered."""
    seat.spool.start()
    with seat.driver.tools.table:
        train(seat.driver)
    seat.driver.close()
    seat.driver.end("finished")
    return seat.spool.close(patience_s)
