"""MLflow's page in a real browser, as a person uses it, over a real search.

It needs Chromium, which a wheel cannot bring: ``make browser`` installs the distribution's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.integration.conftest import Done

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SIGHT_ms = 60_000
"""Longest wait for something to be seen."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; make browser")


@pytest.fixture(scope="module")
def site(done: Done) -> Iterator[str]:
    """Address that ``dtsinn ui`` prints."""
    command = [sys.executable, "-m", "dtsinn", "ui", "--port", "0"]
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
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(SIGHT_ms)
        expect.set_options(timeout=SIGHT_ms)
        yield page
        browser.close()
