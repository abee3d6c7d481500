"""The state of a search, as its event log gives it when its events are applied in order.

Every question about a search is asked of it: its trials, its sessions, its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtsinn.core.errors import InputError, naming
from dtsinn.core.tracker import Point
from dtsinn.core.workspace import Workspace
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.search.events.events import check_event

DIED = "its driver died"
"""Why something ended that nobody ended."""
INFEASIBLE = "spoiled"
"""Tag of the end of a trial that its own configuration ended, beside those that were stopped."""
BEFORE = ("warm", "point")
"""What is written before the first session."""
FLOOR = "floor"
"""Name of the run of the linear map, which the trials are measured against; it is none of them."""
ENDED = ("finished", "pruned", "failed")
"""States after which nothing follows; a trial that was ``killed`` goes on when it is resumed."""


@dataclass(kw_only=True)
class TrialRecord:
    """One trial."""

    name: str
    number: int
    """Its place among the search's trials, from 0 on; -1 of the floor."""
    suggestion: dict[str, Any]
    """What it tries, by dotted key."""
    seed: int
    """Seed of its training."""
    source: str
    """Who thought of it: ``sampler``, ``base``, ``point`` or ``warm start``; ``floor`` of that."""
    suggested_ms: int
    """When, in ms since 1970 UTC, as all times here."""
    suggest_seconds: float = 0.0
    """That the sampler took."""
    state: str = "waiting"
    """``waiting``, ``running``, ``finished``, ``pruned``, ``failed`` or ``killed``."""
    reason: str = ""
    """Why it ended, where it did not end by itself."""
    infeasible: bool = False
    """Its own configuration ended it: it diverged, lost its inverse or found no memory."""
    points: list[Point] = field(default_factory=list)
    """Its reports, in the order of steps."""
    begun_ms: int | None = None
    """When it last began."""
    ended_ms: int | None = None
    kept_ms: int = 0
    """When it last began, reported or began again: what was done since is lost with its worker."""
    gpus: float = 0.0
    """That it holds, since its latest begin."""
    active_ms: int = 0
    """Time between begins and ends, those that have ended."""
    gpu_ms: float = 0.0
    """The same, times the GPUs that it held."""
    restarts: int = 0
    """Times that a worker died."""
    repeats: int = 0
    """Reports that came again."""
    lost_seconds: float = 0.0
    """Work that was done again, or never, because of kills."""

    @property
    def step(self) -> int:
        """Training steps that it has reported."""
        return self.points[-1].step if self.points else 0

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics of its last report."""
        return self.points[-1].metrics if self.points else {}

    def active_seconds(self, now_ms: int) -> float:
        """That it was under way, up to now."""
        return (self.active_ms + self._lasts_ms(now_ms)) / 1000

    def gpu_seconds(self, now_ms: int) -> float:
        """The same, times the GPUs that it held."""
        return (self.gpu_ms + self.gpus * self._lasts_ms(now_ms)) / 1000

    def add_time(self, until_ms: int) -> None:
        """Count what began and has not ended as lasting until then."""
        lasted = self._lasts_ms(until_ms)
        self.active_ms += lasted
        self.gpu_ms += self.gpus * lasted

    def _lasts_ms(self, until_ms: int) -> int:
        if self.begun_ms is None or self.ended_ms is not None:
            return 0
        return until_ms - self.begun_ms

    @property
    def is_open(self) -> bool:
        """Whether something may follow."""
        return self.state not in ENDED


@dataclass(kw_only=True)
class Session:
    """What one driver did, from its begin to its last event."""

    host: str
    pid: int
    begun_ms: int
    last_ms: int

    @property
    def seconds(self) -> float:
        """That it lasted."""
        return (self.last_ms - self.begun_ms) / 1000


@dataclass(kw_only=True)
class SearchState:
    """One search."""

    name: str
    plan: dict[str, Any] = field(default_factory=dict)
    """The plan of the latest session, as plain data (:mod:`dtsinn.search.plan`)."""
    run: dict[str, Any] = field(default_factory=dict)
    """Its own run, as it first began."""
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    """By name, in the order in which they were thought of."""
    floor: TrialRecord | None = None
    """The linear map, fitted to the same store by the driver; None before that, and without one."""
    warm: list[dict[str, Any]] = field(default_factory=list)
    """Results of earlier searches that the sampler knows: ``warm`` events."""
    points: list[dict[str, Any]] = field(default_factory=list)
    """What was to be tried before the sampler is asked: ``point`` events."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """``refuse`` events."""
    sessions: list[Session] = field(default_factory=list)
    state: str = "running"
    """``running`` until its own run ended, then ``finished``, ``failed`` or ``killed``."""
    reason: str = ""
    """Why it ended."""
    tags: dict[str, str] = field(default_factory=dict)
    """That its end gave."""

    @property
    def seconds(self) -> float:
        """All sessions together."""
        return sum(session.seconds for session in self.sessions)

    @property
    def floor_key(self) -> str:
        """Key of the floor's run."""
        return f"{self.name}/{FLOOR}"

    @property
    def steps(self) -> int:
        """Training steps of all trials."""
        return sum(trial.step for trial in self.trials.values())

    def apply(self, event: Mapping[str, Any]) -> None:
        """Know of one more event.

        Raises:
            InputError: It is none, of another search, or cannot follow what is known.
        """
        check_event(event)
        _apply(self, event)

    def trial_of(self, key: str) -> TrialRecord | None:
        """The trial with this key of a run; None for the search's own and for its floor's.

        Raises:
            InputError: The key is of another search, or of a trial that nobody has suggested.
        """
        if key in {self.name, self.floor_key}:
            return None
        search, _, trial = key.rpartition("/")
        if search != self.name:
            raise InputError("an event of another search", got=key, wanted=f"{self.name}/...")
        return self.trial(trial)

    def trial(self, name: str) -> TrialRecord:
        """The trial with this name.

        Raises:
            InputError: Nobody has suggested it.
        """
        if name not in self.trials:
            raise InputError("an event of a trial before it was suggested", got=name)
        return self.trials[name]

    def states(self) -> dict[str, int]:
        """Number of trials by state."""
        return dict(Counter(trial.state for trial in self.trials.values()))


