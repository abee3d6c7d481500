"""Experiments and runs: told in words of no place, and made or completed in another place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

from dtsinn.registry.copying.files import digests, files_at
from dtsinn.registry.copying.ids import COPIED, is_mark, neutral_tags, translated
from dtsinn.registry.copying.inventory import Inventory
from dtsinn.registry.copying.place import Place
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.rows import KEY
from dtsinn.registry.tracking.tracker import ENTRIES_PER_BATCH, METRICS_PER_BATCH

PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
"""Tags that MLflow itself understands."""


def experiments(place: Place) -> Sequence[str]:
    """Names of all experiments."""
    return list(place.experiments)


def read_experiment(place: Place, name: str, source: Place) -> Inventory:
    """Name and tags of an experiment."""
    held = Inventory()
    if name in place.experiments:
        tags = neutral_tags(place.experiments[name].tags, place.ids, source.experiments[name].tags)
        held.note("experiments", name, [[name, tags]])
    return held


def send_experiment(name: str, source: Place, there: Place) -> None:
    """Make an experiment, or set its tags."""
    tags = {k: v for k, v in source.experiments[name].tags.items() if not is_mark(k)}
    with mlflow_errors_as(f"copying experiment {name}"):
        if name in there.experiments:
            made = there.experiments[name].experiment_id
            for key, value in tags.items():
                there.client.set_experiment_tag(made, key, value)
        else:
            made = there.client.create_experiment(name, there.artifacts, tags)
        there.experiments[name] = there.client.get_experiment(made)


def parents_first(place: Place) -> Sequence[str]:
    """Origins of runs, oldest first, no child before its parent."""
    ordered: dict[str, None] = {}
    for origin in place.runs:
        line: dict[str, None] = {}  # this run and those above it, as long as somebody nested them
        while origin in place.runs and origin not in ordered and origin not in line:
            line[origin] = None
            origin = place.ids.origin(place.runs[origin].data.tags.get(PARENT, ""))
        ordered |= dict.fromkeys(reversed(line))
    return list(ordered)


def read_run(place: Place, origin: str, source: Place) -> Inventory:
    """All of a run but its links to models."""
    held = Inventory()
    if origin not in place.runs:
        return held
    info = place.runs[origin].info
    with mlflow_errors_as(f"reading run {_called(place.runs[origin])}"):
        run = place.client.get_run(info.run_id)  # MLflow's searches leave out the models it used
        points = place.history(run)
    place.know_run(run)
    with files_at(place, info.artifact_uri) as folder:
        files = digests(folder)
    end = None if info.status == "RUNNING" else info.end_time or None  # of one that was reopened
    experiment = place.experiment_name(info.experiment_id)
    held.note("runs", origin, [[experiment, info.run_name, info.status, info.start_time, end]])
    held.note("parameters", origin, run.data.params.items())
    tags = neutral_tags(run.data.tags, place.ids, source.runs[origin].data.tags)
    held.note("tags", origin, tags.items())
    held.note("metric points", origin, map(_row, points))
    held.note("datasets", origin, map(_dataset_row, _datasets(run)))
    held.note("artifacts", origin, files.items())
    return held


def send_run(origin: str, source: Place, there: Place) -> None:
    """Make a run in another place, or add what it lacks there; its parent goes first."""
    run, client = source.runs[origin], there.client
    tags = translated(run.data.tags, source.ids, there.ids) | {COPIED: origin}
    tags.pop(NAME, None)
    with mlflow_errors_as(f"copying run {_called(run)}"):
        known = there.runs.get(origin) or there.by_key.get(run.data.tags.get(KEY, ""))
        if known is None:
            experiment = there.experiments[source.experiment_name(run.info.experiment_id)]
            known = client.create_run(
                experiment.experiment_id, run.info.start_time, tags, run.info.run_name
            )
        run_id = known.info.run_id
        client.update_run(run_id, name=run.info.run_name)
        _log(run, known, tags, source, there)
        if _datasets(run):
            client.log_inputs(run_id, _datasets(run))
        with files_at(source, run.info.artifact_uri) as folder:
            if digests(folder):
                client.log_artifacts(run_id, str(folder))
        if run.info.end_time and run.info.status != "RUNNING":
            client.set_terminated(run_id, run.info.status, run.info.end_time)
        else:
            client.update_run(run_id, run.info.status)
        there.know_run(client.get_run(run_id))


def _called(run: Run) -> str:
    return str(run.data.tags.get(KEY, run.info.run_id))


def _log(run: Run, known: Run, tags: Mapping[str, str], source: Place, there: Place) -> None:
    """Points, parameters and tags that are not there yet, in as few batches as MLflow takes."""
    had = set(map(_row, there.history(known)))
    points = [point for point in source.history(run) if _row(point) not in had]
    params = [Param(*one) for one in run.data.params.items() if one[0] not in known.data.params]
    rows = [RunTag(*one) for one in tags.items() if one not in known.data.tags.items()]
    size = METRICS_PER_BATCH - 2 * ENTRIES_PER_BATCH
    while points or params or rows:
        there.client.log_batch(
            known.info.run_id, points[:size], params[:ENTRIES_PER_BATCH], rows[:ENTRIES_PER_BATCH]
        )
        points, params = points[size:], params[ENTRIES_PER_BATCH:]
        rows = rows[ENTRIES_PER_BATCH:]


def _row(point: Metric) -> tuple[str, int, int, str]:
    value = repr(float(point.value) + 0.0)  # not every database has -0.0
    return point.key, int(point.step), int(point.timestamp), value


def _datasets(run: Run) -> list[DatasetInput]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def _dataset_row(given: DatasetInput) -> list[object]:
    data = given.dataset
    tags = sorted((tag.key, tag.value) for tag in given.tags)
    plain = (data.source_type, data.source, data.schema or "", data.profile or "")
    return [data.name, data.digest, *plain, tags]
