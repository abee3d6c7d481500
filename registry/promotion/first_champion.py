"""The first champion of a model name: the linear map, which every network then has to beat.

Where a name has no champion, the linear map of a candidate's own training stores is registered as
a version of it and made champion, without the gate: it is what others are measured against, and
may break limits that they must keep. From then on the opponent at the gate is always a champion.

Each step may be done twice: the map's run is named after the model, the map and the user, so that
the next call goes on with what a kill left, and there is one run, one version and one decision.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from dtsinn.core.clock import now_ms
from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.paths import name_of_store
from dtsinn.core.tracker import Point, RunStart, RunStatus
from dtsinn.core.version import code_version
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, StoreHeader
from dtsinn.deploy.facts import Lineage
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.package import write_package
from dtsinn.deploy.separator import Separator
from dtsinn.eventlog.recorder import Recorder, record
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.closed_form import fit_linear
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.registry.gate.checks import describe_misfit
from dtsinn.registry.promotion.alias_transaction import (
    apply_decision,
    current_user,
    make_decision,
    recover,
)
from dtsinn.registry.promotion.lock import PATIENCE_s, PromotionLockLostError, promotion_lock
from dtsinn.registry.references import fetch
from dtsinn.registry.registration import make_registered_model, register
from dtsinn.registry.tracking.embedded import hold_workspace_lock
from dtsinn.registry.tracking.rows import STATUS
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import (
    CHAMPION,
    PACKAGE_FOLDER,
    ModelVersion,
    find_alias,
    get_version,
    list_models,
)
from dtsinn.training.config import load_run_config
from dtsinn.training.package import training_data
from dtsinn.training.run import describe_end, experiment_name, lineage_tags
from dtsinn.training.validation import validate

ATTEMPTS = 20
"""How often it is tried again because the lock was lost meanwhile."""
MAKING = "first-champion"
"""Lock of a workspace in which one is made."""
NOTE = "the linear map, as there was no champion"
VERDICT = "first champion"
"""Stands on the version where others have the gate's verdict."""


@dataclass(frozen=True, kw_only=True)
class LinearMap:
    """The linear map that a candidate is measured against, as a model of its own."""

    network: LinearNetwork
    """As it is written into a package."""
    separator: Separator
    """Ready to separate; its run has no name yet, unless the candidate is the map."""
    store: Store | None
    """That it was fitted to, where it is at hand."""
    is_candidate: bool = False
    """The candidate is a linear map itself: it has a run and a package."""


def find_linear_map(package: Path, store: Store | None) -> LinearMap:
    """Find the linear map of a candidate.

    It is the candidate itself where that is linear, else the one in its package. For a package of
    an older dtsinn, which has none, it is fitted to ``store``, and its lineage names that store.

    Args:
        package: The candidate.
        store: Its own, or one of the same pair and frames; None where there is none at hand.

    Raises:
        PackageError: The package is damaged.
        InputError: It has no map, and the store is not at hand or does not fit.
    """
    candidate = Separator.load(package)
    info, floor = candidate.info, candidate.floor
    own = store if store is not None and _is_own(store.header, info.lineage) else None
    if isinstance(candidate.network, LinearNetwork) and floor is not None:
        return LinearMap(network=floor, separator=candidate, store=own, is_candidate=True)
    if floor is not None:
        lineage = dataclasses.replace(info.lineage, search="", trial="", init="", init_tracers="")
    else:
        own = _check_usable(store, info)
        floor, lineage = fit_linear((own,)), _lineage_of(own.header)
    context = floor.config.context
    config = load_run_config("default", ["model.kind=linear", f"model.context={context}"])
    lineage = dataclasses.replace(
        lineage, run="", config=to_mapping(config), seed=config.seed, steps=1
    )
    linear = dataclasses.replace(info, model=floor.config, metrics={}, lineage=lineage)
    return LinearMap(network=floor, separator=Separator(floor, linear), store=own)


def ensure_champion(
    tracker: MlflowTracker,
    workspace: Workspace,
    name: str,
    package: Path,
    run_key: str,
    store: Store | None,
) -> ModelVersion | None:
    """Make the linear map the champion of a name that has none.

    Args:
        tracker: The registry.
        workspace: Where the map's run is recorded.
        name: The model.
        package: A candidate for it; one of a linear map is registered itself, on its own run.
        run_key: The run that made the package, which has ended.
        store: The candidate's own, for the map's PSNR; None where it is not at hand.

    Returns:
        The first champion; None where there is a champion already.

    Raises:
        PackageError: The package, or what is registered already, is damaged.
        InputError: As :func:`find_linear_map` does.
        RunError: MLflow failed.
    """
    if find_alias(tracker, name, CHAMPION) is not None:
        return None
    linear = find_linear_map(package, store)
    busy = RunError("another process makes the first champion", got=workspace.root)
    with hold_workspace_lock(workspace, MAKING, PATIENCE_s, busy=busy):
        for _ in range(ATTEMPTS):
            made = None
            if _find_registered(tracker, workspace, name, linear) is None:
                made = package, run_key
                if not linear.is_candidate:
                    made = _record(linear, name, tracker, workspace)
                make_registered_model(tracker, name, linear.separator.info)
            try:
                with promotion_lock(tracker, name) as held:
                    recover(held)
                    if find_alias(tracker, name, CHAMPION) is not None:
                        return None
                    version = _find_registered(tracker, workspace, name, linear)
                    if version is None and made is not None:
                        version = register(tracker, made[0], run_key=made[1], name=name)
                    if version is None:  # it was deleted meanwhile
                        continue
                    number, tags = version.version, {"gate.verdict": VERDICT}
                    decision = make_decision("made first champion", number, None, NOTE, tags)
                    apply_decision(held, decision)
            except PromotionLockLostError:
                continue
            return get_version(tracker, name, number)
    raise RunError(f"the lock to promote {name} is lost again and again", hint="again later")


