"""A whole search: Ray Tune runs trials, Optuna suggests, ASHA stops, the driver records."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import ray
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from rich.console import Console

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import RunStart, Tracker
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, open_store
from dtsinn.search.callback import DriverCallback, now_ms
from dtsinn.search.cluster import ray_session
from dtsinn.search.events import Recorder
from dtsinn.search.forecast import REDUCTION
from dtsinn.search.ledger import Ledger
from dtsinn.search.parallel import Workers
from dtsinn.search.plan import SearchPlan
from dtsinn.search.referee import Referee
from dtsinn.search.space import describe
from dtsinn.search.suggest import OBJECTIVE, StudySearch, close_study
from dtsinn.search.table import TrialTable
from dtsinn.search.trial import TrialPlan, run_trial
from dtsinn.training.package import package_run, picture_run
from dtsinn.training.run import check_store_fits, experiment_of, lineage_tags
from dtsinn.training.state import TrainingState

MACHINE_FAULT_RETRIES = 2
"""Times that a trial whose worker died is started again from its last checkpoint (uncited)."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """How a search ended."""

    name: str
    folder: Path
    best_trial: str
    """Key of the best trial's run."""
    best_psnr: float
    """dB on the ``val`` subjects."""
    suggestion: dict[str, Any]
    """What the best trial was given to try, by dotted key."""
    package: Path | None
    """The best trial as a separator package; None of spectral analysis, which has no weights."""
    states: dict[str, int]
    """Number of trials by how they ended."""
    interrupted: bool
    """Trials were still to come when it was told to stop."""
    undelivered: int
    """Events that the tracker has not taken yet; they are in the ledger."""


def run_search(
    plan: SearchPlan, workspace: Workspace, tracker: Tracker, console: Console
) -> SearchResult:
    """Search, record everything, and package the best trial.

    Raises:
        InputError: The name is taken or the store cannot be used; nothing was started.
        RunError: No trial gave a result.
    """
    folder = workspace.searches / plan.name
    if folder.exists():
        raise InputError(f"search {plan.name} exists already", hint="another --name")
    store = open_store(plan.store, need_truth=True)
    check_store_fits(store)
    number = plan.workers_per_trial
    with ray_session(plan.cluster, plan.cpus_per_trial * number, plan.gpus_per_trial * number):
        recorder = Recorder(Ledger(folder / "ledger.jsonl"), tracker)
        recorder.record({"event": "begin", "run": asdict(_search_run(plan, store))})
        status = "killed"
        try:
            result = _search(plan, store, folder, recorder, console)
            status = "killed" if result.interrupted else "finished"
        except RunError:
            status = "failed"
            raise
        finally:
            recorder.record(
                {
                    "event": "end",
                    "key": plan.name,
                    "status": status,
                    "time_ms": now_ms(),
                    "tags": {},
                }
            )
    return result


def _search(
    plan: SearchPlan, store: Store, folder: Path, recorder: Recorder, console: Console
) -> SearchResult:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    study = optuna.create_study(study_name=plan.name, storage=storage, direction="maximize")
    steps = int(plan.space.base["steps"])
    begun = time.monotonic()
    with TrialTable(console, plan.trials, steps) as table:
        callback = DriverCallback(
            search=plan.name,
            space=plan.space,
            lineage=lineage_tags(store),
            experiment=experiment_of(store),
            recorder=recorder,
            table=table,
        )
        try:
            outcome = _tune(plan, store, folder, storage, callback)
        finally:
            interrupted = _is_interrupted(plan, callback, time.monotonic() - begun)
            status, reason = (
                ("killed", "interrupted") if interrupted else ("pruned", "the time budget is spent")
            )
            callback.close(status, reason)
            close_study(study, reason)
    if outcome is None:
        reasons = {row.reason for row in table.rows.values() if row.reason}
        raise RunError("no trial gave a result", got="; ".join(sorted(reasons)) or "no report")
    draw_trials(outcome.checkpoints, store, folder, plan.name, recorder)
    key = f"{plan.name}/{outcome.best}"
    package = None
    if outcome.best in outcome.checkpoints:
        state = TrainingState.load(outcome.checkpoints[outcome.best])
        package = folder / "separator"
        package_run(state, store.header, package, key, search=plan.name)
    states: dict[str, int] = {}
    for row in table.rows.values():
        states[row.state] = states.get(row.state, 0) + 1
    return SearchResult(
        name=plan.name,
        folder=folder,
        best_trial=key,
        best_psnr=outcome.psnr,
        suggestion=outcome.suggestion,
        package=package,
        states=states,
        interrupted=interrupted,
        undelivered=recorder.deliver(),
    )


def _is_interrupted(plan: SearchPlan, callback: DriverCallback, seconds: float) -> bool:
    """Whether Ray came back early: it takes Ctrl-C itself and returns what there is."""
    if plan.time_budget_s is not None and seconds >= plan.time_budget_s:
        return False
    return len(callback.ended) < plan.trials


def _workers(plan: SearchPlan) -> Workers | None:
    """The processes of each trial, where it is more than its own."""
    if plan.workers_per_trial == 1:
        return None
    return Workers(
        number=plan.workers_per_trial, cpus=plan.cpus_per_trial, gpu=plan.gpus_per_trial > 0
    )


def _resources(plan: SearchPlan) -> dict[str, float]:
    """What a trial's own process asks for: with workers next to nothing, as they do the work."""
    if plan.workers_per_trial > 1:
        return {"cpu": 0, "memory": 1}  # Ray refuses a trial that asks for nothing at all
    return {"cpu": plan.cpus_per_trial, "gpu": plan.gpus_per_trial}


