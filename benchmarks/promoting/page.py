"""``page``: how soon a browser shows the runs of a large search."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from benchmarks.report import Result, Say, Trials, make_table
from dtsinn.core.clock import now_ms
from dtsinn.core.errors import RunError
from dtsinn.core.tracker import Point, RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.registry.server.ui import start_ui
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.registry.tracking.view import front_page

REPORTS, METRICS, PARAMETERS = 10, 20, 40
"""Of the search; metrics of each report, and settings of each trial, as many as real ones have."""
OPENED = 9
"""Times that the page is opened, each time by a browser that knows nothing."""
TARGET_s = 2.0
"""Most that it may take (a target)."""


def run(folder: Path, *, trials: Trials = 1000, say: Say) -> Result:
    """Record a search of so many trials, and open its page.

    Args:
        folder: Where everything goes.
        trials: Of the search.
        say: Told what is being done.

    Raises:
        RunError: There is no Chromium.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise RunError("no Chromium here", hint="make browser")
    say(f"recording {trials} trials")
    seconds: dict[int, list[float]] = {}
    with ExitStack() as pages:
        addresses = {
            count: pages.enter_context(_served(folder / str(count), count)) for count in (trials, 1)
        }
        for _ in range(OPENED):
            for count, address in addresses.items():
                seconds.setdefault(count, []).append(_open(address, chromium))
    for count, taken in seconds.items():
        say(f"{count} trials: " + ", ".join(f"{one:.2f} s" for one in taken))
    whole = statistics.median(seconds[trials])
    return Result(
        name="page",
        title="How soon the page shows a large search",
        notes=[
            f"A search of {trials} trials with {PARAMETERS} settings and {REPORTS} reports of "
            f"{METRICS} metrics each, embedded SQLite; Chromium without a screen, from the "
            "address that dtsinn ui prints to the search's own line in the table, scripts loaded "
            "anew each time; the servers have just been started. Beside it, turn by turn, the "
            "same with a search of one trial: what MLflow's page takes by itself here.",
            f"Wanted: at most {TARGET_s:g} s.",
        ],
        tables=[
            make_table(
                seconds.items(),
                {
                    "trials": lambda one: one[0],
                    "first time, s": lambda one: f"{one[1][0]:.2f}",
                    f"median of {OPENED}, s": lambda one: f"{statistics.median(one[1]):.2f}",
                    "ratio": lambda one: f"{statistics.median(one[1]) / whole:.2f}",
                },
            )
        ],
        data={"seconds": {str(count): taken for count, taken in seconds.items()}},
    )


@contextmanager
def _served(folder: Path, trials: int) -> Iterator[str]:
    """Address of a workspace's page, with a search of so many trials."""
    workspace = Workspace(folder)
    tracker = connect(workspace)
    _record(tracker, trials)
    page = start_ui(workspace)
    try:
        yield page.url + front_page(tracker.client)
    finally:
        page.stop()


def _record(tracker: MlflowTracker, trials: int) -> None:
    begun = now_ms()
    experiment = "fmz-fdg p1 benchmark"
    tracker.begin(
        RunStart(key="large", name="large", kind="search", experiment=experiment, time_ms=begun)
    )
    settings = {f"setting.{number}": number / 7 for number in range(PARAMETERS)}
    for trial in range(trials):
        key = f"large/trial-{trial:04d}"
        tracker.begin(
            RunStart(
                key=key,
                name=key.rpartition("/")[2],
                kind="trial",
                parent="large",
                parameters=settings,
                description=", ".join(f"{name} {value:.3g}" for name, value in settings.items()),
                experiment=experiment,
                time_ms=begun,
            )
        )
        points = [
            Point(
                step=100 * report,
                metrics={"best_psnr": 30.0} | {f"metric_{n}": n + report for n in range(METRICS)},
                time_ms=begun + report,
            )
            for report in range(1, REPORTS + 1)
        ]
        tracker.report(key, points)
        tracker.end(key, "finished", begun + REPORTS)
    tracker.end("large", "finished", begun + REPORTS)


def _open(address: str, chromium: str) -> float:
    """Seconds from the address to the search's line, in a browser without a memory."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        begun = time.perf_counter()
        page.goto(address)
        expect(page.get_by_role("link", name="large", exact=True)).to_be_visible(timeout=60_000)
        taken = time.perf_counter() - begun
        browser.close()
    return taken
