"""One side of a copy: an MLflow, and what it holds."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Experiment, LoggedModel, Metric, Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.tracking.dbmodels.models import SqlMetric

from dtsinn.registry.copying.ids import COPIED, MOST, Ids
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.embedded import is_server
from dtsinn.registry.tracking.names import hide_secrets, mlflow_errors_as
from dtsinn.registry.tracking.rows import KEY
from dtsinn.registry.tracking.tracker import MlflowTracker


class Place:
    """One side of a copy, as it was when it was read.

    Args:
        client: MLflow's client.
        uri: Of the tracking server or database.
        artifacts: Where artifacts of new experiments go; None leaves it to the server.
    """

    def __init__(self, client: MlflowClient, uri: str, artifacts: str | None = None) -> None:
        self.client = client
        self.uri = uri
        self.artifacts = artifacts
        self.ids = Ids()
        self.experiments: dict[str, Experiment] = {}
        """By name; those that were deleted are not among them."""
        self.runs: dict[str, Run] = {}
        """By origin, oldest first."""
        self.by_key: dict[str, Run] = {}
        """Runs of dtsinn."""
        self.models: dict[str, LoggedModel] = {}
        """Logged models by origin, unfinished ones too."""
        self.registered: dict[str, RegisteredModel] = {}
        self.versions: dict[str, dict[int, ModelVersion]] = {}
        """By name and number."""
        self.doubles: list[str] = []
        """Origins that several runs or models have."""

    @property
    def served(self) -> bool:
        """Whether a server stands before the database."""
        return is_server(self.uri)

    @property
    def shown(self) -> str:
        """The URI without what is secret in it."""
        return hide_secrets("uri", self.uri)

    def read(self) -> None:
        """Learn what is there."""
        client, pages = self.client, MlflowTracker.all_pages
        with mlflow_errors_as(f"reading what {self.shown} holds"):
            found = pages(client.search_experiments)
            ids = [experiment.experiment_id for experiment in found]
            runs = pages(client.search_runs, experiment_ids=ids) if ids else []
            models = pages(client.search_logged_models, experiment_ids=ids) if ids else []
            registered = pages(client.search_registered_models)
            versions = pages(client.search_model_versions)
        self.experiments = {experiment.name: experiment for experiment in found}
        for run in sorted(runs, key=lambda run: int(run.info.start_time or 0)):
            self.know_run(run)
        for model in sorted(models, key=lambda model: int(model.creation_timestamp)):
            self.know_model(model)
        origins = Counter(run.data.tags.get(COPIED, run.info.run_id) for run in runs)
        origins += Counter(model.tags.get(COPIED, model.model_id) for model in models)
        self.doubles = sorted(origin for origin, count in origins.items() if count > 1)
        self.registered = {model.name: model for model in registered}
        self.versions = {name: {} for name in self.registered}
        for version in versions:
            self.versions[version.name][int(version.version)] = version

    def know_run(self, run: Run) -> None:
        """Take note of a run."""
        origin = run.data.tags.get(COPIED, run.info.run_id)
        self.runs[origin] = run
        self.ids.add(run.info.run_id, origin)
        if KEY in run.data.tags:
            self.by_key.setdefault(run.data.tags[KEY], run)

    def know_model(self, model: LoggedModel) -> None:
        """Take note of a logged model."""
        origin = model.tags.get(COPIED, model.model_id)
        self.models[origin] = model
        self.ids.add(model.model_id, origin)

    def experiment_name(self, experiment_id: str) -> str:
        """Name of an experiment that is there."""
        return next(e.name for e in self.experiments.values() if e.experiment_id == experiment_id)

    def history(self, run: Run) -> list[Metric]:
        """All points of all metrics of a run.

        Of a database all at once: MLflow asks for one metric after the other, and SQLite looks
        through that metric of all runs each time, which with 5,000 trials takes hours.
        """
        run_id = run.info.run_id
        if self.served:
            return [
                p for key in run.data.metrics for p in self.client.get_metric_history(run_id, key)
            ]
        columns = SqlMetric.key, SqlMetric.value, SqlMetric.timestamp, SqlMetric.step
        question: Any = sqlalchemy.select(*columns, SqlMetric.is_nan)
        rows = self._rows(question.where(SqlMetric.run_uuid == run_id))
        return [
            Metric(key, math.nan if is_nan else value, timestamp, step)
            for key, value, timestamp, step, is_nan in rows
        ]

    def last_number(self, name: str) -> int:
        """Highest number of a model's versions, deleted ones too; a server tells none of those."""
        told = [tagged.natural(self.registered[name].tags, COPIED, most=MOST), *self.versions[name]]
        if not self.served:
            question: Any = sqlalchemy.select(SqlModelVersion.version)
            told += [n for (n,) in self._rows(question.where(SqlModelVersion.name == name))]
        return max(told)

    def _rows(self, question: Any) -> list[Any]:
        engine = sqlalchemy.create_engine(self.uri, poolclass=sqlalchemy.NullPool)
        with mlflow_errors_as(f"reading {self.shown}"), engine.connect() as connection:
            return list(connection.execute(question))

    def whose(self, location: str) -> tuple[str, str] | None:
        """Origin of the run or logged model that a location belongs to, and the path in it."""
        roots = {origin: model.artifact_location for origin, model in self.models.items()}
        roots |= {origin: run.info.artifact_uri for origin, run in self.runs.items()}
        for origin, root in roots.items():
            inner = location.removeprefix(root.rstrip("/"))
            if inner != location and inner[:1] in ("", "/"):
                return origin, inner
        return None
