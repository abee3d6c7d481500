"""How MLflow's page shows our runs: its view for trainings, with the columns that people want.

A person who is new to the page is shown its view for language models first, and a table without
metrics. What it should show instead stands in the address: the kind of work, and the name of a
view that an experiment keeps in a tag (as MLflow's own "Share view" writes it).
"""

from __future__ import annotations

import json

from mlflow import MlflowClient

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
    return "/"


def runs_page(experiment: str) -> str:
    """Path of an experiment's table of runs, in that view."""
    return (
        f"/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={NAME}"
    )


def run_page(experiment: str, run: str) -> str:
    """Path of a run's page."""
    return f"/#/experiments/{experiment}/runs/{run}?workflowType=machine_learning"
