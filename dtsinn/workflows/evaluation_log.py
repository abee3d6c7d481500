"""An evaluation as a run of MLflow: means as metrics, the report as artifacts.

It is written to an event log of its own in the workspace, and delivered from there.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import RunError
from dtsinn.core.paths import name_of_store
from dtsinn.core.tracker import Point, RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.evaluation.results import Evaluation
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import MEMORY
from dtsinn.eventlog.recorder import record
from dtsinn.registry.lineage import EVALUATED, note_evaluation
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.registry.versions import list_models
from dtsinn.training.run import experiment_of, lineage_tags

log = logging.getLogger(__name__)

REPORT = "report"
"""Copy of the report beside the log, for as long as it is not delivered."""


def log_evaluation(
    evaluation: Evaluation, store: Store | None, out: Path, workspace: Workspace
) -> None:
    """Log an evaluation as one run, unless the same models scored the same before.

    Args:
        evaluation: What was found.
        store: Whose ``test`` subjects were scored, if any.
        out: Folder of its report.
        workspace: Where the event log is kept.
    """
    content = (out / "evaluation.json").read_bytes()
    name = hashlib.sha256(content).hexdigest()[:16]
    key, folder = f"evaluation/{name}", workspace.events / name
    try:
        known = connect(workspace).find_run(key)
    except RunError:  # it does not answer, and gets the events later
        known = None
    if known is not None and known.info.status == "FINISHED":
        return
    metrics: dict[str, float] = {}
    for cell in evaluation.cells:
        first = cell.models[0]
        if first.summary is not None:
            metrics[f"{cell.key}.psnr"] = first.summary.psnr.mean
        gain = cell.difference(first.model)
        if gain is not None:
            metrics[f"{cell.key}.over_linear"] = gain.psnr.mean
    names, now = [model.name for model in evaluation.models], now_ms()
    run = RunStart(
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
    (folder / MEMORY).unlink(missing_ok=True)  # MLflow has not got it, or is another one
    with record(folder, lambda: connect(workspace), "evaluation") as recorder:
        # The next evaluation may replace the report before it is delivered.
        report = shutil.copytree(out, folder / REPORT, dirs_exist_ok=True)
        if not any(e.get("status") == "finished" for e in recorder.outbox.event_log):
            recorder.begin(run)
            recorder.report(key, [Point(step=0, metrics=metrics, time_ms=now)])
            recorder.artifact(key, report, "evaluation")
            recorder.end(key, "finished", now)
    if recorder.undelivered:
        hint = workspace.command("status")
        log.warning("%d events are not delivered to MLflow yet: %s", recorder.undelivered, hint)
    else:
        link_evaluation(folder, lambda: connect(workspace))


def link_evaluation(folder: Path, connect: Callable[[], MlflowTracker]) -> None:
    """Link the run of an evaluation that was delivered with the versions that it evaluated.

    The copy of the report, which MLflow has now, goes.
    """
    events = list(EventLog(folder / LOG_FILE, readonly=True))
    if not any(event.get("status") == "finished" for event in events):
        return  # it died; the next one that scores the same records it again
    tracker = connect()
    for run in [event["run"] for event in events if event["event"] == "begin"][-1:]:
        digests = run["tags"][EVALUATED].split(",")
        versions = [version for version in list_models(tracker) if version.digest in digests]
        note_evaluation(versions, run["key"], tracker)
    shutil.rmtree(folder / REPORT, ignore_errors=True)  # another process may do the same now


def _describe(evaluation: Evaluation, names: Sequence[str], store: Store | None) -> str:
    """An evaluation in a sentence."""
    where = [f"suite {evaluation.suite}"] if evaluation.suite else []
    where += [f"the test subjects of {name_of_store(store.header.path)}"] if store else []
    scored, on = " and ".join(names), " and ".join(where)
    return f"{scored} on {on}; the report is under Artifacts, evaluation."
