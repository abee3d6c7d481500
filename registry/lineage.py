"""Where a version comes from: store -> search -> trial -> run -> version -> evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlflow.entities import LoggedModelInput, LoggedModelOutput, Run
from mlflow.exceptions import MlflowException

from dtsinn.registry.promotion.alias_transaction import history
from dtsinn.registry.references import find_version
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.rows import KEY, KIND, STATUS
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import LOGGED_MODEL, ModelVersion

if TYPE_CHECKING:
    from dtsinn.deploy.export import ParityReport

EXPORT = "export."
"""Begins the tags of a version's exports: when, by which dtsinn, how well the graphs agree."""
BEST_TRIAL, MODEL = "best_trial", "model"
"""Tags of a search: key of its best trial's run, and the version that was made of it."""
EVALUATED = "model.digest"
"""Tag of evaluation runs: the digests of the models that took part, with commas between."""

VERDICT_HEAD = "**Evaluated:**"
"""Begins the paragraph of a version's description that says what its latest evaluation found."""


def show_model(ref: str, tracker: MlflowTracker) -> dict[str, Any]:
    """Collect all that is recorded of a version, as plain data.

    Raises:
        InputError: The REF names nothing.
    """
    version = find_version(ref, tracker)
    run = tracker.find_run(version.run_id) if version.run_id else None
    parent_id = tagged.mlflow_id(run.data.tags, "mlflow.parentRunId") if run else ""
    parent = tracker.find_run(parent_id) if parent_id else None
    tags = version.tags
    return {
        "ref": version.ref,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "created": datetime.fromtimestamp(version.created / 1000, UTC).isoformat("T", "seconds"),
        "metrics": version.metrics,
        "store": {"path": tags.get("store.path", ""), "digest": tags.get("store.digest", "")},
        "init": {"digest": tags.get("init", ""), "tracers": tags.get("init.tracers", "")},
        "search": _describe_run(tracker, parent),
        "trial": tags.get("trial", ""),
        "run": _describe_run(tracker, run),
        "parameters": dict(sorted(run.data.params.items())) if run else {},
        "seed": tags.get("seed", ""),
        "code_version": tags.get("code.version", ""),
        "gate": {k.removeprefix("gate."): v for k, v in tags.items() if k.startswith("gate.")},
        "history": [
            line
            for line in history(tracker, version.name)
            if version.version in (line["version"], line["before"])
        ],
        "evaluations": _find_evaluations(tracker, version),
        "exports": [v for k, v in sorted(tags.items()) if k.startswith(EXPORT)],
    }


def note_export(version: ModelVersion, proof: ParityReport, tracker: MlflowTracker) -> None:
    """Write on a version that it was exported, and how well its graphs agree with torch."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")  # MLflow takes no + in a key
    errors = f"ONNX {proof.model_error:.1e}"
    if proof.round_trip_error is not None:
        errors += f", round trip {proof.round_trip_error:.1e}"
    with mlflow_errors_as(f"noting the export of {version.ref}"):
        tracker.client.set_model_version_tag(
            version.name, str(version.version), f"{EXPORT}{when}", f"{when[:19]}Z, {errors}"
        )


def note_best_model(version: ModelVersion, search: str, tracker: MlflowTracker) -> None:
    """Show on a search which trial was its best, and the model that was made of it."""
    run_id = tracker.run_id(search)
    with mlflow_errors_as(f"noting {version.ref} on {search}"):
        tracker.client.set_tag(run_id, BEST_TRIAL, version.run_key)
        tracker.client.set_tag(run_id, MODEL, version.ref)
        outputs = tracker.client.get_run(run_id).outputs
        made = {model.model_id for model in (outputs.model_outputs if outputs else ())}
        model = tagged.mlflow_id(version.tags, LOGGED_MODEL)
        if model not in {*made, ""}:
            output = LoggedModelOutput(model, step=0)
            tracker.client.log_outputs(run_id, [output])


def note_evaluation(
    versions: Sequence[ModelVersion], evaluation: str, tracker: MlflowTracker
) -> None:
    """Show on an evaluation's run which models it evaluated."""
    known = [tagged.mlflow_id(version.tags, LOGGED_MODEL) for version in versions]
    if any(known):
        with mlflow_errors_as(f"noting the models of {evaluation}"):
            inputs = [LoggedModelInput(model) for model in dict.fromkeys(known) if model]
            tracker.client.log_inputs(tracker.run_id(evaluation), models=inputs)


def note_verdict(version: ModelVersion, verdict: str, tracker: MlflowTracker) -> None:
    """Begin a version's description with what its latest evaluation found.

    Whoever may read a model but not change it leaves its description as it is.

    Args:
        version: That was evaluated.
        verdict: Plain text.
        tracker: Where it is registered.
    """
    with mlflow_errors_as(f"noting the verdict on {version.ref}"):
        known = tracker.client.get_model_version(version.name, str(version.version))
        rest = [
            paragraph
            for paragraph in (known.description or "").split("\n\n")
            if paragraph and not paragraph.startswith(VERDICT_HEAD)
        ]
        text = "\n\n".join([f"{VERDICT_HEAD} {verdict}", *rest])
        try:
            tracker.client.update_model_version(version.name, str(version.version), text)
        except MlflowException as error:
            if error.error_code != "PERMISSION_DENIED":
                raise


def _describe_run(tracker: MlflowTracker, run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    key = tagged.run_key(run.data.tags, KEY)
    return {
        "key": key,
        "id": run.info.run_id,
        "name": run.info.run_name,
        "kind": run.data.tags.get(KIND, ""),
        "status": run.data.tags.get(STATUS, run.info.status.lower()),
        "url": tracker.run_url(key) if key else "",
    }


def _find_evaluations(tracker: MlflowTracker, version: ModelVersion) -> list[dict[str, Any]]:
    if not version.digest:
        return []
    runs = tracker.search(
        f"tags.`{KIND}` = 'evaluation' and tags.`{EVALUATED}` LIKE '%{version.digest}%'"
    )
    return [
        {"key": run.data.tags.get(KEY, ""), "id": run.info.run_id, "metrics": run.data.metrics}
        for run in runs
    ]
