"""Where a search stands, and what is mended: event log, Optuna's study and MLflow are to agree.

The event log is right. What a driver that died left open is ended in it, the study is made anew
where it says something else, the tracker gets what was not delivered yet, and runs that it takes
for running although they ended are ended again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from dtsinn.core.errors import DtsinnError
from dtsinn.core.tracker import Tracker
from dtsinn.data.known_stores import find_store
from dtsinn.eventlog.lock import driving, holder, is_driven
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox, deliver
from dtsinn.search.events.state import DIED, SearchState, ends_of_died, replay, workspace_of
from dtsinn.search.objective import best_trial
from dtsinn.search.plan import SearchPlan, read_plan, resume_command
from dtsinn.search.sampling.study import STUDY, WARM, SearchStudy, optuna_state


@dataclass(kw_only=True)
class SearchStatus:
    """The status of one search."""

    name: str
    kind: str = "search"
    state: str
    """``running``, ``finished``, ``failed`` or ``killed``; ``not begun`` where its first driver
    died at once, ``damaged`` where its event log cannot be read."""
    trials: dict[str, int] = field(default_factory=dict)
    """Number of trials by state."""
    ended: int = 0
    """Trials after which nothing follows."""
    planned: int = 0
    """Number of trials that it was asked for."""
    best_trial: str = ""
    best: float | None = None
    """Value of the first objective of that trial."""
    objective: str = ""
    """The first one: ``psnr:max``."""
    floor: float | None = None
    """Its value for the linear map; None where the search has no floor, or the floor no value."""
    steps: int = 0
    """Training steps of all trials."""
    seconds: float = 0.0
    """Wall time of all sessions."""
    lost_seconds: float = 0.0
    """Work that was done again, or never, because of kills."""
    driver: str = ""
    """Who drives it, if anybody does."""
    reason: str = ""
    """Why it ended."""
    undelivered: int = 0
    """Events that are not delivered to the tracker yet."""
    repaired: list[str] = field(default_factory=list)
    """What was mended just now, in words."""
    resume: str = ""
    """What to type to go on, where something is still to come."""


def reconcile(folder: Path, connect: Callable[[], Tracker]) -> SearchStatus:
    """Say where the search in a folder stands, and mend it unless a driver is at work.

    Raises:
        InputError: Its event log is damaged.
    """
    name = folder.name
    if is_driven(folder):
        event_log = EventLog(folder / LOG_FILE, readonly=True)
        search, outbox = replay(name, event_log), Outbox(event_log, connect)
        plan = read_plan(folder, search) if search.plan else None
        return _report_status(folder, search, plan, outbox, holder(folder))
    with driving(folder):
        event_log = EventLog(folder / LOG_FILE)
        search, outbox = replay(name, event_log), Outbox(event_log, connect)
        repaired = []
        for end in ends_of_died(search):
            event_log.append(end)
            search.apply(end)
            repaired.append(f"{end['key']}: {DIED}")
        plan = read_plan(folder, search) if search.plan else None
        if plan and _is_study_mended(folder, search, plan):
            repaired.append("Optuna's study made anew")
        delivery = outbox.try_to_deliver()
        repaired += [delivery] * bool(delivery)
        status = _report_status(folder, search, plan, outbox)
        if not status.undelivered:
            repaired += end_again(event_log, name, connect)
        status.repaired = repaired
        return status


def end_again(event_log: EventLog, name: str, connect: Callable[[], Tracker]) -> list[str]:
    """End the runs that the tracker takes for running although they ended; says which."""
    try:
        tracker = connect()
        running = set(tracker.running(name))
        if not running:
            return []
        ends = {e["key"]: e for e in event_log if e["event"] == "end" and e["key"] in running}
        deliver(tracker, list(ends.values()), event_log.path.parent)
    except DtsinnError as error:
        return [f"runs not compared: {error.what}"]
    return [f"{key} ended again" for key in ends]


def _is_study_mended(folder: Path, search: SearchState, plan: SearchPlan) -> bool:
    """Make Optuna's study anew where it says something else than the log; returns whether."""
    values = [objective.value for objective in plan.objectives]
    wanted = {}
    for trial in search.trials.values():
        state = optuna_state(trial.state, [value(trial.metrics) for value in values])
        wanted[trial.name] = TrialState.FAIL if state is TrialState.RUNNING else state
    if _states(folder / STUDY, folder.name) == wanted:
        return False
    study = SearchStudy(search, plan.space, plan.objectives, path=folder / STUDY)
    study.close(DIED)
    return True


def _states(path: Path, name: str) -> dict[str, TrialState] | None:
    """What Optuna's study says of each trial; None of a torn or foreign file."""
    if not path.is_file():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    except (KeyError, ValueError, TypeError, AttributeError, AssertionError, RecursionError):
        return None
    if any(trial.state is TrialState.RUNNING for trial in trials):  # also one without a name yet
        return None
    return {
        trial.user_attrs["name"]: trial.state
        for trial in trials
        if trial.user_attrs.get("name", WARM) != WARM
    }


def _report_status(
    folder: Path, search: SearchState, plan: SearchPlan | None, outbox: Outbox, driver: str = ""
) -> SearchStatus:
    status = SearchStatus(
        name=folder.name,
        state=search.state if search.sessions or driver else "not begun",
        trials=search.states(),
        ended=sum(not trial.is_open for trial in search.trials.values()),
        planned=plan.trials if plan else 0,
        steps=search.steps,
        seconds=search.seconds,
        lost_seconds=sum(trial.lost_seconds for trial in search.trials.values()),
        driver=driver,
        reason=search.reason,
        undelivered=outbox.waiting(),
    )
    if plan:
        objectives = plan.objectives
        status.objective = str(objectives[0])
        best = best_trial(search, objectives, plan.space.outcomes)
        if best is not None:
            status.best_trial, status.best = best.name, objectives[0].value(best.metrics)
        floor = objectives[0].value(search.floor.metrics) if search.floor else math.nan
        status.floor = floor if math.isfinite(floor) else None
    if plan and not driver and search.state == "killed":
        workspace = workspace_of(folder)
        lineage = search.run.get("tags", {})
        store = find_store(workspace, lineage.get("store.digest", ""), plan.store)
        path = store.header.path if store else plan.store
        status.resume = resume_command(path, folder.name, workspace)
    return status
