"""The data flow, step by step: search or train -> register -> promote -> evaluate -> export.

What comes before it, a store, is made by :func:`dtsinn.simulation.study.simulate` or
:func:`dtsinn.importers.run.import_study`. Commands and ``import dtsinn`` call the same functions.
The registry is imported by the functions that use it: MLflow takes longer than torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rich.console import Console

from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.workspace import Workspace, choose_name, open_workspace
from dtsinn.data.device import check_device
from dtsinn.data.known_stores import find_store, remember_store
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.export import ParityReport, export_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.evaluate import evaluate as score_separators
from dtsinn.evaluation.results import Evaluation
from dtsinn.evaluation.suite import OWN, Suite, load_suite
from dtsinn.evaluation.workers import Share, share_among
from dtsinn.networks.build import METHODS
from dtsinn.networks.build import baselines as untrained_methods
from dtsinn.training.config import load_run_config, stated_settings
from dtsinn.training.finetune import config_of_child, read_parent
from dtsinn.training.loop import OnStep, Report, Trainer, ignore_step, train_here
from dtsinn.training.run import (
    FinishedRun,
    check_store_fits,
    fresh_state,
    resumed_state,
    run_training,
)
from dtsinn.training.state import TrainingState, latest_checkpoint
from dtsinn.training.team import Team
from dtsinn.workflows.resuming import check_same_run, find_finished

if TYPE_CHECKING:
    from dtsinn.registry.gate.config import GateConfig
    from dtsinn.registry.gate.report import GateReport
    from dtsinn.registry.references import ResolvedModel
    from dtsinn.registry.tracking.tracker import MlflowTracker
    from dtsinn.registry.versions import ModelVersion
    from dtsinn.search.plan import SearchOptions, SearchPlan
    from dtsinn.search.run import SearchResult
    from dtsinn.separation.calibration import Calibration

    Folder = Workspace | str | Path | None


@dataclass(frozen=True, kw_only=True)
class PromotedSearch:
    """A search whose best trial is registered, and what the gate said of it.

    Where the model's name had no champion, the linear map was made it before, as
    ``gate.first_champion`` says.
    """

    search: SearchResult
    package: Path
    """The best trial as a separator package."""
    version: ModelVersion
    gate: GateReport

    @property
    def separator(self) -> Separator:
        """The best trial, ready to separate."""
        return Separator.load(self.package)


def run_search(
    store: Store | str | Path,
    *,
    name: str | None = None,
    resume: bool = False,
    warm_start: Sequence[str] = (),
    workspace: Folder = None,
    console: Console | None = None,
    progress: Progress = no_progress,
    **options: Unpack[SearchOptions],
) -> PromotedSearch | SearchResult:
    """Search for the best separator, register it, and promote it if it passes the gate.

    Everything is recorded in the workspace; ``dtsinn report NAME`` explains the search, also while
    it runs. With ``concurrent=1`` the same ``seed`` gives the same suggestions.

    Args:
        store: The store to train on: open, or its path or URL.
        name: Of the search; by default the time.
        resume: Go on with the search of that name.
        warm_start: Earlier searches, models or files of points to begin from.
        workspace: Folder of runs, searches and models; by default ``DTSINN_WORKSPACE``, else
            ``dtsinn-workspace``.
        console: Where a live table of trials is shown; by default nowhere.
        progress: Told of what the gate does.
        options: How to search, as :class:`dtsinn.search.plan.SearchOptions`: ``space="quick"``,
            ``trials=8``, ``time_budget="30m"``, ``gpus_per_trial="auto"`` and so on.

    Returns:
        The search with what was registered; only the search's result where nothing was: it was
        interrupted, its best trial has no weights, or MLflow does not answer.

    Raises:
        InputError: The search cannot begin so; nothing was started.
        RunError: No trial gave a result.
    """
    from dtsinn.search.plan import make_plan

    at = open_workspace(workspace)
    return search_and_promote(
        make_plan(name, _path_of(store), options, at, resume=resume),
        at,
        console or Console(quiet=True),
        resume=resume,
        warm_start=warm_start,
        progress=progress,
    )


def search_and_promote(
    plan: SearchPlan,
    workspace: Workspace,
    console: Console,
    *,
    resume: bool = False,
    warm_start: Sequence[str] = (),
    progress: Progress = no_progress,
) -> PromotedSearch | SearchResult:
    """Search, register the best trial, and promote it if it passes the gate.

    Where the model's name has no champion, the linear map is registered first and made it, also
    where no trial gave a result, or what it gave has no weights.

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
    from dtsinn.registry.gate.config import load_gate
    from dtsinn.registry.gate.report import say_first_champion
    from dtsinn.registry.lineage import note_best_model
    from dtsinn.registry.promotion.first_champion import ensure_champion
    from dtsinn.registry.promotion.promotion import promote
    from dtsinn.registry.registration import register
    from dtsinn.registry.tracking.embedded import tracking_uri
    from dtsinn.registry.tracking.names import model_name
    from dtsinn.registry.tracking.tracker import connect
    from dtsinn.search.engine.cluster import check_cluster
    from dtsinn.search.run import FruitlessError
    from dtsinn.search.run import run_search as search
    from dtsinn.workflows.warm_start import read_warm_start

    store = open_store(plan.store, need_truth=True)
    check_store_fits(store)
    name = model_name(store.header.tracers, store.header.protocol.name)
    check_cluster(plan.cluster)
    METHODS[plan.space.base["model"]["kind"]].check_store(store)
    limits = load_gate(plan.gate)
    tracking_uri(workspace)  # which refuses what can never answer
    points, events = read_warm_start(warm_start, plan, store, workspace)
    try:
        result = search(
            plan,
            store,
            workspace,
            lambda: connect(workspace),
            console,
            resume=resume,
            points=points,
            warm=events,
        )
    except FruitlessError as error:
        if error.floor is not None:
            at = connect(workspace)
            first = ensure_champion(at, workspace, name, error.floor, error.floor_run, store)
            if first is not None:
                console.print(say_first_champion(first.ref))
        raise
    if result.interrupted or result.undelivered:
        return result
    best = None if result.package is None else (result.package, result.best_trial)
    linear = best if result.floor is None else (result.floor, result.floor_run)
    tracker = connect(workspace)
    first = None if linear is None else ensure_champion(tracker, workspace, name, *linear, store)
    if result.package is None:
        return result
    version = register(tracker, result.package, run_key=result.best_trial)
    note_best_model(version, plan.name, tracker)
    report = promote(tracker, workspace, version, store, limits, progress=progress)
    if first is not None:
        report = replace(report, first_champion=first.ref)
    return PromotedSearch(search=result, package=result.package, version=version, gate=report)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A training that has ended, and the version that it is registered as."""

    run: FinishedRun
    version: ModelVersion | None
    """None while the tracking server does not answer: the run's events wait in its log, and the run
    that is resumed then is registered."""
    first_champion: ModelVersion | None = None
    """The linear map, where it was made the champion of a name that had none."""
    was_done: bool = False
    """The training had ended before, and nothing was trained now."""

    @property
    def separator(self) -> Separator:
        """The trained network, ready to separate."""
        return Separator.load(self.run.package)


def train(
    stores: Store | str | Path | Sequence[Store | str | Path],
    *,
    config: str = "default",
    settings: Mapping[str, Any] | Sequence[str] = (),
    steps: int | None = None,
    name: str | None = None,
    resume: str | None = None,
    resume_or_begin: bool = False,
    init: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    cpus_per_worker: float = 1,
    cluster: str | None = None,
    workspace: Folder = None,
    on_report: Callable[[Report], None] = lambda report: None,
    on_step: OnStep = ignore_step,
) -> TrainedModel:
    """Train one separator, or resume a run, and register it.

    Where the model's name has no champion, the linear map is registered first and made it.

    Args:
        stores: What it trains on, in turn: open stores, paths or URLs; the first one names the
            separator.
        config: Run configuration: name or YAML file.
        settings: What differs from it, by dotted key: ``{"model.blocks": 3}``.
        steps: Optimiser steps, as a setting.
        name: Of the run; by default the time.
        resume: Name of a run that goes on from its last checkpoint, with its own settings.
        resume_or_begin: Begin the run called ``name``, go on with it where it was begun, and train
            nothing where it is done.
        init: REF of a separator whose weights and model the run starts with.
        device: ``cpu`` or ``cuda``.
        workers: Processes that share each step's batches; with 1 it is this one.
        cpus_per_worker: Cores of each; may be a fraction.
        cluster: Address of a Ray cluster of the workers; by default this machine.
        workspace: Folder of runs, searches and models; by default ``DTSINN_WORKSPACE``, else
            ``dtsinn-workspace``.
        on_report: Told of each validation.
        on_step: Told of each step, where this process takes them.

    Raises:
        InputError: The stores, the settings or the separator to start from do not fit.
        DivergedError: The training left the numbers that make sense.
    """
    from dtsinn.registry.promotion.first_champion import ensure_champion
    from dtsinn.registry.references import resolve
    from dtsinn.registry.registration import register
    from dtsinn.registry.tracking.embedded import tracking_uri
    from dtsinn.registry.tracking.names import model_name
    from dtsinn.registry.tracking.tracker import connect

    asked = (
        [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        if isinstance(settings, Mapping)
        else list(settings)
    )
    asked += [] if steps is None else [f"steps={steps}"]
    if resume_or_begin and (name is None or resume):
        raise InputError("--resume-or-begin", wanted="--name NAME, and no --resume")
    if resume and (asked or name or init or config != "default"):
        raise InputError(
            "--resume continues a run as it is", wanted="no --config, --set, --name or --init"
        )
    given = load_run_config(config, asked)
    several = [stores] if isinstance(stores, Store | str | Path) else stores
    opened = [open_store(_path_of(store), need_truth=True) for store in several]
    if not resume and len({store.header.digest for store in opened}) < len(opened):
        paths = ", ".join(map(_path_of, several))
        raise InputError("a store is given twice", got=paths, wanted="each once")
    header, device, at = opened[0].header, device.lower(), open_workspace(workspace)
    check_device(device)
    model = model_name(header.tracers, header.protocol.name)
    folder = at.runs / choose_name(resume or name, "run")
    begun = bool(resume) or (resume_or_begin and latest_checkpoint(folder) is not None)
    if begun:
        state = resumed_state(opened, folder, device)
        if resume_or_begin:
            check_same_run(state, given, stated_settings(config, asked), init)
    elif init is None:
        state = fresh_state(opened, given, folder, device)
    else:
        parent = read_parent(resolve(init, at).path)
        child = config_of_child(given, stated_settings(config, asked), parent)
        state = fresh_state(opened, child, folder, device, parent)
    trainer: Trainer = partial(train_here, on_step=on_step)
    if workers > 1 or cluster:
        trainer = _share_among(workers, cpus_per_worker, cluster, state, device)
    tracking_uri(at)  # which refuses what can never answer
    remember_store(at, opened[0])
    done = find_finished(state, folder, at) if resume_or_begin and begun else None
    run = done or run_training(opened, state, folder, lambda: connect(at), on_report, trainer)
    if run.undelivered:
        return TrainedModel(run=run, version=None)
    tracker = connect(at)
    first = ensure_champion(tracker, at, model, run.package, run.key, opened[0])
    version = register(tracker, run.package, run_key=run.key)
    return TrainedModel(run=run, version=version, first_champion=first, was_done=done is not None)


def _share_among(
    workers: int, cpus: float, cluster: str | None, state: TrainingState, device: str
) -> Trainer:
    """What trains ``state`` on several workers, once it is known that they can."""
    Team(ranks=workers).check_divides(state.config)
    from dtsinn.search.engine.cluster import Workers, check_cluster

    check_cluster(cluster)
    from dtsinn.search.engine.parallel import train_in_parallel  # a second of Ray Train's imports

    team = Workers(number=workers, cpus=cpus, gpu=device.startswith("cuda"), cluster=cluster)
    return partial(train_in_parallel, workers=team)


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

    Where there is no champion, the linear map is registered and made it before.

    Raises:
        InputError: The REF names no registered version, the store does not open, or there is
            neither a champion nor a linear map to be one.
    """
    from dtsinn.registry.promotion.promotion import promote
    from dtsinn.registry.references import find_version
    from dtsinn.registry.tracking.tracker import connect_existing

    tracker = connect_existing(workspace)
    version = find_version(ref, tracker)
    store = open_store(data, need_truth=True) if data else _own_store(version, tracker, workspace)
    return promote(
        tracker, workspace, version, store, limits, dry_run=dry_run, name=name, progress=progress
    )