def _find_registered(
    tracker: MlflowTracker, workspace: Workspace, name: str, linear: LinearMap
) -> ModelVersion | None:
    """The newest version of a name that is this map, whoever registered it; its files are there."""
    digest = linear.separator.digest
    for version in list_models(tracker):
        if (version.name, version.digest) == (name, digest):
            fetch(tracker, workspace, version)
            return version
    return None


def _record(
    linear: LinearMap, name: str, tracker: MlflowTracker, workspace: Workspace
) -> tuple[Path, str]:
    """Record the map's run and write its package, as a training does; its folder and key."""
    # Of each user their own: on a server nobody writes to a run of somebody else.
    identity = hashlib.sha256(f"{linear.separator.digest} {current_user()}".encode()).hexdigest()
    key = f"floor-{name}-{identity[:12]}"
    folder = workspace.runs / key
    package = folder / PACKAGE_FOLDER
    known = tracker.find_run(key)
    if known is not None and known.data.tags.get(STATUS) == "finished" and package.exists():
        return package, key
    with record(folder, lambda: tracker) as recorder:
        recorder.begin(_run_start(linear.separator.info, key, linear.store))
        try:
            _make_package(linear, package, key, recorder)
        except BaseException as error:
            status: RunStatus = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            reason = describe_end(error, () if linear.store is None else (linear.store,))
            try:
                recorder.end(key, status, now_ms(), {"reason": reason})
            except OSError as failure:
                error.add_note(f"and its end was not written down: {failure}")
            raise
        recorder.end(key, "finished", now_ms())
    if recorder.undelivered:
        raise RunError(
            "MLflow has not got the run of the first champion yet",
            got=f"{recorder.undelivered} events wait",
            hint="the same command again when it answers",
        )
    return package, key


def _make_package(linear: LinearMap, package: Path, key: str, recorder: Recorder) -> None:
    metrics = _measure(linear)
    if metrics:
        recorder.report(key, [Point(step=1, metrics=metrics, time_ms=now_ms())])
    if not package.exists():
        shown = {name: metrics[name] for name in ("val_psnr",) if name in metrics}
        info = linear.separator.info
        lineage = dataclasses.replace(info.lineage, run=key)
        named = dataclasses.replace(info, metrics=shown, lineage=lineage)
        write_package(package, linear.network, named)
    recorder.artifact(key, package, PACKAGE_FOLDER)


def _measure(linear: LinearMap) -> dict[str, float]:
    """Metrics on the ``val`` subjects of its store, as of any training; nothing without them."""
    store = linear.store
    if store is None or not store.header.has_truth or not store.subject_count("val"):
        return {}
    cpu = torch.device("cpu")
    return validate(store, linear.network, cpu, 1.0, SubjectMeter.of(store))  # it has no inverse


def _run_start(info: SeparatorInfo, key: str, store: Store | None) -> RunStart:
    lineage = info.lineage
    of_store = {
        "store.path": lineage.store_path,
        "store.digest": lineage.store_digest,
        "tracers": ",".join(info.tracers),
        "protocol": info.protocol,
        "code.version": lineage.code_version,
    }
    if store is not None:
        of_store = lineage_tags(store)
    tags = of_store | {"seed": str(lineage.seed), "store.further": lineage.further_stores}
    pair = " then ".join(tracer.upper() for tracer in info.tracers)
    return RunStart(
        key=key,
        name=key,
        kind="training",
        experiment=experiment_name(info.tracers, info.protocol, lineage.store_digest),
        time_ms=now_ms(),
        parameters=flatten(lineage.config),
        tags={name: value for name, value in tags.items() if value},
        description=f"The linear map for {pair}, protocol {info.protocol}, fitted in closed form "
        f"on {name_of_store(lineage.store_path)}: the first champion, which networks challenge.",
    )


def _is_own(header: StoreHeader, lineage: Lineage) -> bool:
    """Whether a store is the one that names a candidate's training."""
    return header.digest == lineage.store_digest


def _check_usable(store: Store | None, info: SeparatorInfo) -> Store:
    """The store, if a map that stands for the candidate's can be fitted to it.

    Raises:
        InputError: It is not at hand, or of other tracers or frames, or has nothing to fit to.
    """
    what = "no champion to challenge, and the package brings no linear map to be one"
    hint = "--data STORE, the one that it was trained on"
    if store is None:
        raise InputError(what, wanted="the store that it was trained on", hint=hint)
    reason = describe_misfit(info, store.header, name_of_store(store.header.path))
    if not (store.header.has_truth and store.subject_count("train")):
        reason = f"{name_of_store(store.header.path)} has no train subjects with the truth"
    if reason:
        raise InputError(what, got=reason, hint=hint)
    return store


def _lineage_of(header: StoreHeader) -> Lineage:
    return Lineage(
        run="",
        config={},
        store_path=name_of_store(header.path),
        store_digest=header.digest,
        code_version=code_version(),
        seed=0,
        trained_on=(training_data(header),),
    )
