"""MLflow's page in a real browser, as a person uses it, over a real search.

It needs Chromium, which a wheel cannot bring: ``make browser`` installs the distribution's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.integration.conftest import Done

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SIGHT_ms = 60_000
"""Longest wait for something to be seen."""
SETTLED_ms = 3_000
"""Of a picture for the manual: charts move into place."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make browser")


@pytest.fixture(scope="module")
def site(done: Done) -> Iterator[str]:
    """Address that ``dtsinn ui`` prints."""
    command = [str(Path(sys.executable).parent / "dtsinn"), "ui", "--port", "0"]
    environment = os.environ | {"DTSINN_WORKSPACE": str(done.workspace.root)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        line = job.stdout.readline()
        yield line.split()[0].rstrip("/")
        job.terminate()


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(SIGHT_ms)
        expect.set_options(timeout=SIGHT_ms)
        yield page
        browser.close()


@pytest.fixture
def shot(browser_page: Page) -> Callable[[str], None]:
    """Keeps what is seen, where a folder for that is named."""
    folder = os.environ.get("SCREENSHOTS")

    def take(name: str) -> None:
        if folder:
            browser_page.wait_for_timeout(SETTLED_ms)
            path = browser_page.get_by_text("Path: file")  # of this machine
            file = Path(folder) / f"mlflow-{name}.png"
            browser_page.screenshot(path=file, mask=[path], mask_color="#ffffff")

    return take


def test_the_page_shows_the_search_and_its_trials(
    browser_page: Page, site: str, done: Done, shot
) -> None:
    page = browser_page
    page.goto(site.partition("#")[0] + "#/experiments")
    page.get_by_text("Model training", exact=True).click()  # for all pages that follow
    page.get_by_role("button", name="Close", exact=True).click()  # MLflow's assistant
    page.goto(site)
    search = page.get_by_role("link", name="first", exact=True)
    expect(search).to_be_visible()
    for column in ("best_psnr", "dtsinn.status", "reason", "Description", "Models"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_attached()
    row = page.get_by_role("row").filter(has=search)
    best = f"{done.found.search.best_psnr:.3f}"[:-1]  # the table shows more digits
    expect(page.get_by_text(best).first).to_be_attached()
    row.get_by_role("button").first.click()  # opens its children
    for trial in range(done.plan.trials):
        expect(page.get_by_role("link", name=f"trial-{trial:03d}", exact=True)).to_be_visible()
    shot("runs")


def test_the_search_leads_to_its_report_and_its_model(browser_page: Page, shot) -> None:
    page = browser_page
    page.get_by_role("link", name="first", exact=True).click()
    expect(page.get_by_text("best_trial")).to_be_visible()
    expect(page.get_by_text("Search over space space:")).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report", exact=True).click()
    page.get_by_text("report.html", exact=True).click()
    report = page.frame_locator("iframe")
    expect(report.get_by_role("heading").first).to_be_visible()
    expect(report.get_by_role("img").first).to_be_visible()
    shot("report")


def test_the_best_trial_shows_curves_and_pictures(browser_page: Page, done: Done, shot) -> None:
    page = browser_page
    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("link", name=done.found.search.best_trial.rpartition("/")[2]).click()
    page.get_by_role("tab", name="Model metrics").click()
    expect(page.get_by_text("best_psnr").first).to_be_visible()
    shot("trial")
    page.get_by_role("tab", name="System metrics").click()
    expect(page.get_by_text("cpu_utilization_percentage").first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("pictures", exact=True).click()
    page.get_by_text("separation.png", exact=True).click()
    picture = page.get_by_role("img", name="separation")
    expect(picture).to_be_visible()
    shot("picture")


def test_the_registry_shows_the_champion(browser_page: Page, done: Done, shot) -> None:
    page = browser_page
    page.get_by_role("link", name="Model registry").click()
    page.get_by_role("button", name="Try it now").click()  # what is new in MLflow's registry
    page.get_by_role("link", name=done.found.version.name).click()
    expect(page.get_by_text("@ champion")).to_be_visible()
    page.get_by_role("link", name="Version 2").click()
    expect(page.get_by_text("gate.interval")).to_be_attached()
    expect(page.get_by_text(f"of search {done.plan.name}")).to_be_visible()
    shot("champion")