NO_SUITE = "none"
"""In place of a suite's name: the store alone."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A separator that is evaluated, and the version that it is, if any."""

    label: str
    separator: Separator
    version: ModelVersion | None = None


def evaluate(
    models: Separator | str | Path | Sequence[Separator | str | Path],
    store: Store | str | Path | None = None,
    *,
    suite: Suite | str | None = None,
    baselines: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    out: Path | str | None = None,
    workspace: Folder = None,
    progress: Progress = no_progress,
) -> tuple[Evaluation, Path]:
    """Score separators on ``test`` subjects that training never saw, and write a report.

    What registered models reach is logged to MLflow too. PSNR is in dB, activities in kBq/mL.

    Args:
        models: Separators, or REFs of models (``best``, ``NAME/3``, a package directory); the
            first is the one that the report is about.
        store: Whose ``test`` subjects count: open, or its path or URL. Without it, the one that the
            first model was trained on, where it is registered and the store still what it was.
        suite: A grid of noise, tracers and protocols to score on as well: one, or its name or file;
            ``none`` is no grid. By default ``own``, the first model's own pair and protocol, or no
            grid where a store is given.
        baselines: Score the rivals that need no training too.
        workers: Processes that score cells; by default one per core.
        cluster: Address of a running Ray cluster that scores them in their place.
        out: Folder of the report; by default one in the workspace.
        workspace: Folder of runs, searches and models; by default ``DTSINN_WORKSPACE``, else
            ``dtsinn-workspace``.
        progress: Told of what is done.

    Returns:
        The evaluation, and the folder with its ``report.html``.

    Raises:
        InputError: Nothing to evaluate on, an unknown REF, or a store that does not fit.
        RunError: A separator's answer is not finite.
    """
    at = open_workspace(workspace)
    asked = suite or (OWN if store is None else None)
    grid = load_suite(asked) if isinstance(asked, str) and asked != NO_SUITE else None
    grid = suite if isinstance(suite, Suite) else grid
    share = _share_cells(workers, cluster)
    several = [models] if isinstance(models, Separator | str | Path) else models
    candidates = [_load_candidate(model, at) for model in several]
    first = candidates[0].version
    scored: Store | None = None
    if store is not None:
        scored = open_store(_path_of(store), need_truth=True)
        for candidate in candidates:
            candidate.separator.check_fits(scored.header)
    elif first is not None:
        from dtsinn.registry.tracking.tracker import connect_existing

        scored = _own_store(first, connect_existing(at), at)
    if scored is None and grid is None:
        raise InputError(
            "nothing to evaluate on: the store that the model was trained on is gone or changed",
            hint="--data STORE",
        )
    label = grid.name if grid else "store"
    folder = Path(out) if out else at.evaluations / f"{candidates[0].label}-{label}"
    evaluation = score_separators(
        [(candidate.label, candidate.separator) for candidate in candidates],
        suite=grid,
        store=scored,
        workspace=at,
        out=folder,
        baselines=untrained_methods() if baselines else (),
        share=share,
        progress=progress,
    )
    if first is not None:
        from dtsinn.workflows.evaluation_log import log_evaluation

        log_evaluation(evaluation, scored, folder, at)
    return evaluation, folder


