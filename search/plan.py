"""The plan of a search: what to search, with what, for how long, and when to stop."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import BaseModel, ValidationError, create_model
from typing_extensions import TypedDict

from dtsinn.core.checks import same_word
from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError, naming
from dtsinn.core.formats import SEARCH_PLAN
from dtsinn.core.workspace import Workspace, choose_name
from dtsinn.eventlog.log import LOG_FILE
from dtsinn.search.events.state import SearchState, read_state
from dtsinn.search.objective import PSNR, Objective, read_objectives
from dtsinn.search.sampling.halving import SCHEDULERS
from dtsinn.search.sampling.samplers import SAMPLERS, check_sampler
from dtsinn.search.space.reader import load_space, space_of
from dtsinn.search.space.space import SearchSpace

BUDGETS = ("time_budget_s", "step_budget", "gpu_hours", "patience")
"""What ends a search before its trials are done."""
CHANGEABLE = {
    "trials",
    "time_budget_s",
    "step_budget",
    "gpu_hours",
    "target",
    "patience",
    "concurrent",
    "cpus_per_trial",
    "gpus_per_trial",
    "pack_gpus",
    "workers_per_trial",
    "cluster",
    "gate",
    "floor",
}
"""What a resumed search may be given anew; the rest decides what is searched, and stays."""
NO_SETTING = {"space", "name", "store", "cluster", "gate", *SEARCH_PLAN.mark}
"""Keys of a plan's plain data that say nothing of how it searches."""


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What to search and with what.

    Raises:
        InputError: An unknown sampler or scheduler, or parts that do not go together.
    """

    name: str
    store: str
    """Path or URL."""
    space: SearchSpace
    objectives: tuple[Objective, ...] = PSNR
    """The first one decides which trials are pruned and which one is registered."""
    trials: int = 50
    time_budget_s: float | None = None
    """Wall time of all sessions together."""
    step_budget: int | None = None
    """Training steps of all trials together."""
    gpu_hours: float | None = None
    """GPUs times hours, of all trials together."""
    target: float | None = None
    """Value of the first objective that is good enough."""
    patience: int | None = None
    """Trials that end without a better value of the first objective."""
    concurrent: int | None = None
    """Trials at a time; by default as many as cores and GPUs allow."""
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    pack_gpus: bool = False
    """Trials share GPUs as their memory allows; ``gpus_per_trial`` is the most that one takes."""
    workers_per_trial: int = 1
    """Processes that train one trial together; each has the cores and GPUs of ``..._per_trial``."""
    sampler: str = "tpe"
    scheduler: str = "asha"
    seed: int = 0
    """Seed of the suggestions."""
    cluster: str | None = None
    """Address of a Ray cluster; None starts Ray on this machine."""
    gate: str = "default"
    """Name or file of the gate that the best trial comes to."""
    floor: bool = True
    """The linear map is fitted first, which the trials are measured against."""

    def __post_init__(self) -> None:
        for key, known in (("sampler", SAMPLERS), ("scheduler", SCHEDULERS)):
            object.__setattr__(self, key, same_word(getattr(self, key), known))
        for what in ("trials", *BUDGETS, "concurrent", "cpus_per_trial", "workers_per_trial"):
            given = getattr(self, what)
            if given is not None and not 0 < given < math.inf:
                raise InputError(f"{what} of a search", got=given, wanted="above 0")
        for what, given in (("target", self.target), ("gpus_per_trial", self.gpus_per_trial)):
            if given is not None and not math.isfinite(given):
                raise InputError(f"{what} of a search", got=given, wanted="a finite number")
        if not 0 <= self.seed < 2**32:
            raise InputError("seed of a search", got=self.seed, wanted="0 to 2^32 - 1")
        accumulate = self.space.base.get("accumulate", 1)
        if accumulate % self.workers_per_trial:
            raise InputError(
                f"accumulate cannot be shared by {self.workers_per_trial} workers",
                got=accumulate,
                wanted=f"a multiple of {self.workers_per_trial}",
                hint=f"fixed: {{accumulate: {self.workers_per_trial}}} in the space",
            )
        SCHEDULERS.check(self.scheduler)
        check_sampler(
            self.sampler, self.space.parameters, trials=self.trials, scheduler=self.scheduler
        )
        if self.gpu_hours is not None and self.gpus_per_trial == 0:
            raise InputError(
                "a budget of GPU hours, but trials have no GPU", hint="--gpus-per-trial"
            )
        if self.workers_per_trial > 1 and (self.pack_gpus or self.gpus_per_trial not in (0, 1)):
            raise InputError(
                f"--gpus-per-trial with {self.workers_per_trial} workers",
                got="auto" if self.pack_gpus else f"{self.gpus_per_trial:g}",
                wanted="0 or 1: each worker has a GPU, or none has",
            )

    @property
    def steps(self) -> int:
        """Training steps of a whole trial."""
        return int(self.space.base["steps"])

    def as_data(self) -> dict[str, Any]:
        """The plan as plain data; :func:`plan_of` reads it."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return (
            own
            | SEARCH_PLAN.mark
            | {
                "space": {"name": self.space.name, "file": self.space.file},
                "objectives": ",".join(map(str, self.objectives)),
            }
        )

    def settings(self) -> dict[str, Any]:
        """What it says beside name, store and space, flat; for people to read."""
        return {
            key: value
            for key, value in self.as_data().items()
            if key not in NO_SETTING and value is not None
        }