def search_folder(workspace: Workspace, name: str) -> Path:
    """Folder of the search with this name.

    Raises:
        InputError: There is none; the message names those that there are.
    """
    known = search_names(workspace)
    if name not in known:
        raise InputError(
            f"no search {name!r} in {workspace.searches}",
            wanted=f"one of {', '.join(known)}" if known else "",
            hint="" if known else "dtsinn search STORE",
        )
    return workspace.searches / name


def workspace_of(folder: Path) -> Workspace:
    """The workspace that a search's folder lies in."""
    return Workspace(folder.parent.parent)


def search_names(workspace: Workspace) -> list[str]:
    """Names of all searches in a workspace."""
    return sorted(path.parent.name for path in workspace.searches.glob(f"*/{LOG_FILE}"))


def is_begun(folder: Path) -> bool:
    """Whether a search in ``folder`` can be resumed; not one whose driver died before its session.

    Raises:
        InputError: Its event log is damaged.
    """
    event_log = EventLog(folder / LOG_FILE, readonly=True)
    return bool(replay(folder.name, event_log).sessions)


def read_state(folder: Path) -> SearchState:
    """The state of the search in ``folder``; also while it runs.

    Raises:
        InputError: There is no search, it never began, or its event log is damaged.
    """
    path = folder / LOG_FILE
    if not path.is_file():
        raise InputError(f"no search {folder.name}", got=f"no {path}", hint="dtsinn status")
    search = replay(folder.name, EventLog(path, readonly=True))
    if not search.sessions:
        raise InputError(
            f"search {folder.name} never began",
            got="a driver that died before",
            hint="the command that began it, without --resume",
        )
    return search


def replay(
    name: str, events: Iterable[Mapping[str, Any]], where: Path | None = None
) -> SearchState:
    """The state that events add up to.

    Args:
        name: Of the search.
        events: In order; an :class:`~dtsinn.eventlog.log.EventLog` is one.
        where: Their file, for errors.

    Raises:
        InputError: One of them is none, of another search, or out of order; names file and line.
    """
    search = SearchState(name=name)
    where = events.path if isinstance(events, EventLog) else where
    for number, event in enumerate(events, 1):
        with naming(f"{where or f'event log of {name}'}, line {number}"):
            search.apply(event)
    return search


def ends_of_died(search: SearchState) -> list[dict[str, Any]]:
    """The events that end what a driver left under way when it died, at its last event's time."""
    keys = [
        f"{search.name}/{run.name}"
        for run in filter(None, (*search.trials.values(), search.floor))
        if run.state == "running"
    ]
    if search.state == "running" and search.run:
        keys.append(search.name)
    last = search.sessions[-1].last_ms if search.sessions else 0
    ended = {"event": "end", "time_ms": last, "status": "killed", "tags": {"reason": DIED}}
    return [ended | {"key": key} for key in keys]