def _share_cells(workers: int | None, cluster: str | None) -> Share:
    """Who scores cells: processes of this machine, or a cluster."""
    if cluster is None:
        return share_among(workers)
    from dtsinn.search.engine.tasks import share_on

    return share_on(cluster)


def _load_candidate(model: Separator | str | Path, workspace: Workspace) -> _Candidate:
    if isinstance(model, Separator):
        name = model.info.lineage.run or "separator"
        return _Candidate(label=name.replace("/", "-"), separator=model)
    from dtsinn.registry.references import resolve
    from dtsinn.registry.tracking.tracker import connect_existing
    from dtsinn.registry.versions import get_version

    found = resolve(str(model), workspace)
    separator = Separator.load(found.path)
    if found.version is None:
        return _Candidate(label=found.name, separator=separator)
    version = get_version(connect_existing(workspace), found.name, found.version)
    label = f"{found.name}-{found.version}"
    return _Candidate(label=label, separator=separator, version=version)


def _own_store(version: ModelVersion, tracker: MlflowTracker, workspace: Workspace) -> Store | None:
    """The store that a version was trained on, if it is still what it was."""
    from dtsinn.registry.tracking import tags as tagged

    run = tracker.find_run(version.run_id) if version.run_id else None
    tags = run.data.tags if run else {}  # of dtsinn 0.1.0 its path: the version's own have a name
    path = tagged.store_path(tags, "store.path")
    store = find_store(workspace, tagged.digest(tags, "store.digest"), path)
    return store if store is not None and store.header.has_truth else None


