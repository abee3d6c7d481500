"""The plan of a search: what to search, with what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from dtsinn.core.errors import InputError
from dtsinn.search.space import SearchSpace

SAMPLERS = ("tpe", "random")
SCHEDULERS = ("asha", "none")


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """What to search and with what.

    Raises:
        InputError: An unknown sampler or scheduler.
    """

    name: str
    store: str
    """Path or URL."""
    space: SearchSpace
    trials: int = 50
    time_budget_s: float | None = None
    concurrent: int | None = None
    """Trials at a time; by default as many as cores and GPUs allow."""
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    workers_per_trial: int = 1
    """Processes that train one trial together; each has the cores and GPUs of ``..._per_trial``."""
    sampler: str = "tpe"
    scheduler: str = "asha"
    seed: int = 0
    """Of the suggestions."""
    cluster: str | None = None
    """Address of a Ray cluster; None starts Ray on this machine."""

    def __post_init__(self) -> None:
        accumulate = self.space.base.get("accumulate", 1)
        if accumulate % self.workers_per_trial:
            raise InputError(
                f"accumulate cannot be shared by {self.workers_per_trial} workers",
                got=accumulate,
                wanted=f"a multiple of {self.workers_per_trial}",
                hint=f"fixed: {{accumulate: {self.workers_per_trial}}} in the space",
            )
        for what, given, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("scheduler", self.scheduler, SCHEDULERS),
        ):
            if given not in known:
                raise InputError(f"no such {what}", got=repr(given), wanted=" or ".join(known))
