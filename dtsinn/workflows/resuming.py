"""Begin or resume: what a command that may be given any number of times finds when it is.

A cluster gives a job's command again after a machine is lost or taken away. Where the search or
the run was begun it goes on, and where it is done there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dtsinn.core.config import flatten, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace

if TYPE_CHECKING:
    from dtsinn.search.plan import SearchPlan
    from dtsinn.training.config import RunConfig
    from dtsinn.training.run import FinishedRun
    from dtsinn.training.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class ConcludedSearch:
    """A search after which nothing follows: it ended, and its best trial was put to the gate."""

    name: str
    states: Mapping[str, int]
    """Number of trials by how they ended."""
    over: str
    """Why it ended, where that was before all trials had."""
    best_trial: str
    ref: str
    """The version that its best trial is; nothing of a method without weights."""


def find_concluded(plan: SearchPlan, workspace: Workspace) -> ConcludedSearch | None:
    """What the search of a plan came to; None where something is left to do.

    Something is left where trials, registration, the gate or deliveries are, and where the plan
    asks for another end than the one that the search came to.

    Args:
        plan: Of a search that was begun.
        workspace: Where it is kept.

    Raises:
        InputError: The store does not open.
        RunError: MLflow does not answer.
    """
    from dtsinn.data.store import open_store
    from dtsinn.eventlog.outbox import count_undelivered
    from dtsinn.registry.tracking.tracker import connect
    from dtsinn.registry.versions import versions_of_run
    from dtsinn.search.events.state import read_state
    from dtsinn.search.objective import best_trial
    from dtsinn.search.plan import BUDGETS, read_plan
    from dtsinn.search.run import PACKAGE

    folder = workspace.searches / plan.name
    search = read_state(folder)
    was = read_plan(folder, search)
    same = all(getattr(plan, key) == getattr(was, key) for key in ("trials", "target", *BUDGETS))
    same = same and search.run["tags"]["store.digest"] == open_store(plan.store).header.digest
    best = best_trial(search, plan.objectives, plan.space.outcomes)
    if not same or search.state != "finished" or best is None:
        return None
    tracker = connect(workspace)
    if count_undelivered(folder, tracker.place):
        return None
    key, ref = f"{plan.name}/{best.name}", ""
    if (folder / PACKAGE).exists():
        judged = [
            version
            for version in versions_of_run(tracker, tracker.run_id(key))
            if "gate.verdict" in version.tags
        ]
        if not judged:
            return None
        ref = judged[0].ref
    return ConcludedSearch(
        name=plan.name, states=search.states(), over=search.reason, best_trial=key, ref=ref
    )


def check_same_run(
    state: TrainingState, asked: RunConfig, stated: Iterable[str], init: str | None
) -> None:
    """Refuse to resume a run with other settings than its own.

    Args:
        state: Of the run.
        asked: The configuration that was asked for.
        stated: The settings of it that were, by dotted key; the rest stays as it was.
        init: REF of a separator to start from, if one was asked for.

    Raises:
        InputError: A setting differs.
    """
    has, wants = flatten(to_mapping(state.config)), flatten(to_mapping(asked))
    for key in stated:
        if wants.get(key) != has.get(key):
            raise InputError(
                f"the run cannot be resumed with another {key}",
                got=wants.get(key),
                wanted=has.get(key),
                hint="another --name",
            )
    if init and not state.progress.init:
        raise InputError("the run began without --init", got=init, hint="another --name")


def find_finished(state: TrainingState, folder: Path, workspace: Workspace) -> FinishedRun | None:
    """The run in ``folder``, if it has ended and its package stands; what waits is delivered.

    Raises:
        InputError: Its event log is damaged.
    """
    from dtsinn.eventlog.recorder import recover
    from dtsinn.registry.tracking.tracker import connect
    from dtsinn.training.run import FinishedRun

    package = folder / "separator"
    found = recover(folder, lambda: connect(workspace))
    if found.state != "finished" or not package.exists():
        return None
    return FinishedRun(
        key=folder.name,
        folder=folder,
        package=package,
        best_psnr=state.progress.best_psnr,
        undelivered=found.undelivered,
    )