def export_model(
    ref: str,
    out: Path,
    workspace: Workspace,
    progress: Progress = no_progress,
    *,
    calibrated: bool = True,
) -> tuple[ResolvedModel, ParityReport, str]:
    """Copy a model's package to ``out`` after proving its ONNX graphs; with its calibration.

    Returns:
        The model, the proof, and what its calibration subjects are or why there are none.
    """
    from dtsinn.registry.lineage import note_export
    from dtsinn.registry.references import resolve
    from dtsinn.registry.tracking.tracker import connect_existing
    from dtsinn.registry.versions import get_version
    from dtsinn.separation.calibration import calibration_text
    from dtsinn.workflows.calibrating import find_calibration

    if out.exists():
        raise InputError(f"{out} exists already", hint="another --out")
    model = resolve(ref, workspace)
    progress("exporting", 0, 1)
    if calibrated:
        known: Calibration | str = find_calibration(model.path, workspace, progress)
    else:
        again = workspace.command("export", ref, "--out", f"{out}-calibrated")
        known = f"not asked for; made by {again}"
    text = "" if isinstance(known, str) else calibration_text(known)
    proof = export_package(model.path, out, text)
    progress("exporting", 1, 1)
    if model.version is not None:
        tracker = connect_existing(workspace)
        note_export(get_version(tracker, model.name, model.version), proof, tracker)
    return model, proof, f"none: {known}" if isinstance(known, str) else known.source


def _path_of(store: Store | str | Path) -> str:
    return store.header.path if isinstance(store, Store) else str(store)
