"""How MLflow's page shows our runs: its view for trainings, with the columns that people want.

A person who is new to the page is shown its view for language models first, and a table without
metrics. What it should show instead stands in the address: the kind of work, and the name of a
view that an experiment keeps in a tag (as MLflow's own "Share view" writes it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from filelock import Timeout
from mlflow import MlflowClient

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_text
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import (
    hold_workspace_lock,
    is_server,
    sqlite_file,
    tracking_uri,
)
from dtsinn.registry.tracking.names import hide_secrets

TRAININGS = "workflowType=machine_learning"
"""Makes MLflow's page show its view for trainings."""
HOME = f"/#/experiments?{TRAININGS}"
"""Path of the list of experiments, in that view."""
ADDRESS = "ui"
"""File in the workspace that holds the address of its page, and name of the lock on it."""
KIND_TAG = {"mlflow.experimentKind": "custom_model_development"}
NAME = "dtsinn"
"""Name of the view."""
COLUMNS = (
    "metrics.`best_psnr`",
    "tags.`dtsinn.status`",
    "tags.`reason`",
    "attributes.`Description`",
    "attributes.`Models`",
)
"""Columns of the view, beside name, time and duration."""
LOOK_AT = 50
"""Experiments among which one of ours is looked for."""
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
"""Tags of every experiment."""


def front_page(client: MlflowClient) -> str:
    """Path of the runs that people want to see first, those of our latest experiment."""
    newest = ["last_update_time DESC"]
    for experiment in client.search_experiments(max_results=LOOK_AT, order_by=newest):
        if VIEW_TAG in experiment.tags:
            number = experiment.experiment_id
            return f"/#/experiments/{number}/runs?{TRAININGS}&viewStateShareKey={NAME}"
    return HOME


def run_page(experiment: str, run: str) -> str:
    """Path of a run's page."""
    return f"/#/experiments/{experiment}/runs/{run}?{TRAININGS}"


def describe_page(workspace: Workspace) -> str:
    """Say where people see the runs: a link to a server's page, or what to type for one."""
    uri = tracking_uri(workspace)
    if is_server(uri):
        return hide_secrets("uri", uri).rstrip("/") + HOME
    if sqlite_file(uri) == workspace.database.resolve():
        return workspace.command("ui")
    return f"MLflow at {hide_secrets('uri', uri)}"


@contextmanager
def announce_page(workspace: Workspace, url: str) -> Iterator[None]:
    """Write down, while a page is shown, at which address; after a kill nobody believes it."""
    file = workspace.root / ADDRESS
    with ExitStack() as stack:
        with suppress(OSError):  # shown already, or nothing can be written there
            stack.enter_context(hold_workspace_lock(workspace, ADDRESS, 0))
            replace_file(file, url)
            stack.callback(file.unlink, missing_ok=True)
        yield


def find_page(workspace: Workspace) -> str:
    """Address at which the workspace is shown now; empty where it is not."""
    if not (workspace.root / ADDRESS).is_file():
        return ""
    try:
        with hold_workspace_lock(workspace, ADDRESS, 0):
            return ""  # whoever showed it was killed
    except Timeout:
        return read_text(workspace.root / ADDRESS)
    except OSError:
        return ""
