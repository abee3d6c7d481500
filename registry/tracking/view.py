"""How MLflow's page shows our runs: its view for trainings, with the columns that people want.

A person who is new to the page is shown its view for language models first, and a table without
metrics. What it should show instead stands in the address: the kind of work, and the name of a
view that an experiment keeps in a tag (as MLflow's own "Share view" writes it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout
from mlflow import MlflowClient

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_text
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import file_of, is_served, lock, tracking_uri
from dtsinn.registry.tracking.names import without_secrets

TRAININGS = "workflowType=machine_learning"
"""What tells MLflow's page to show its view for trainings."""
HOME = f"/#/experiments?{TRAININGS}"
"""Path of the list of experiments, in that view."""
ADDRESS = "ui"
"""File in the workspace that holds the address of its page, and name of the lock on it."""
KIND_TAG = {"mlflow.experimentKind": "custom_model_development"}
NAME = "dtsinn"
"""Of the view."""
COLUMNS = (
    "metrics.`best_psnr`",
    "tags.`dtsinn.status`",
    "tags.`reason`",
    "attributes.`Description`",
    "attributes.`Models`",
)
"""Beside name, time and duration."""
LOOK_AT = 50
"""Experiments among which one of ours is looked for (uncited)."""
_STATE = {
    "selectedColumns": COLUMNS,
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
}

VIEW_TAG = f"mlflow.sharedViewState.{NAME}"
EXPERIMENT_TAGS = KIND_TAG | {VIEW_TAG: json.dumps(_STATE)}
"""Of every experiment."""


def front_page(client: MlflowClient) -> str:
    """Path of the runs that people want to see first: of the latest experiment of ours."""
    newest = ["last_update_time DESC"]
    for experiment in client.search_experiments(max_results=LOOK_AT, order_by=newest):
        if VIEW_TAG in experiment.tags:
            return runs_page(experiment.experiment_id)
    return HOME


def runs_page(experiment: str) -> str:
    """Path of an experiment's table of runs, in that view."""
    return f"/#/experiments/{experiment}/runs?{TRAININGS}&viewStateShareKey={NAME}"


def run_page(experiment: str, run: str) -> str:
    """Path of a run's page."""
    return f"/#/experiments/{experiment}/runs/{run}?{TRAININGS}"


def where_shown(workspace: Workspace) -> str:
    """Where people see the runs: a link to a server's page, or what to type for one."""
    uri = tracking_uri(workspace)
    if is_served(uri):
        return without_secrets("uri", uri).rstrip("/") + HOME
    if file_of(uri) == workspace.database.resolve():
        return workspace.command("ui")
    return f"MLflow at {without_secrets('uri', uri)}"


@contextmanager
def shown_at(workspace: Workspace, url: str) -> Iterator[None]:
    """Let others know, while it is shown, at which address; a kill tells them too."""
    held = lock(workspace, ADDRESS)
    try:
        held.acquire(timeout=0)
        replace_file(workspace.root / ADDRESS, url)
    except OSError:  # shown already, or nothing can be written there
        yield
        return
    try:
        yield
    finally:
        (workspace.root / ADDRESS).unlink(missing_ok=True)
        held.release()


def page_of(workspace: Workspace) -> str:
    """Address at which the workspace is shown now; nothing where it is not."""
    if not (workspace.root / ADDRESS).is_file():
        return ""
    try:
        with lock(workspace, ADDRESS).acquire(timeout=0):
            return ""  # whoever showed it was killed
    except Timeout:
        return read_text(workspace.root / ADDRESS)
    except OSError:
        return ""
