"""The road from a store to a champion: search and registry joined, as commands walk it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.tracker import Point, RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.data.known_stores import find_store, remember_store
from dtsinn.data.layout import name_of_store
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.export import ParityReport, export_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.evaluate import evaluate
from dtsinn.evaluation.results import Evaluation
from dtsinn.evaluation.suite import Suite
from dtsinn.networks.build import METHODS
from dtsinn.networks.method import UntrainedMethod
from dtsinn.registry.gate.config import GateConfig, load_gate
from dtsinn.registry.gate.report import GateReport
from dtsinn.registry.lineage import EVALUATED, note_evaluated, note_export, note_found
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.references import ResolvedModel, find_version, resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.embedded import tracking_uri
from dtsinn.registry.tracking.names import model_name
from dtsinn.registry.tracking.tracker import MlflowTracker, connect, connect_existing
from dtsinn.registry.versions import ModelVersion, get_version
from dtsinn.search.engine.cluster import Workers, check_cluster
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import SearchResult, run_search
from dtsinn.training.config import RunConfig
from dtsinn.training.finetune import config_of_child, read_parent
from dtsinn.training.loop import OnStep, Report, Trainer, ignore_step, train_here
from dtsinn.training.run import (
    FinishedRun,
    check_store_fits,
    experiment_of,
    fresh_state,
    lineage_tags,
    resumed_state,
    run_training,
)
from dtsinn.training.state import TrainingState
from dtsinn.training.team import Team
from dtsinn.workflows.warm_start import beginnings


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found and what the gate said of it."""

    search: SearchResult
    version: ModelVersion
    gate: GateReport


