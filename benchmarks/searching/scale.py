"""What a sitting costs, trial by trial, seen from the driver's own thread."""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune

from benchmarks.machine import describe_machine
from benchmarks.report import Result, Say, Table
from benchmarks.searching.setting import MIXED, Seat, open_seat, sit, small_store, space_file
from dtsinn.core.workspace import Workspace
from dtsinn.registry.server.ui import start_ui
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search.engine.cluster import ray_session, trials_that_fit
from dtsinn.search.engine.driver import Driver
from dtsinn.search.engine.tuner import run_trials
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space

PAGE_bytes = 4096
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The end of a trial; times in s since some moment."""

    wall: float
    cpu: float
    """Of the driver's thread."""
    memory_MB: float
    """Resident, of the driver's process."""


class Watch:
    """Stands before a driver, in Ray's eyes is it, and takes times.

    Attributes:
        marks: One at the start and one per trial's end.
        asked: Wall and CPU seconds of each suggestion.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.marks = [_mark()]
        self.asked: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    def suggest(self, ray_id: str) -> dict[str, Any] | None:
        """As the driver does."""
        wall, cpu = time.monotonic(), time.thread_time()
        found = self.driver.suggest(ray_id)
        if found is not None:
            self.asked.append((time.monotonic() - wall, time.thread_time() - cpu))
        return found

    def ended(self, ray_id: str, result: Mapping[str, Any] | None, error: bool) -> None:
        """As the driver does."""
        self.driver.ended(ray_id, result, error)
        self.marks.append(_mark())


@dataclass(frozen=True, kw_only=True)
class Block:
    """Means over some trials that followed each other; ms per trial."""

    first: int
    last: int
    wall: float
    """Without suggestions."""
    cpu: float
    """Of the driver's thread, without suggestions."""
    suggest: float
    """Wall time of a suggestion."""


def block(watch: Watch, first: int, last: int) -> Block:
    """Costs of the trials from the ``first``-th on to before the ``last``-th, by order of ends."""
    before, after = watch.marks[first], watch.marks[last]
    asked, count = watch.asked[first:last], last - first
    return Block(
        first=first,
        last=last,
        wall=1e3 * (after.wall - before.wall - sum(one[0] for one in asked)) / count,
        cpu=1e3 * (after.cpu - before.cpu - sum(one[1] for one in asked)) / count,
        suggest=1e3 * sum(one[0] for one in asked) / count,
    )


def resident() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_bytes / MB


def _mark() -> Mark:
    return Mark(wall=time.monotonic(), cpu=time.thread_time(), memory_MB=resident())


NAME = "scale"
REPORTS = 20
"""Of each trial, with two metrics each."""
PATIENCE_s = 3600.0
"""Longest wait for MLflow after the last trial."""
ASKED = 5
"""Times that the page is asked."""
GROWTH = 1.5
"""Most that a trial of the last block may cost, over one of the first (a target)."""
LATENCY_ms = 300.0
"""Most that a suggestion may take at the end (a target)."""


def trivial(config: dict[str, Any]) -> None:
    """Report and do nothing else."""
    rate = float(config["suggestion"]["optimizer.learning_rate"])
    for step in range(1, REPORTS + 1):
        value = 30 - abs(math.log(rate / 5e-3)) + step / REPORTS
        tune.report(
            {
                "step": step,
                "metrics": {"best_psnr": value, "val_psnr": value},
                "finished": step == REPORTS,
                "time_ms": int(time.time() * 1000),
            }
        )


