"""A ``dtsinn search`` in a process of its own, watched by its event log, killed and resumed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.events.state import SearchState, replay

POLL_s = 0.05
WORKER_s = 60.0
"""Longest wait for a worker to kill."""


@dataclass(kw_only=True)
class KillTarget:
    """A search under way, and its driver's process."""

    name: str
    store: str
    space: str
    trials: int
    workspace: Workspace
    driver: subprocess.Popen[bytes] = field(init=False)
    family: list[psutil.Process] = field(default_factory=list)
    """Processes that drivers which were killed had started."""

    @property
    def folder(self) -> Path:
        """Of the search."""
        return self.workspace.searches / self.name

    def __post_init__(self) -> None:
        self.workspace.root.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Begin, or resume what was begun."""
        begun = (self.folder / LOG_FILE).exists()
        words = [sys.executable, "-c", "from dtsinn.cli import main; main()", "search", self.store]
        words += ["--name", self.name, "--workspace", str(self.workspace.root)]
        words += ["--resume"] if begun else ["--space", self.space, "--trials", str(self.trials)]
        with (self.workspace.root / f"{self.name}.log").open("ab") as log:
            self.driver = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def history(self) -> SearchState:
        """What its event log tells so far."""
        return replay(self.name, EventLog(self.folder / LOG_FILE, readonly=True))

    def wait_for(self, more: int, deadline_s: float) -> bool:
        """Until so many more events are in the event log; False if it ended, or took too long."""
        wanted = self._count_events() + more
        return self._poll(lambda: self._count_events() >= wanted, deadline_s)

    def kill_worker(self, draw: random.Random) -> bool:
        """Kill a process that trains a trial; False if none was found."""

        def kill_one() -> bool:
            found = [one for one in self._children() if _trains(one)]
            with suppress(psutil.NoSuchProcess, IndexError):
                draw.choice(found).kill()
                return True
            return False

        return self._poll(kill_one, WORKER_s)

    def kill_driver(self) -> float:
        """Kill the driver; returns the work of its trials that no report tells of, in seconds."""
        self.family += self._children()
        now = time.time()
        self.driver.kill()
        self.driver.wait()
        return sum(
            max(
                0.0,
                now - max(trial.begun_ms or 0, *(p.time_ms for p in trial.points[-1:]), 0) / 1e3,
            )
            for trial in self.history().trials.values()
            if trial.state == "running"
        )

    def kill_all(self) -> int:
        """Kill what is left of all drivers' processes; returns how many there were."""
        if self.driver.poll() is None:
            self.family += self._children()
            self.driver.kill()
            self.driver.wait()
        alive = [one for one in self.family if one.is_running()]
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.family.clear()
        return len(alive)

    def _count_events(self) -> int:
        path = self.folder / LOG_FILE
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _poll(self, happens: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until it happens; False if the driver ended first, or it took too long."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline and self.driver.poll() is None:
            if happens():
                return True
            time.sleep(POLL_s)
        return False

    def _children(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return found


def _trains(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return command.startswith("ray::ImplicitFunc")  # Ray's agents, too, are called ray::