_NEEDED = {"name", "store", "space", "objectives"}
"""What every plan says; for anything else there is a default."""


class _Space(TypedDict):
    """A space in a plan's plain data."""

    name: str
    file: dict[str, Any]


_TYPES = get_type_hints(SearchPlan) | {"space": _Space, "objectives": str}
_FIELDS: Any = {
    one.name: (_TYPES[one.name], ... if one.name in _NEEDED else one.default)
    for one in fields(SearchPlan)
}
_Stored: type[BaseModel] = create_model("_Stored", __config__=STRICT, **_FIELDS)
"""A plan as plain data, by the types of :class:`SearchPlan`; what is not there is the default."""


def plan_of(data: Mapping[str, Any], where: str = "the plan of the search") -> SearchPlan:
    """The plan that :meth:`SearchPlan.as_data` wrote; ``where`` names it in errors.

    Raises:
        InputError: It is not one, or of a newer version.
    """
    plain = SEARCH_PLAN.read(data, where)
    try:
        own = {key: value for key, value in plain.items() if key not in SEARCH_PLAN.mark}
        given = dict(_Stored.model_validate(own, strict=True))
        with naming(where):  # a space knows no file
            space = space_of(given["space"]["name"], given["space"]["file"])
            objectives = read_objectives(given["objectives"])
            return SearchPlan(**(given | {"space": space, "objectives": objectives}))
    except (ValidationError, KeyError) as error:
        got: object = error
        if isinstance(error, ValidationError):
            problem = error.errors()[0]
            got = f"{'.'.join(map(str, problem['loc']))!r}: {problem['msg']}"
        raise InputError(
            f"{where} cannot be read", got=got, hint="the dtsinn that began it"
        ) from None


def read_plan(folder: Path, search: SearchState) -> SearchPlan:
    """The plan of the search in ``folder``, whose history is known.

    Raises:
        InputError: As :func:`plan_of`; the file is named.
    """
    return plan_of(search.plan, f"{folder / LOG_FILE}: the plan of the search")


class SearchOptions(TypedDict, total=False):
    """How to search, as a person says it: the options of ``dtsinn search``, by their names."""

    space: str
    """Search space: name or YAML file; by default ``default``."""
    objective: str
    """``METRIC:max`` or ``METRIC:min``; several, with commas, give a Pareto front."""
    trials: int
    """Number of trials."""
    time_budget: str
    """Stop after this time: ``90s``, ``30m``, ``2h``."""
    max_steps: int
    """Stop after so many training steps of all trials together."""
    max_gpu_hours: float
    """Stop after so many GPUs times hours."""
    target: float
    """Stop when the first objective is as good as this (psnr: dB)."""
    patience: int
    """Stop when so many trials ended without a better one."""
    concurrent: int
    """Trials at a time; by default what fits."""
    cpus_per_trial: float
    """Cores of a trial."""
    gpus_per_trial: str | float
    """GPUs, or parts, of a trial; ``auto`` packs them by memory."""
    workers_per_trial: int
    """Processes that train a trial together, each with the cores and GPUs above."""
    sampler: str
    """One of :data:`SAMPLERS`."""
    scheduler: str
    """One of :data:`SCHEDULERS`."""
    gate: str
    """Gate for the best trial: name or YAML file."""
    floor: bool
    """Fit the linear map first, which the trials are measured against (``--no-floor``)."""
    cluster: str
    """Address of a Ray cluster; by default this machine."""
    seed: int
    """Seed of the suggestions."""


