"""Experiments and runs: told in words of no place, and made or completed in another place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow.entities import DatasetInput, Metric, Param, Run, RunTag

from dtsinn.registry.copying.files import digests, open_files
from dtsinn.registry.copying.ids import COPIED, is_mark, make_neutral, translate_tags
from dtsinn.registry.copying.inventory import Inventory
from dtsinn.registry.copying.place import Place
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.rows import KEY
from dtsinn.registry.tracking.tracker import ENTRIES_PER_BATCH, METRICS_PER_BATCH

PARENT = "mlflow.parentRunId"
NAME = "mlflow.runName"
"""Tags that MLflow itself understands."""


def list_experiments(place: Place) -> Sequence[str]:
    """Names of all experiments."""
    return list(place.experiments)


def read_experiment(place: Place, name: str, source: Place) -> Inventory:
    """Name and tags of an experiment."""
    held = Inventory()
    if name in place.experiments:
        tags = make_neutral(place.experiments[name].tags, place.ids, source.experiments[name].tags)
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


def list_parents_first(place: Place) -> Sequence[str]:
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
    with mlflow_errors_as(f"reading run {_name_run(place.runs[origin])}"):
        run = place.client.get_run(info.run_id)  # MLflow's searches leave out the models it used
        points = place.history(run)
    place.know_run(run)
    with open_files(place, info.artifact_uri) as folder:
        files = digests(folder)
    end = None if info.status == "RUNNING" else info.end_time or None  # of one that was reopened
    experiment = place.experiment_name(info.experiment_id)
    held.note("runs", origin, [[experiment, info.run_name, info.status, info.start_time, end]])
    held.note("parameters", origin, run.data.params.items())
    tags = make_neutral(run.data.tags, place.ids, source.runs[origin].data.tags)
    held.note("tags", origin, tags.items())
    held.note("metric points", origin, map(_make_row, points))
    held.note("datasets", origin, map(_make_dataset_row, _make_datasets(run)))
    held.note("artifacts", origin, files.items())
    return held


def send_run(origin: str, source: Place, there: Place) -> None:
    """Make a run in another place, or add what it lacks there; its parent goes first."""
    run, client = source.runs[origin], there.client
    tags = translate_tags(run.data.tags, source.ids, there.ids) | {COPIED: origin}
    tags.pop(NAME, None)
    with mlflow_errors_as(f"copying run {_name_run(run)}"):
        known = there.runs.get(origin) or there.by_key.get(run.data.tags.get(KEY, ""))
        if known is None:
            experiment = there.experiments[source.experiment_name(run.info.experiment_id)]
            known = client.create_run(
                experiment.experiment_id, run.info.start_time, tags, run.info.run_name
            )
        run_id = known.info.run_id
        client.update_run(run_id, name=run.info.run_name)
        _log(run, known, tags, source, there)
        if _make_datasets(run):
            client.log_inputs(run_id, _make_datasets(run))
        with open_files(source, run.info.artifact_uri) as folder:
            if digests(folder):
                client.log_artifacts(run_id, str(folder))
        if run.info.end_time and run.info.status != "RUNNING":
            client.set_terminated(run_id, run.info.status, run.info.end_time)
        else:
            client.update_run(run_id, run.info.status)
        there.know_run(client.get_run(run_id))


def _name_run(run: Run) -> str:
    return str(run.data.tags.get(KEY, run.info.run_id))


def _log(run: Run, known: Run, tags: Mapping[str, str], source: Place, there: Place) -> None:
    """Points, parameters and tags that are not there yet, in as few batches as MLflow takes."""
    had = set(map(_make_row, there.history(known)))
    points = [point for point in source.history(run) if _make_row(point) not in had]
    params = [Param(*one) for one in run.data.params.items() if one[0] not in known.data.params]
    rows = [RunTag(*one) for one in tags.items() if one not in known.data.tags.items()]
    size = METRICS_PER_BATCH - 2 * ENTRIES_PER_BATCH
    while points or params or rows:
        there.client.log_batch(
            known.info.run_id, points[:size], params[:ENTRIES_PER_BATCH], rows[:ENTRIES_PER_BATCH]
        )
        points, params = points[size:], params[ENTRIES_PER_BATCH:]
        rows = rows[ENTRIES_PER_BATCH:]


def _make_row(point: Metric) -> tuple[str, int, int, str]:
    value = repr(float(point.value) + 0.0)  # not every database has -0.0
    return point.key, int(point.step), int(point.timestamp), value


def _make_datasets(run: Run) -> list[DatasetInput]:
    return list(run.inputs.dataset_inputs) if run.inputs else []


def _make_dataset_row(given: DatasetInput) -> list[object]:
    data = given.dataset
    tags = sorted((tag.key, tag.value) for tag in given.tags)
    plain = (data.source_type, data.source, data.schema or "", data.profile or "")
    return [data.name, data.digest, *plain, tags]