def _concurrent(plan: SearchPlan) -> int | None:
    """Trials at a time; those with workers are counted here, as they ask for nothing themselves."""
    if plan.workers_per_trial == 1:
        return plan.concurrent
    has, number = ray.cluster_resources(), plan.workers_per_trial
    fitting = [int(has.get("CPU", 0) / (plan.cpus_per_trial * number))]
    if plan.gpus_per_trial:
        fitting.append(int(has.get("GPU", 0) / (plan.gpus_per_trial * number)))
    return max(1, min([*fitting, plan.concurrent or fitting[0]]))


def _tune(
    plan: SearchPlan, store: Store, folder: Path, storage: JournalStorage, callback: DriverCallback
) -> _Outcome | None:
    """Run the trials."""
    trial_plan = TrialPlan(
        store=_everywhere(plan.store),
        base=plan.space.base,
        threads=max(1, int(plan.cpus_per_trial)),
        device="cuda" if plan.gpus_per_trial > 0 else "cpu",
        workers=_workers(plan),
    )
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, plan=trial_plan),
            _resources(plan),
        ),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(plan, storage, store),
            scheduler=_scheduler(plan),
            num_samples=plan.trials,
            time_budget_s=plan.time_budget_s,
            max_concurrent_trials=_concurrent(plan),
            # It is also what lets a stopped trial end its workers: without reuse Ray kills it, and
            # what they had asked for is never given back (Ray's cleaner needs the dashboard).
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            callbacks=[callback],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            failure_config=tune.FailureConfig(max_failures=MACHINE_FAULT_RETRIES),
            verbose=0,
        ),
    )
    return _outcome(tuner.fit(), callback.names)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What the trials reached."""

    checkpoints: dict[str, Path]
    """The last checkpoint of each trial that has weights."""
    best: str
    """Name of the best trial."""
    psnr: float
    """Its PSNR, dB."""
    suggestion: dict[str, Any]
    """What it was given to try, by dotted key."""


def _outcome(results: Any, names: dict[str, str]) -> _Outcome | None:
    """The outcome of Ray's results; None without any."""
    checkpoints: dict[str, Path] = {}
    psnr: dict[str, float] = {}
    suggestions: dict[str, dict[str, Any]] = {}
    for result in results:
        metrics = result.metrics or {}
        # Spectral analysis has nothing to keep: its one report is all of it.
        if not metrics or (result.checkpoint is None and not metrics.get("finished")):
            continue
        name = names[metrics["trial_id"]]
        if result.checkpoint is None:
            psnr[name] = float(metrics[OBJECTIVE])
        else:
            checkpoints[name] = Path(result.checkpoint.path)
            psnr[name] = TrainingState.load(checkpoints[name]).progress.best_psnr
        suggestions[name] = dict(result.config)
    if not psnr:
        return None
    best = max(psnr, key=lambda name: psnr[name])
    return _Outcome(
        checkpoints=checkpoints, best=best, psnr=psnr[best], suggestion=suggestions[best]
    )


def _sampler(plan: SearchPlan) -> BaseSampler:
    if plan.sampler == "random":
        return RandomSampler(seed=plan.seed)
    # A few random trials first; ten, Optuna's default, would be all of a small search.
    startup = max(2, min(10, plan.trials // 4))
    return TPESampler(seed=plan.seed, n_startup_trials=startup)


def _searcher(plan: SearchPlan, storage: JournalStorage, store: Store) -> StudySearch:
    start, header = plan.space.start(), store.header
    return StudySearch(
        refuse=Referee(space=plan.space, frames=header.protocol.frames, size=header.size),
        space=plan.space.draw,
        metric=OBJECTIVE,
        mode="max",
        points_to_evaluate=[start] if start else None,
        sampler=_sampler(plan),
        study_name=plan.name,
        storage=storage,
    )


def _scheduler(plan: SearchPlan) -> Any:
    if plan.scheduler == "none":
        return FIFOScheduler()
    base = plan.space.base
    return ASHAScheduler(
        time_attr="step",
        metric=OBJECTIVE,
        mode="max",
        # The trainable's own budget: a trial that ASHA stops has not finished.
        max_t=base["steps"],
        grace_period=base["validate_every"],
        reduction_factor=REDUCTION,
    )


def draw_trials(
    checkpoints: dict[str, Path], store: Store, folder: Path, search: str, recorder: Recorder
) -> None:
    """Draw every trial's first ``val`` subject and attach the pictures to its run."""
    for name, checkpoint in checkpoints.items():
        key = f"{search}/{name}"
        pictures = folder / "pictures" / name
        picture_run(TrainingState.load(checkpoint), store, pictures, key)
        recorder.record(
            {"event": "artifact", "key": key, "path": str(pictures), "folder": "pictures"}
        )


def _search_run(plan: SearchPlan, store: Store) -> RunStart:
    settings = {
        key: value
        for key, value in asdict(plan).items()
        if key not in {"space", "name", "store", "cluster"} and value is not None
    }
    moved = "\n".join(f"* `{key}`: {text}" for key, text in describe(plan.space))
    return RunStart(
        key=plan.name,
        name=plan.name,
        kind="search",
        experiment=experiment_of(store),
        time_ms=now_ms(),
        parameters=settings | {"space": plan.space.name},
        tags=lineage_tags(store)
        | {"seed": str(plan.seed), "space": json.dumps(dict(describe(plan.space)))},
        description=f"Search over space **{plan.space.name}**:\n\n{moved}",
    )


def _everywhere(path: str) -> str:
    """A store's path as workers understand it, whatever folder they run in."""
    return path if "://" in path else str(Path(path).resolve())
