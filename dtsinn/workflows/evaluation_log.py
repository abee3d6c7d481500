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
from dtsinn.evaluation.findings import state_verdict
from dtsinn.evaluation.results import SUMMARY, Evaluation
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import MEMORY
from dtsinn.eventlog.recorder import record
from dtsinn.registry.lineage import EVALUATED, note_evaluation, note_verdict
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
    names, now = [model.name for model in evaluation.models], now_ms()
    where = _where(evaluation, store)
    verdicts = [f"On {where}: {state_verdict(evaluation, name)}" for name in names]
    run = RunStart(
        key=key,
        name=f"evaluate {names[0]} {evaluation.suite}".strip(),
        kind="evaluation",
        experiment=experiment_of(store) if store else "evaluations",
        time_ms=now,
        parameters={"suite": evaluation.suite, "models": ", ".join(names)},
        description=_describe(names, where, verdicts),
        tags={EVALUATED: ",".join(model.digest for model in evaluation.models)}
        | {_verdict_tag(place): verdict for place, verdict in enumerate(verdicts)}
        | (lineage_tags(store) if store else {}),
    )
    (folder / MEMORY).unlink(missing_ok=True)  # MLflow has not got it, or is another one
    with record(folder, lambda: connect(workspace), "evaluation") as recorder:
        # The next evaluation may replace the report before it is delivered.
        report = shutil.copytree(out, folder / REPORT, dirs_exist_ok=True)
        if not any(e.get("status") == "finished" for e in recorder.outbox.event_log):
            recorder.begin(run)
            recorder.report(key, [Point(step=0, metrics=_metrics(evaluation), time_ms=now)])
            recorder.artifact(key, report, "evaluation")
            picture = report / "pictures" / SUMMARY
            if picture.exists():
                recorder.artifact(key, picture)
            recorder.end(key, "finished", now)
    if recorder.undelivered:
        hint = workspace.command("status")
        log.warning("%d events are not delivered to MLflow yet: %s", recorder.undelivered, hint)
    else:
        link_evaluation(folder, lambda: connect(workspace))


def link_evaluation(folder: Path, connect: Callable[[], MlflowTracker]) -> None:
    """Link the run of an evaluation that was delivered with the versions that it evaluated.

    Their descriptions begin with its verdict from now on. The copy of the report, which MLflow
    has now, goes.
    """
    events = list(EventLog(folder / LOG_FILE, readonly=True))
    if not any(event.get("status") == "finished" for event in events):
        return  # it died; the next one that scores the same records it again
    tracker = connect()
    for run in [event["run"] for event in events if event["event"] == "begin"][-1:]:
        digests = run["tags"][EVALUATED].split(",")
        versions = [version for version in list_models(tracker) if version.digest in digests]
        note_evaluation(versions, run["key"], tracker)
        for version in versions:
            verdict = run["tags"].get(_verdict_tag(digests.index(version.digest)))
            if verdict:  # logs of older versions have none
                note_verdict(version, verdict, tracker)
    shutil.rmtree(folder / REPORT, ignore_errors=True)  # another process may do the same now


def _metrics(evaluation: Evaluation) -> dict[str, float]:
    """What the first model reached in each cell, as far as it can be told."""
    metrics: dict[str, float] = {}
    for cell in evaluation.cells:
        first, gain = cell.models[0], cell.difference(cell.models[0].model)
        if first.summary is None:
            continue
        kinetics = first.summary.kinetics
        found = {
            "psnr": first.summary.psnr.mean,
            "over_linear": None if gain is None else gain.psnr.mean,
            "kinetic_error": None if kinetics is None else kinetics.kinetic_error,
            "kinetic_bias": None if kinetics is None else kinetics.kinetic_bias,
            "worst_region": None if kinetics is None else kinetics.worst_bias,
        }
        metrics |= {f"{cell.key}.{name}": x for name, x in found.items() if x is not None}
    return metrics


def _verdict_tag(place: int) -> str:
    """Tag of the verdict on a model, by its place among those that took part."""
    return f"verdict.{place + 1}" if place else "verdict"


def _where(evaluation: Evaluation, store: Store | None) -> str:
    """On what models were evaluated."""
    where = [f"suite {evaluation.suite}"] if evaluation.suite else []
    where += [f"the test subjects of {name_of_store(store.header.path)}"] if store else []
    return " and ".join(where)


def _describe(names: Sequence[str], where: str, verdicts: Sequence[str]) -> str:
    """What was found, and where the rest stands."""
    found = [f"**{name}.** {verdict}" for name, verdict in zip(names, verdicts, strict=True)]
    scored = f"{' and '.join(names)} on {where}; the report is under Artifacts, evaluation."
    return "\n\n".join([*found, scored])
