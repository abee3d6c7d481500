"""Runs and reports in MLflow's words: tags, parameters, metrics and datasets, within its limits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from dtsinn.core.paths import name_of_store
from dtsinn.core.tracker import Point, RunStart
from dtsinn.registry.tracking.names import hide_folders, hide_secrets

KEY = "dtsinn.key"
KIND = "dtsinn.kind"
STATUS = "dtsinn.status"
BEGUN = "dtsinn.begun"
ENDED = "dtsinn.ended"
"""Tags of every run; times in ms since 1970 UTC of the latest begin and end."""

DESCRIPTION = "mlflow.note.content"
"""Tag that MLflow shows as a description."""

STORE_SOURCE = "dtsinn-store"
"""Kind of the data that our runs read, as MLflow calls it."""
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
DIGEST_LENGTH = 36
"""MLflow's limits."""


def run_tags(run: RunStart) -> dict[str, str]:
    """Tags of a run, whole; :func:`fit_tags` makes them fit for MLflow."""
    tags = dict(run.tags) | ({"store.path": _store(run)} if "store.path" in run.tags else {})
    tags |= {KEY: run.key, KIND: run.kind, "mlflow.source.name": "dtsinn"}
    if run.description:
        tags[DESCRIPTION] = run.description
    return tags


def experiment_tags(run: RunStart) -> dict[str, str]:
    """Tags of a run's experiment, which say what it is for."""
    if "store.digest" not in run.tags:
        return {}
    pair = run.tags.get("tracers", "").upper().replace(",", " then ")
    text = f"{pair}, protocol {run.tags.get('protocol', '')}; store {_store(run)}, digest "
    return {DESCRIPTION: text + run.tags["store.digest"][:12]}


def fit_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as long as MLflow takes them, without what is not for others."""
    return {name: _shorten(_clean(name, value), TAG_LENGTH) for name, value in tags.items()}


def tag_rows(tags: Mapping[str, str]) -> list[RunTag]:
    """Tags as rows, as long as MLflow takes them."""
    return [RunTag(name, value) for name, value in fit_tags(tags).items()]


def parameter_rows(parameters: Mapping[str, object]) -> list[Param]:
    """Parameters without what is secret."""
    return [
        Param(name, _shorten(_clean(name, value), PARAMETER_LENGTH))
        for name, value in parameters.items()
    ]


def metric_rows(points: Sequence[Point]) -> tuple[list[Metric], list[RunTag]]:
    """Metrics, and a tag for each one that is not finite: MLflow stores infinity as 1.8e308."""
    rows, tags = [], []
    for point in points:
        for name, value in point.metrics.items():
            if math.isfinite(value):
                rows.append(Metric(name, float(value), point.time_ms, point.step))
            else:
                shown = f"{float(value)} at step {point.step}"
                tags.append(RunTag(f"dtsinn.nonfinite.{name}", shown))
    return rows, tags


def dataset_rows(run: RunStart) -> list[DatasetInput]:
    """The store that a run reads; nothing where it names none."""
    digest = run.tags.get("store.digest")
    if not digest:
        return []
    dataset = Dataset(
        name=PurePath(_store(run)).name,
        digest=digest[:DIGEST_LENGTH],
        source_type=STORE_SOURCE,
        source=json.dumps({"path": _store(run), "digest": digest}),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", run.kind)])]


def _store(run: RunStart) -> str:
    """Name or URL of a store: a workspace knows where it is (:mod:`dtsinn.data.known_stores`)."""
    return name_of_store(hide_secrets("path", run.tags.get("store.path", "")))


def _clean(name: str, value: object) -> str:
    """Write a setting without what is secret in it, and without this machine's folders."""
    return hide_folders(hide_secrets(name, value))


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
