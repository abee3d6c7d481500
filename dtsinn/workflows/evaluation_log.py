"""An evaluation as a run of MLflow: means as metrics, the report as artifacts."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from dtsinn.core.tracker import Point, RunStart
from dtsinn.data.layout import name_of_store
from dtsinn.data.store import Store
from dtsinn.evaluation.results import Evaluation
from dtsinn.registry.lineage import EVALUATED, note_evaluated
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import ModelVersion
from dtsinn.training.run import experiment_of, lineage_tags


def log_evaluation(
    evaluation: Evaluation,
    versions: Sequence[ModelVersion],
    store: Store | None,
    out: Path,
    tracker: MlflowTracker,
) -> None:
    """Log an evaluation as one run, unless the same models scored the same before.

    Args:
        evaluation: What was found.
        versions: Those of the models that are registered.
        store: Whose ``test`` subjects were scored, if any.
        out: Folder of its report.
        tracker: Where it is logged.
    """
    now = int(time.time() * 1000)
    content = (out / "evaluation.json").read_bytes()
    key = f"evaluation/{hashlib.sha256(content).hexdigest()[:16]}"
    known = tracker.find_run(key)
    if known is not None and known.info.status == "FINISHED":
        return
    metrics = {
        f"{cell.key}.psnr": scores.summary.psnr.mean
        for cell in evaluation.cells
        for scores in cell.models[:1]
        if scores.summary is not None
    }
    names = [model.name for model in evaluation.models]
    tracker.begin(
        RunStart(
            key=key,
            name=f"evaluate {names[0]} {evaluation.suite}".strip(),
            kind="evaluation",
            experiment=experiment_of(store) if store else "evaluations",
            time_ms=now,
            parameters={"suite": evaluation.suite, "models": ", ".join(names)},
            description=_describe(evaluation, names, store),
            tags={EVALUATED: ",".join(model.digest for model in evaluation.models)}
            | (lineage_tags(store) if store else {}),
        )
    )
    tracker.report(key, [Point(step=0, metrics=metrics, time_ms=now)])
    tracker.artifact(key, out, "evaluation")
    note_evaluated(versions, key, tracker)
    tracker.end(key, "finished", now)


def _describe(evaluation: Evaluation, names: Sequence[str], store: Store | None) -> str:
    """An evaluation in a sentence."""
    where = [f"suite {evaluation.suite}"] if evaluation.suite else []
    where += [f"the test subjects of {name_of_store(store.header.path)}"] if store else []
    scored, on = " and ".join(names), " and ".join(where)
    return f"{scored} on {on}; the report is under Artifacts, evaluation."