def run(*, trials: int, say: Say) -> Result:
    """Search, deliver, and ask the page; a search of its own in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        space = space_file(folder, MIXED, steps=REPORTS, validate_every=1)
        plan = SearchPlan(
            name=NAME,
            store=small_store(folder),
            space=load_space(space),
            trials=trials,
            scheduler="none",
        )
        workspace = Workspace(folder / "workspace")
        connect(workspace)  # which makes the database, once, in seconds
        with ray_session(None):
            concurrent = trials_that_fit(1, 0)
            seat = open_seat(plan, workspace, concurrent)
            data, blocks = _search(seat, say)
        say("asking the page")
        data |= _ask_page(workspace)
        data |= {"asked_for": trials, "reports": REPORTS, "concurrent": concurrent}
    return _result(data, blocks)


def _search(seat: Seat, say: Say) -> tuple[dict[str, Any], list[Block]]:
    watch, trials = Watch(seat.driver), seat.driver.plan.trials
    kept: dict[str, float] = {"memory_start_MB": resident()}

    def train(driver: Driver) -> None:
        say(f"{trials} trials of {REPORTS} reports")
        begun = time.monotonic()
        run_trials(cast(Driver, watch), trivial, {"cpu": 1})
        kept["search_s"] = time.monotonic() - begun
        kept["memory_end_MB"] = resident()
        kept["waiting"] = seat.spool.waiting()
        kept["ended"] = time.monotonic()
        say(f"{kept['search_s']:.0f} s; {kept['waiting']:.0f} events wait for MLflow")

    undelivered = sit(seat, train, PATIENCE_s)
    drain = time.monotonic() - kept.pop("ended")
    events = sum(1 for _ in seat.driver.tools.spool.ledger)
    done = len(watch.marks) - 1  # fewer than asked for where `dtsinn stop` ended it
    size = max(1, min(500, done // 4))
    starts = range(0, done - size + 1, size)
    blocks = [block(watch, first, first + size) for first in starts]
    points = sum(len(trial.points) for trial in seat.driver.history.trials.values())
    return kept | {
        "trials": done,
        "states": seat.driver.history.states(),
        "drain_s": drain,
        "undelivered": undelivered,
        "events": events,
        "ledger_rows_per_s": events / kept["search_s"],
        "ledger_MB": seat.ledger.stat().st_size / 1e6,
        "mlflow_rows_per_s": 2 * points / (kept["search_s"] + drain),
        "database_MB": seat.workspace.database.stat().st_size / 1e6,
        "blocks": [asdict(one) for one in blocks],
        "growth": blocks[-1].wall / blocks[0].wall,
        "growth_cpu": blocks[-1].cpu / blocks[0].cpu,
    }, blocks


def _ask_page(workspace: Workspace) -> dict[str, Any]:
    """Times of the first page of runs, as MLflow's own page asks for it."""
    experiments = [e.experiment_id for e in connect(workspace).client.search_experiments()]
    asked = {"experiment_ids": experiments, "max_results": 100, "run_view_type": "ACTIVE_ONLY"}
    server = start_ui(workspace)
    try:
        seconds = []
        for _ in range(ASKED):
            request = urllib.request.Request(  # noqa: S310
                f"{server.url}/ajax-api/2.0/mlflow/runs/search",
                data=json.dumps(asked | {"order_by": ["attributes.start_time DESC"]}).encode(),
                headers={"Content-Type": "application/json"},
            )
            begun = time.monotonic()
            with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
                runs = len(json.load(answer)["runs"])
            seconds.append(time.monotonic() - begun)
    finally:
        server.stop()
    return {
        "page_s": statistics.median(seconds),
        "page_first_s": seconds[0],
        "page_runs": runs,
    }


def _result(data: dict[str, Any], blocks: Sequence[Block]) -> Result:
    last = blocks[-1]
    facts = [
        ("search, s", f"{data['search_s']:.0f}"),
        ("the spool needs after it, s", f"{data['drain_s']:.0f}"),
        ("events that it waited with then", f"{data['waiting']:.0f}"),
        ("never delivered", f"{data['undelivered']}"),
        ("ledger, events", f"{data['events']}"),
        ("ledger, events per s", f"{data['ledger_rows_per_s']:.0f}"),
        ("ledger, MB", f"{data['ledger_MB']:.1f}"),
        ("MLflow, metric rows per s", f"{data['mlflow_rows_per_s']:.0f}"),
        ("MLflow's database, MB", f"{data['database_MB']:.0f}"),
        ("driver's memory at the start, MB", f"{data['memory_start_MB']:.0f}"),
        ("driver's memory at the end, MB", f"{data['memory_end_MB']:.0f}"),
        ("first page of runs, s, median", f"{data['page_s']:.2f}"),
        ("a trial at the end over one at the start, wall", f"{data['growth']:.2f}"),
        ("the same, CPU of the driver's thread", f"{data['growth_cpu']:.2f}"),
    ]
    held = {
        f"at most {GROWTH} times the cost at the end": data["growth"] <= GROWTH,
        f"a suggestion in {LATENCY_ms:.0f} ms at the end": last.suggest <= LATENCY_ms,
    }
    data["held"] = held
    rows = [
        [f"{b.first + 1} to {b.last}", f"{b.wall:.0f}", f"{b.cpu:.0f}", f"{b.suggest:.0f}"]
        for b in blocks
    ]
    load = f"{os.getloadavg()[1]:.1f}"
    return Result(
        name=NAME,
        title=f"{data['trials']} trials of {REPORTS} reports in one search",
        machine=describe_machine() | {"ray": ray.__version__},
        notes=[
            "Trainable that only reports two metrics; no scheduler, TPE, "
            f"{data['concurrent']} trials at a time, Ray on this machine, MLflow on SQLite.",
            "A trial's cost is the wall time between ends of trials, over the trials of a block, "
            "less that of their suggestions; MLflow is told in the same process meanwhile.",
            f"Targets, up to trial {last.last}: "
            f"{'; '.join(f'{what}: {_yes(ok)}' for what, ok in held.items())}.",
            f"Asked for were {data['asked_for']} trials"
            f"{'; it was stopped before.' if data['trials'] < data['asked_for'] else '.'}",
            f"The machine was shared; five-minute load average at the end: {load}.",
        ],
        tables=[
            Table(
                title="Means of a trial",
                columns=["trials", "cost, ms", "driver's CPU, ms", "suggestion, ms"],
                rows=rows,
            ),
            Table(title="The whole", columns=["what", "value"], rows=facts),
        ],
        data=data,
    )


def _yes(held: bool) -> str:
    return "held" if held else "missed"
