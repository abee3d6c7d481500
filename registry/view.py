"""How MLflow's page shows our runs: its view for trainings, with the columns that people want.

A person who is new to the page is shown its view for language models first, and a table without
metrics. What it should show instead stands in the address: the kind of work, and the name of a
view that an experiment keeps in a tag (as MLflow's own "Share view" writes it).
"""

from __future__ import annotations

import json

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

EXPERIMENT_TAGS = KIND_TAG | {f"mlflow.sharedViewState.{NAME}": json.dumps(_STATE)}
"""Of every experiment."""


def runs_page(experiment: str) -> str:
    """Path of an experiment's table of runs, in that view."""
    return (
        f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={NAME}"
    )


def run_page(experiment: str, run: str) -> str:
    """Path of a run's page."""
    return f"/#/experiments/{experiment}/runs/{run}?workflowType=machine_learning"
