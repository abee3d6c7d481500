"""Searches driven by hand: real event logs, studies and drivers, no Ray and no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dtsinn.core.clock import now_ms
from dtsinn.core.tracker import Tracker
from dtsinn.data.store import Store
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.session import open_session
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space
from tests.support.null_tracker import NullTracker

SPACE = """
fixed: {steps: 90, validate_every: 10, model.width: 4}
parameters:
  model.blocks: {choice: [1, 2]}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., SearchPlan]:
    """Plans of the search ``hand`` over a small space."""

    def make(text: str = SPACE, **more: Any) -> SearchPlan:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        settings = {"name": "hand", "store": "s.zarr", "space": load_space(str(path))}
        return SearchPlan(**(settings | {"trials": 4, "scheduler": "none"} | more))

    return make


@dataclass
class Hand:
    """Does what Ray and its workers would do."""

    driver: Driver
    ids: dict[str, str] = field(default_factory=dict)

    def start(self) -> str:
        """Start the next trial; its name, or nothing where none may start."""
        ray_id = f"ray-{len(self.ids)}"
        given = self.driver.suggest(ray_id)
        if given is None:
            return ""
        self.ids[given["trial"]] = ray_id
        self.driver.start_trial(ray_id)
        return str(given["trial"])

    def report(
        self,
        trial: str,
        step: int,
        psnr: float,
        *,
        finished: bool = False,
        **metrics: float,
    ) -> bool:
        """Report a validation; returns whether the trial goes on."""
        told = {"metrics": {"best_psnr": psnr} | metrics, "time_ms": now_ms()}
        result = {"step": step, "finished": finished} | told
        return self.driver.handle_report(self.ids[trial], result)

    def tell(self, trial: str, **result: Any) -> bool:
        """Report something else."""
        return self.driver.handle_report(self.ids[trial], {"step": 0, "finished": False} | result)

    def end(self, trial: str, *, finished: bool = False, error: bool = False) -> None:
        """Ray says that the trial ended."""
        self.driver.handle_end(self.ids[trial], {"finished": finished}, error)

    def whole(self, psnr: float) -> str:
        """A trial from its start to its end."""
        trial = self.start()
        assert not self.report(trial, 90, psnr, finished=True)
        self.end(trial, finished=True)
        return trial


@pytest.fixture
def sit(tmp_path: Path, small_store: Store) -> Callable[..., Hand]:
    """Opens a session of a search in ``tmp_path/hand``; its outbox is not started."""

    def open_one(
        plan: SearchPlan,
        *,
        tracker: Tracker | None = None,
        concurrent: int = 4,
        points: Sequence[Mapping[str, Any]] = (),
        warm: Sequence[Mapping[str, Any]] = (),
        within: Path = tmp_path,
    ) -> Hand:
        folder = within / plan.name
        outbox = Outbox(EventLog(folder / LOG_FILE), lambda: tracker or NullTracker())
        return Hand(
            open_session(
                plan,
                folder,
                small_store,
                outbox,
                Console(quiet=True),
                events=list(outbox.event_log),
                points=points,
                warm=warm,
                concurrent=concurrent,
                share=None,
            )
        )

    return open_one
