"""Logged models: the packages behind versions, with an MLmodel that is right where they are."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities import (
    Experiment,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
)

from dtsinn.registry.copying.files import digest_model, move_mlmodel, open_files
from dtsinn.registry.copying.ids import COPIED, make_neutral, translate_tags
from dtsinn.registry.copying.inventory import Inventory
from dtsinn.registry.copying.place import Place
from dtsinn.registry.copying.versions import find_location
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.tracker import METRICS_PER_BATCH
from dtsinn.registry.versions import DIGEST, PACKAGE_FOLDER

STRAYS = "models without a run"
"""Experiment for the packages of versions whose own run or experiment was deleted."""


def adopt_strays(source: Place) -> None:
    """Take packages of versions that belong to nothing that is copied for models of :data:`STRAYS`.

    What stands for their id is known by their location.
    """
    for versions in source.versions.values():
        for version in versions.values():
            location = find_location(source, version)
            if source.whose(location) is not None:
                continue
            source.experiments[STRAYS] = Experiment(STRAYS, STRAYS, "", "active")
            source.know_model(
                LoggedModel(
                    experiment_id=STRAYS,
                    model_id=f"m-{hashlib.sha256(location.encode()).hexdigest()[:32]}",
                    name=PACKAGE_FOLDER,
                    artifact_location=location,
                    creation_timestamp=version.creation_timestamp,
                    last_updated_timestamp=version.creation_timestamp,
                    status=LoggedModelStatus.READY,
                    tags={key: version.tags[key] for key in (DIGEST,) if key in version.tags},
                )
            )


def list_logged(place: Place) -> Sequence[str]:
    """Origins of all logged models that were finished; others a killed registration left."""
    return [origin for origin, model in place.models.items() if _is_whole(model)]


def read_model(place: Place, origin: str, source: Place) -> Inventory:
    """A logged model with its files, and which runs show it; nothing of an unfinished one."""
    held, model = Inventory(), place.models.get(origin)
    if model is None or not _is_whole(model):
        return held
    with open_files(place, model.artifact_location) as folder:
        files = digest_model(folder, model.artifact_location, place.ids)
    experiment = place.experiment_name(model.experiment_id)
    tags = make_neutral(model.tags, place.ids, source.models[origin].tags)
    run = _find_run(model, place)
    told = [experiment, model.name, model.model_type or "", run, dict(model.params), tags]
    held.note("logged models", origin, [told])
    held.note("files of models", origin, files.items())
    links = [link for link in _find_links(origin, place) if link[0] in source.runs]
    held.note("links to models", origin, links)
    held.note(
        "metrics of models", origin, [s for s in _find_scores(model, place) if s[0] in source.runs]
    )
    return held


def send_model(origin: str, source: Place, there: Place) -> None:
    """Make a logged model in another place, or complete it; its run and experiment go first."""
    client, model = there.client, source.models[origin]
    tags = translate_tags(model.tags, source.ids, there.ids) | {COPIED: origin}
    with mlflow_errors_as(f"copying model {origin}"):
        known, run = there.models.get(origin), _find_run(model, source)
        if known is None:
            experiment = there.experiments[source.experiment_name(model.experiment_id)]
            known = client.create_logged_model(
                experiment.experiment_id,
                name=model.name,
                source_run_id=there.runs[run].info.run_id if run else None,
                tags=tags,
                params=model.params,
                model_type=model.model_type or None,
            )
            there.know_model(known)
        params = {k: v for k, v in model.params.items() if k not in known.params}
        if params:  # of many, a kill may have left some
            client.log_model_params(known.model_id, params)
        client.set_logged_model_tags(known.model_id, tags)
        with TemporaryDirectory(prefix="dtsinn-") as folder:
            copied = Path(folder) / "model"
            with open_files(source, model.artifact_location) as original:
                shutil.copytree(original, copied)
            home = model.artifact_location, source.ids
            move_mlmodel(copied, home, (known.artifact_location, there.ids))
            client.log_model_artifacts(known.model_id, str(copied))
        # MLflow would show again what is linked again.
        for one, step in _find_links(origin, source) - _find_links(origin, there):
            run_id = there.runs[one].info.run_id
            if step is None:
                client.log_inputs(run_id, models=[LoggedModelInput(known.model_id)])
            else:
                client.log_outputs(run_id, [LoggedModelOutput(known.model_id, step)])
            there.know_run(client.get_run(run_id))
        _send_scores(model, known, source, there)
        if not _is_whole(known):
            client.finalize_logged_model(known.model_id, LoggedModelStatus.READY)
        there.know_model(client.get_logged_model(known.model_id))


def _is_whole(model: LoggedModel) -> bool:
    """Whether it was finished, and no pruning has begun to delete it."""
    return bool(model.status == LoggedModelStatus.READY) and model.tags.get(DIGEST) != ""


def _find_run(model: LoggedModel, place: Place) -> str:
    """Origin of the run that made it; nothing where that is not copied."""
    origin = place.ids.origin(model.source_run_id or "")
    return origin if origin in place.runs else ""


def _find_links(origin: str, place: Place) -> set[tuple[str, int | None]]:
    """Origins of the runs that show a model: with the step if they made it, None if they use it."""
    own = place.models[origin].model_id
    found: set[tuple[str, int | None]] = set()
    for one, run in place.runs.items():
        made = run.outputs.model_outputs if run.outputs else []
        used = run.inputs.model_inputs if run.inputs else []
        found |= {(one, int(model.step)) for model in made if model.model_id == own}
        found |= {(one, None) for model in used if model.model_id == own}
    return found


_Score = tuple[str, str, int, int, float, str, str]


def _find_scores(model: LoggedModel, place: Place) -> set[_Score]:
    """Metrics of a model: origin of their run, key, step, time, value, name and digest of data."""
    return {
        (
            place.ids.origin(one.run_id or ""),
            one.key,
            int(one.step),
            int(one.timestamp),
            float(one.value),
            one.dataset_name or "",
            one.dataset_digest or "",
        )
        for one in model.metrics or ()
    }


def _send_scores(model: LoggedModel, known: LoggedModel, source: Place, there: Place) -> None:
    """Metrics that a model lacks there; their run has them already, and takes them once."""
    by_run: dict[str, list[_Score]] = {}
    for score in sorted(_find_scores(model, source) - _find_scores(known, there)):
        by_run.setdefault(score[0], []).append(score)
    for origin in (one for one in by_run if one in source.runs):
        history = source.history(source.runs[origin])
        # Of a model MLflow keeps zero for one that is no number.
        odd = {(p.key, p.step, p.timestamp) for p in history if math.isnan(p.value)}
        points = [
            Metric(
                key,
                math.nan if (key, step, time) in odd else value,
                time,
                step,
                model_id=known.model_id,
                dataset_name=name or None,
                dataset_digest=digest or None,
            )
            for _, key, step, time, value, name, digest in by_run[origin]
        ]
        for first in range(0, len(points), METRICS_PER_BATCH):
            some = points[first : first + METRICS_PER_BATCH]
            there.client.log_batch(there.runs[origin].info.run_id, some)