def _apply(search: SearchState, event: Mapping[str, Any]) -> None:
    kind, now = event["event"], int(event.get("time_ms", 0))
    if not search.sessions and kind not in {"sitting", *BEFORE}:
        raise InputError("out of order", got=f"{kind} before any session")
    if kind in {"tag", "artifact"}:
        search.trial_of(event["key"])
    if kind == "tag":  # written between sessions, and no part of the search
        return
    if search.sessions and kind != "sitting":  # what lies between two sessions is a pause
        search.sessions[-1].last_ms = max(now, search.sessions[-1].last_ms)
    if kind == "sitting":
        of = event["plan"].get("name", search.name)
        if of != search.name:
            raise InputError("the plan of another search", got=of, wanted=search.name)
        search.sessions.append(
            Session(host=event["host"], pid=event["pid"], begun_ms=now, last_ms=now)
        )
        search.plan = event["plan"]
    elif kind in {"warm", "point", "refuse"}:
        kept = {"warm": search.warm, "point": search.points, "refuse": search.refused}
        kept[kind].append(dict(event))
    elif kind == "suggest":
        if event["trial"] in search.trials or event["number"] != len(search.trials):
            got = f"{event['trial']}, number {event['number']}, after {len(search.trials)} trials"
            raise InputError("out of order", got=got)
        search.trials[event["trial"]] = TrialRecord(
            name=event["trial"],
            number=event["number"],
            suggestion=event["suggestion"],
            seed=event["seed"],
            source=event["source"],
            suggested_ms=now,
            suggest_seconds=event["seconds"],
        )
    elif kind == "restart":
        trial = search.trial(event["trial"])
        trial.restarts += 1
        trial.lost_seconds += event["lost_seconds"]
        trial.kept_ms = now
    elif kind == "repeat":
        search.trial(event["trial"]).repeats += 1
    elif kind in {"begin", "report", "end"}:
        key = event["run"]["key"] if kind == "begin" else event["key"]
        is_floor = key == search.floor_key
        trial_or_none = _floor(search, kind, now) if is_floor else search.trial_of(key)
        if trial_or_none is None:
            _apply_to_search(search, event)
        else:
            _apply_to_trial(trial_or_none, event, now)


def _floor(search: SearchState, kind: str, now: int) -> TrialRecord:
    """The floor that an event of a kind is of; it is known from its first begin on."""
    if search.floor is None:
        if kind != "begin":
            raise InputError("out of order", got=f"{kind} of the floor before its begin")
        search.floor = TrialRecord(
            name=FLOOR,
            number=-1,
            suggestion={},
            seed=0,
            source=FLOOR,
            suggested_ms=now,
        )
    return search.floor


def _apply_to_search(search: SearchState, event: Mapping[str, Any]) -> None:
    if event["event"] == "begin":
        search.state, search.reason = "running", ""
        search.run = search.run or event["run"]
    elif event["event"] == "end":
        search.state, search.tags = event["status"], event["tags"]
        search.reason = event["tags"].get("reason", "")


def _apply_to_trial(trial: TrialRecord, event: Mapping[str, Any], now: int) -> None:
    if not trial.is_open and event["event"] != "end":
        got = f"{event['event']} of {trial.name}, which is {trial.state}"
        raise InputError("out of order", got=got)
    if event["event"] == "report" and event["step"] < trial.step:
        got = f"step {event['step']} of {trial.name} after step {trial.step}"
        raise InputError("out of order", got=got)
    if event["event"] == "begin":
        trial.add_time(trial.points[-1].time_ms if trial.points else now)
        trial.state, trial.reason = "running", ""
        trial.begun_ms, trial.ended_ms, trial.kept_ms = now, None, now
        trial.gpus = float(event.get("gpus", 0))  # an older dtsinn did not say
    elif event["event"] == "report":
        trial.points.append(Point(step=event["step"], metrics=event["metrics"], time_ms=now))
        trial.kept_ms = now
    else:
        trial.state, trial.reason = event["status"], event["tags"].get("reason", "")
        trial.infeasible = INFEASIBLE in event["tags"]
        trial.add_time(now)
        trial.ended_ms = now
