"""Cleaning up a workspace: checkpoints of beaten trials, and packages that no version uses.

A trial that goes is first written down in the event log (a ``tag`` event, from where MLflow hears
of it), then its folder is renamed aside, then deleted. Whatever moment a kill chooses, the trial
has its checkpoint or has none, and the next pruning deletes what lies aside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import InputError
from dtsinn.core.safe_delete import bytes_of, delete_safely, interrupted_deletions
from dtsinn.core.tracker import Tracker
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.lock import driving, holder, is_driven
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox, delivered_place
from dtsinn.registry.tracking.tracker import connect, connect_existing
from dtsinn.search.engine.tuner import TRIALS
from dtsinn.search.events.state import SearchState, read_state, search_folder, search_names
from dtsinn.search.objective import front_of, rank_trials
from dtsinn.search.plan import read_plan
from dtsinn.workflows.prune_packages import (
    Orphan,
    delete_orphans,
    find_orphans,
    find_registries,
    is_elsewhere,
    runs_in_use,
)

LEAST = 5
"""So many of a search's best trials are always kept (uncited)."""
PRUNED = "pruned.checkpoint"
"""Tag of a trial's run: when its checkpoint was deleted, ISO 8601, UTC."""
DAY_ms = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is kept beside what registered versions point to.

    Raises:
        InputError: It would keep too few trials.
    """

    keep: int = LEAST
    """Best trials of each search, by its first objective."""
    older_than_days: float = 0.0
    """Searches that ended later are left alone."""

    def __post_init__(self) -> None:
        if self.keep < LEAST:
            raise InputError("--keep", got=self.keep, wanted=f"at least {LEAST}")
        if not 0 <= self.older_than_days < math.inf:
            raise InputError("--older-than", got=self.older_than_days, wanted="days, 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrialCheckpoint:
    """The checkpoint of one trial."""

    trial: str
    value: float | None
    """Value of the search's first objective; None where the trial has none."""
    bytes: int
    why: str
    """Why it is kept; nothing of one that goes."""


@dataclass(frozen=True, kw_only=True)
class SearchPruning:
    """What of a search is kept and what goes."""

    search: str
    objective: str = ""
    """The first one: ``psnr:max``."""
    left_alone: str = ""
    """Why nothing of it may go: it runs, or can be resumed."""
    kept: list[TrialCheckpoint] = field(default_factory=list)
    gone: list[TrialCheckpoint] = field(default_factory=list)
    """What goes, or went."""
    aside: int = 0
    """Bytes that a killed pruning left."""
    undelivered: int = 0
    """Events that the tracker has not got."""

    @property
    def bytes(self) -> int:
        """Bytes that go, or went."""
        return self.aside + sum(one.bytes for one in self.gone)


def plan_pruning(
    folder: Path, policy: Policy, in_use: Mapping[str, Sequence[str]]
) -> SearchPruning:
    """Say what of the search in ``folder`` would go; nothing is changed.

    Args:
        folder: Of the search.
        policy: What is kept.
        in_use: Keys of runs that registered versions point to, with the names of those.
    """
    if is_driven(folder):
        return _leave_driven(folder)
    return _weigh_checkpoints(folder, policy, in_use)


def prune_search(
    folder: Path,
    policy: Policy,
    in_use: Mapping[str, Sequence[str]],
    connect: Callable[[], Tracker],
) -> SearchPruning:
    """Delete what :func:`plan_pruning` names, as the search's only driver; returns what went.

    Raises:
        OSError: Something could not be deleted; the next pruning goes on there.
    """
    with ExitStack() as held:
        try:
            held.enter_context(driving(folder))
        except InputError:
            return _leave_driven(folder)
        found = _weigh_checkpoints(folder, policy, in_use)
        if found.left_alone:
            return found
        event_log, trials = EventLog(folder / LOG_FILE), folder / TRIALS
        for one in found.gone:
            key, now = f"{folder.name}/{one.trial}", datetime.now(UTC).isoformat(timespec="seconds")
            event_log.append(
                {"event": "tag", "time_ms": now_ms(), "key": key, "tags": {PRUNED: now}}
            )
            delete_safely(trials / one.trial)
        for left in interrupted_deletions(trials):
            delete_safely(left)
        outbox = Outbox(event_log, connect)
        try:
            outbox.deliver()
        except Exception:  # whatever a tracking server fails with; it is in the event log
            return replace(found, undelivered=outbox.waiting())
    return found


def _leave_driven(folder: Path) -> SearchPruning:
    return SearchPruning(search=folder.name, left_alone=f"it runs: {holder(folder)}")