def search_and_promote(
    plan: SearchPlan,
    workspace: Workspace,
    console: Console,
    *,
    resume: bool = False,
    warm_start: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Found | SearchResult:
    """Search, register the best trial, and promote it if it passes the gate.

    Args:
        plan: What to search.
        workspace: Where everything is kept.
        console: Where progress is shown.
        resume: Go on with a search that was begun.
        warm_start: Earlier searches, models or files of points to begin from.
        progress: Told of what the gate does.

    Returns:
        What was found; only the search's result where nothing was registered: it was interrupted,
        its best trial has no weights, or MLflow does not answer.

    Raises:
        InputError: The search cannot begin so; nothing was started.
        RunError: No trial gave a result.
    """
    store = open_store(plan.store, need_truth=True)
    check_store_fits(store)
    model_name(store.header.tracers, store.header.protocol.name)
    check_cluster(plan.cluster)
    METHODS[plan.space.base["model"]["kind"]].check_store(store)
    limits = load_gate(plan.gate)
    tracking_uri(workspace)  # which refuses what can never answer
    points, events = beginnings(warm_start, plan, store, workspace)
    result = run_search(
        plan,
        workspace,
        lambda: connect(workspace),
        console,
        resume=resume,
        points=points,
        warm=events,
    )
    if result.interrupted or result.package is None or result.undelivered:
        return result
    tracker = connect(workspace)
    version = register(tracker, result.package, run_key=result.best_trial)
    note_found(version, plan.name, tracker)
    report = promote(tracker, workspace, version, store, limits, progress=progress)
    return Found(search=result, version=version, gate=report)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """One training, as it is asked for."""

    name: str
    """Of the run."""
    config: RunConfig
    """Ignored by a run that is resumed: it has its own."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The settings that the user gave, by dotted key; they are in ``config`` already."""
    resume: bool = False
    """Go on from the run's last checkpoint."""
    init: str | None = None
    """REF of a separator whose weights and model the run starts with."""
    device: str = "cpu"
    workers: Workers | None = None
    """Train on several workers; None trains in this process."""


def train_and_register(
    stores: Sequence[Store],
    request: TrainRequest,
    workspace: Workspace,
    *,
    on_report: Callable[[Report], None],
    on_step: OnStep = ignore_step,
) -> tuple[FinishedRun, ModelVersion]:
    """Train one run, new or resumed, and register its package as a version.

    Args:
        stores: What it trains on, in turn; the first one names the separator.
        request: What is asked for.
        workspace: Where runs and models are kept.
        on_report: Told of each validation.
        on_step: Told of each step, where this process takes them.

    Raises:
        InputError: The stores, the request or the separator to start from do not fit.
    """
    header = stores[0].header
    model_name(header.tracers, header.protocol.name)
    folder = workspace.runs / request.name
    if request.resume:
        state = resumed_state(stores, folder, request.device)
    else:
        state = _new_state(stores, request, folder, workspace)
    trainer: Trainer = partial(train_here, on_step=on_step)
    if request.workers is not None:
        Team(ranks=request.workers.number).check_divides(state.config)
        check_cluster(request.workers.cluster)
        from dtsinn.search.engine.parallel import (
            train_in_parallel,  # a second of Ray Train's imports
        )

        trainer = partial(train_in_parallel, workers=request.workers)
    tracker = connect(workspace)
    remember_store(workspace, stores[0])
    run = run_training(stores, state, folder, tracker, on_report, trainer)
    return run, register(tracker, run.package, run_key=run.key)


def _new_state(
    stores: Sequence[Store], request: TrainRequest, folder: Path, workspace: Workspace
) -> TrainingState:
    """The state of a new run, with the weights of the separator that it starts from, if any."""
    if request.init is None:
        return fresh_state(stores, request.config, folder, request.device)
    parent = read_parent(resolve(request.init, workspace).path)
    config = config_of_child(request.config, request.asked, parent)
    return fresh_state(stores, config, folder, request.device, parent)


def evaluate_models(
    refs: Sequence[str],
    suite: Suite | None,
    data: str | None,
    out: Path | None,
    workspace: Workspace,
    progress: Progress = no_progress,
    baselines: Sequence[UntrainedMethod] = (),
) -> tuple[Evaluation, Path]:
    """Evaluate models on a store's ``test`` subjects and a suite, and log it to MLflow.

    Args:
        refs: Model REFs; the first is the one that the report is about.
        suite: The grid, or None.
        data: A store; without it the one that the first model was trained on, where it still is.
        out: Folder of the report; by default one in the workspace.
        workspace: Where models are looked up and reports are kept.
        progress: Told of what is done.
        baselines: Rivals without training to score beside the models.

    Returns:
        The evaluation, and the folder that holds its report.
    """
    models = [resolve(ref, workspace) for ref in refs]
    separators = [Separator.load(model.path) for model in models]
    if data:
        store: Store | None = open_store(data, need_truth=True)
    else:
        store = _store_of(models[0], workspace)
    if store is not None and data:
        for separator in separators:
            separator.check_fits(store.header)
    if store is None and suite is None:
        raise InputError(
            "nothing to evaluate on: the store that the model was trained on is gone or changed",
            hint="--data STORE",
        )
    label = suite.name if suite else "store"
    out = out or workspace.evaluations / f"{_label(models[0])}-{label}"
    evaluation = evaluate(
        [(_label(model), separator) for model, separator in zip(models, separators, strict=True)],
        suite=suite,
        store=store,
        workspace=workspace,
        out=out,
        baselines=baselines,
        progress=progress,
    )
    if models[0].version is not None:
        _log_evaluation(evaluation, models, store, out, connect_existing(workspace))
    return evaluation, out


def promote_model(
    ref: str,
    data: str | None,
    limits: GateConfig,
    workspace: Workspace,
    *,
    name: str | None = None,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> GateReport:
    """Put a registered version to the gate, with its own store or the given one.

    Raises:
        InputError: The REF names no registered version, or the store does not open.
    """
    tracker = connect_existing(workspace)
    version = find_version(ref, tracker)
    store = open_store(data, need_truth=True) if data else _own_store(version, tracker, workspace)
    return promote(
        tracker, workspace, version, store, limits, dry_run=dry_run, name=name, progress=progress
    )


def export_model(
    ref: str, out: Path, workspace: Workspace, progress: Progress = no_progress
) -> tuple[ResolvedModel, ParityReport]:
    """Copy a model's package to ``out`` after proving its ONNX graphs."""
    if out.exists():
        raise InputError(f"{out} exists already", hint="another --out")
    model = resolve(ref, workspace)
    progress("exporting", 0, 1)
    proof = export_package(model.path, out)
    progress("exporting", 1, 1)
    if model.version is not None:
        tracker = connect_existing(workspace)
        note_export(get_version(tracker, model.name, model.version), proof, tracker)
    return model, proof


def _store_of(model: ResolvedModel, workspace: Workspace) -> Store | None:
    """The store that a model was trained on, where it is registered."""
    if model.version is None:
        return None
    tracker = connect_existing(workspace)
    return _own_store(get_version(tracker, model.name, model.version), tracker, workspace)


def _own_store(version: ModelVersion, tracker: MlflowTracker, workspace: Workspace) -> Store | None:
    """The store that a version was trained on, if it is still what it was."""
    run = tracker.find_run(version.run_id) if version.run_id else None
    tags = run.data.tags if run else {}  # of dtsinn 0.1.0 its path: the version's own have a name
    path = tagged.store_path(tags, "store.path")
    store = find_store(workspace, tagged.digest(tags, "store.digest"), path)
    return store if store is not None and store.header.has_truth else None


def _label(model: ResolvedModel) -> str:
    return model.name if model.version is None else f"{model.name}-{model.version}"


def _described(evaluation: Evaluation, models: Sequence[ResolvedModel], store: Store | None) -> str:
    """An evaluation in a sentence."""
    where = [f"suite {evaluation.suite}"] if evaluation.suite else []
    where += [f"the test subjects of {name_of_store(store.header.path)}"] if store else []
    names = " and ".join(map(_label, models))
    return f"{names} on {' and '.join(where)}; the report is under Artifacts, evaluation."


def _log_evaluation(
    evaluation: Evaluation,
    models: Sequence[ResolvedModel],
    store: Store | None,
    out: Path,
    tracker: MlflowTracker,
) -> None:
    """One run per evaluation, with the means as metrics and the report as artifacts."""
    now = int(time.time() * 1000)
    content = (out / "evaluation.json").read_bytes()
    key = f"evaluation/{hashlib.sha256(content).hexdigest()[:16]}"
    known = tracker.find_run(key)
    if known is not None and known.info.status == "FINISHED":
        return  # the same models scored the same: logged already
    metrics = {
        f"{cell.key}.psnr": scores.summary.psnr.mean
        for cell in evaluation.cells
        for scores in cell.models[:1]
        if scores.summary is not None
    }
    tracker.begin(
        RunStart(
            key=key,
            name=f"evaluate {_label(models[0])} {evaluation.suite}".strip(),
            kind="evaluation",
            experiment=experiment_of(store) if store else "evaluations",
            time_ms=now,
            parameters={"suite": evaluation.suite, "models": ", ".join(map(_label, models))},
            description=_described(evaluation, models, store),
            tags={EVALUATED: ",".join(model.digest for model in models)}
            | (lineage_tags(store) if store else {}),
        )
    )
    tracker.report(key, [Point(step=0, metrics=metrics, time_ms=now)])
    tracker.artifact(key, out, "evaluation")
    registered = [
        get_version(tracker, model.name, model.version)
        for model in models
        if model.version is not None
    ]
    note_evaluated(registered, key, tracker)
    tracker.end(key, "finished", now)