MOST_GPUS = 10_000
"""GPUs of a trial (uncited)."""
_FIELDS_OF_OPTIONS = {
    "objective": "objectives",
    "time_budget": "time_budget_s",
    "max_steps": "step_budget",
    "max_gpu_hours": "gpu_hours",
}
"""Fields of a plan that are not called as the option that gives them."""


def make_plan(
    name: str | None,
    store: str,
    options: SearchOptions,
    workspace: Workspace,
    *,
    resume: bool = False,
) -> SearchPlan:
    """The plan of a search that begins, or of one that is resumed with other options.

    Args:
        name: Of the search; by default the time.
        store: Path or URL.
        options: What was asked for; the rest has its default, or stays as it was.
        workspace: Where searches are kept.
        resume: Go on with the search of that name.

    Raises:
        InputError: An option is none or cannot be meant, or there is no such search to resume.
    """
    known = SearchOptions.__annotations__
    if unknown := options.keys() - known.keys():
        raise InputError("no such option", got=", ".join(unknown), wanted=", ".join(known))
    if resume and name is None:
        raise InputError("the search to resume", got="no name", wanted="its name")
    given = _read_options(options)
    name = choose_name(name, "search")
    if not resume:
        return SearchPlan(name=name, store=store, **({"space": load_space("default")} | given))
    folder = workspace.searches / name
    return replace(change_plan(read_plan(folder, read_state(folder)), given), store=store)


def _read_options(options: SearchOptions) -> dict[str, Any]:
    """The fields of a plan that options give, of those that say something."""
    readers: dict[str, Callable[[Any], Any]] = {
        "space": load_space,
        "objective": read_objectives,
        "time_budget": read_seconds,
        "gpus_per_trial": _read_gpus,
        "gate": lambda gate: str(Path(gate).resolve()) if Path(gate).suffix else gate,
    }
    fields = {
        _FIELDS_OF_OPTIONS.get(key, key): readers[key](value) if key in readers else value
        for key, value in options.items()
        if value is not None
    }
    if "gpus_per_trial" in fields:
        fields["pack_gpus"] = str(options["gpus_per_trial"]).lower() == "auto"
    return fields


def _read_gpus(text: str | float) -> float:
    if str(text).lower() == "auto":
        return 1.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_GPUS:
        raise InputError("--gpus-per-trial", got=repr(text), wanted="a number, or auto")
    return number


def read_seconds(text: str) -> float:
    """A time as people write it, such as ``90s``, ``30m`` or ``2h``, in seconds.

    Raises:
        InputError: It is none, or no time at all.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise InputError("--time-budget", got=repr(text), wanted="such as 90s, 30m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def resume_command(store: str, name: str, workspace: Workspace, trials: int | None = None) -> str:
    """What to type to go on with a search; up to so many ``trials``, or as many as it has."""
    up_to = [] if trials is None else ["--trials", str(trials)]
    return workspace.command("search", store, "--name", name, "--resume", *up_to)


def change_plan(plan: SearchPlan, given: Mapping[str, Any]) -> SearchPlan:
    """The plan of a search that is resumed.

    Args:
        plan: As it was.
        given: What was asked for now; only what :data:`CHANGEABLE` names can differ.

    Raises:
        InputError: Something else is to differ.
    """
    for key, value in given.items():
        was = getattr(plan, key)
        if key in CHANGEABLE or _plain(value) == _plain(was):
            continue
        raise InputError(
            f"search {plan.name} cannot be resumed with another {key}",
            got=getattr(value, "name", value),
            wanted=getattr(was, "name", was),
            hint="another --name",
        )
    return replace(plan, **given)


def _plain(value: Any) -> Any:
    """What can be compared: of a space what its file asks for, wherever that was read."""
    if not isinstance(value, SearchSpace):
        return value
    asked = {key: part for key, part in value.file.items() if key != "description"}
    return json.dumps(asked, sort_keys=True)