def _weigh_checkpoints(
    folder: Path, policy: Policy, in_use: Mapping[str, Sequence[str]]
) -> SearchPruning:
    try:
        history = read_state(folder)
        plan, trials = read_plan(folder, history), folder / TRIALS
    except InputError as error:  # it never began, its event log is damaged, or of another dtsinn
        return SearchPruning(search=folder.name, left_alone=str(error))
    objectives, outcomes = plan.objectives, plan.space.outcomes
    found = SearchPruning(
        search=folder.name,
        objective=str(objectives[0]),
        left_alone=_explain_leaving(history, policy),
    )
    if found.left_alone:
        return found
    having = {t.name: t for t in history.trials.values() if _is_own(trials, t.name)}
    ranked = rank_trials(history, objectives, outcomes)
    good = [trial.name for trial in ranked if trial.name in having]
    why: dict[str, list[str]] = {name: [] for name in having}
    for place, name in enumerate(good[: policy.keep], 1):
        why[name].append(f"number {place} by {objectives[0]}")
    for name in front_of(history, objectives, outcomes) if len(objectives) > 1 else ():
        why.get(name, []).append("Pareto front")
    for name in having:
        if versions := in_use.get(f"{folder.name}/{name}"):
            why[name].append(f"registered as {', '.join(versions)}")
    weighed = [
        TrialCheckpoint(
            trial=name,
            value=objectives[0].value(having[name].metrics) if name in good else None,
            bytes=bytes_of(trials / name),
            why="; ".join(why[name]),
        )
        for name in [*good, *(name for name in having if name not in good)]
    ]
    return replace(
        found,
        kept=[one for one in weighed if one.why],
        gone=[one for one in weighed if not one.why],
        aside=sum(map(bytes_of, interrupted_deletions(trials))),
    )


def _is_own(trials: Path, name: str) -> bool:
    """Whether a trial has a folder, in its place: links, and what they lead to, are not ours."""
    folder = trials / name
    return folder.is_dir() and folder.resolve() == trials.resolve() / Path(name).name


def _explain_leaving(history: SearchState, policy: Policy) -> str:
    if history.state == "running":
        return "its driver died, as dtsinn status mends"
    if history.state == "killed" or any(trial.is_open for trial in history.trials.values()):
        return "it can be resumed"
    age = (now_ms() - history.sessions[-1].last_ms) / DAY_ms
    if age < policy.older_than_days:
        return f"it ended {age:.1f} days ago"
    return ""


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """What of a workspace goes, or went."""

    dry_run: bool
    searches: list[SearchPruning]
    packages: list[Orphan]
    """Packages of the registry that no version uses."""

    @property
    def bytes(self) -> int:
        """All together."""
        found = [one.bytes for one in self.searches] + [one.bytes for one in self.packages]
        return sum(found)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        searches = [asdict(one) | {"bytes": one.bytes} for one in self.searches]
        packages = [asdict(one) | {"folder": str(one.folder)} for one in self.packages]
        return asdict(self) | {"searches": searches, "packages": packages, "bytes": self.bytes}


def prune_workspace(
    workspace: Workspace, policy: Policy, *, search: str | None = None, dry_run: bool = True
) -> PruneReport:
    """Delete, or only weigh, checkpoints of beaten trials and packages that no version uses.

    Args:
        workspace: To be cleaned.
        policy: What is kept.
        search: Only of this search.
        dry_run: Only say what would go.

    Raises:
        InputError: No such workspace or search.
        RunError: MLflow does not say what is in use; nothing was deleted.
        OSError: Something could not be deleted; the next pruning goes on there.
    """
    tracker = connect_existing(workspace)
    names = [search] if search else search_names(workspace)
    folders = [search_folder(workspace, name) for name in names]
    asked = find_registries(tracker, workspace)
    in_use = runs_in_use(asked)

    def prune_one(folder: Path) -> SearchPruning:
        place = delivered_place(folder)
        if is_elsewhere(place, asked):
            why = f"its versions are at {place}: MLFLOW_TRACKING_URI"
            return SearchPruning(search=folder.name, left_alone=why)
        if dry_run:
            return plan_pruning(folder, policy, in_use)
        return prune_search(folder, policy, in_use, partial(connect, workspace))

    found = [prune_one(folder) for folder in folders]
    alone = {one.search for one in found if one.left_alone}
    before_ms = int(now_ms() - policy.older_than_days * DAY_ms)

    def is_free(key: str) -> bool:
        owner = key.rpartition("/")[0]
        return owner not in alone and search in (None, owner)

    delete: Callable[..., list[Orphan]] = find_orphans if dry_run else delete_orphans
    packages = delete(tracker, before_ms, is_free)
    return PruneReport(dry_run=dry_run, searches=found, packages=packages)
