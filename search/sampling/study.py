"""The Optuna study of a search: what the sampler knows, made from the event log and kept in step.

Optuna gets the truth about how trials end, which neither Ray's OptunaSearch nor Optuna's own
habits give: a trial that the scheduler ended is PRUNED after its last value was reported, one that
its configuration ended (infeasible) is PRUNED without a value (TPE ranks it last), only a trial
that spent its budget is COMPLETE, and FAIL is kept for faults of the machine.

The event log comes first. A study is always made anew from it, in a file of its own, so that the
two agree after any crash; there is no torn file and no stale lock to mend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GridSampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from dtsinn.core.errors import InputError, RunError
from dtsinn.search.events.state import SearchState, TrialRecord
from dtsinn.search.objective import Objective, violations
from dtsinn.search.space.space import SearchSpace

STUDY = "study.journal"
"""Its file in a search's folder; ``optuna-dashboard`` opens it."""
WARM = "warm"
"""Name of what earlier searches tried."""
MOST_REFUSED = 200
"""Suggestions in a row that may be refused."""

_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def optuna_state(status: str, values: Sequence[float]) -> TrialState:
    """Optuna's state of a trial that ended: without a finite value it cannot be COMPLETE."""
    state = _STATES.get(status, TrialState.RUNNING)
    if state is TrialState.COMPLETE and not all(map(math.isfinite, values)):
        return TrialState.PRUNED
    return state


class SearchStudy:
    """Asks a sampler for suggestions and tells it the results, as Optuna calls it.

    Args:
        search: What is known already.
        space: What is searched.
        objectives: One or several.
        sampler: Whom to ask; none where nothing is asked.
        path: File of the study, replaced; None keeps it in memory.
    """

    def __init__(
        self,
        search: SearchState,
        space: SearchSpace,
        objectives: Sequence[Objective],
        sampler: BaseSampler | None = None,
        path: Path | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.objectives = space, tuple(objectives)
        self.study = optuna.create_study(
            study_name=search.name,
            storage=_fresh(path),
            directions=[
                StudyDirection.MAXIMIZE if objective.maximise else StudyDirection.MINIMIZE
                for objective in objectives
            ],
            sampler=sampler,
        )
        self._numbers: dict[str, int] = {}
        """Optuna's number of each trial of the search, by name."""
        for warm in search.warm:
            status = "finished" if warm["finished"] else "pruned"
            # Nothing is known of what earlier searches' trials came to beside their values.
            limits = dict.fromkeys(self.violations({}), 0.0)
            known = (warm["suggestion"], status, warm["step"], warm["values"])
            self._add(*known, {"name": WARM}, limits)
        for refused in search.refused:
            attributes = {"reason": refused["reason"]}
            limits = self.violations({})
            self._add(refused["suggestion"], "pruned", 0, self._unknown, attributes, limits)
        for trial in search.trials.values():
            self._numbers[trial.name] = len(self.study.get_trials(deepcopy=False))
            attributes = {"name": trial.name} | ({"reason": trial.reason} if trial.reason else {})
            values, limits = self.values(trial), self.violations(trial.metrics)
            self._add(trial.suggestion, trial.state, trial.step, values, attributes, limits)

    @property
    def _unknown(self) -> list[float]:
        return [math.nan] * len(self.objectives)

    def values(self, trial: TrialRecord) -> list[float]:
        """The objectives of a trial's last report; NaN where it has none or is infeasible."""
        if trial.infeasible:
            return self._unknown
        return [objective.value(trial.metrics) for objective in self.objectives]

    def violations(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """By how much a report is above each of the space's outcome constraints."""
        return violations(metrics, self.space.outcomes)

    def ask(
        self,
        name: str,
        refuse: Callable[[Mapping[str, Any]], str],
        on_refused: Callable[[Mapping[str, Any], str], None],
        point: Mapping[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """The next suggestion, by dotted key; None where a grid has no other point.

        Args:
            name: Of the trial that will try it.
            refuse: Says why no trial should be started with a suggestion, or nothing.
            on_refused: Told of each suggestion that was refused.
            point: Values to try instead of asking the sampler; what is missing is asked for.

        Raises:
            RunError: One suggestion after the other is refused.
        """
        for _ in range(MOST_REFUSED):
            if self.exhausted:
                return None
            if point is not None:
                self.study.enqueue_trial(dict(point), user_attrs={"given": True})
                point = None
            asked = self.study.ask()
            suggestion = self.space.draw(asked)
            reason = refuse(suggestion)
            if not reason:
                asked.set_user_attr("name", name)
                self._numbers[name] = asked.number
                return suggestion
            asked.set_user_attr("reason", reason)
            for limit, value in self.violations({}).items():
                asked.set_constraint(limit, value)
            self._tell(asked.number, TrialState.PRUNED)
            on_refused(suggestion, reason)
        raise RunError(
            f"{MOST_REFUSED} suggestions in a row were refused",
            got=reason,
            hint="other constraints, or a space that holds more within them",
        )

    def tell(
        self,
        name: str,
        status: str,
        step: int,
        values: Sequence[float],
        reason: str = "",
        metrics: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """How a trial ended, with what it reported last; telling it again changes nothing.

        Args:
            name: Of the trial.
            status: ``finished``, ``pruned`` or ``failed``.
            step: Of its last report; 0 without one.
            values: Of the objectives then.
            reason: In words, if it did not end by itself.
            metrics: Its last report, for outcome constraints.
        """
        number = self._numbers[name]
        storage = self.study._storage  # to list all trials takes longer the more there are
        of = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        if storage.get_trial(of).state.is_finished():
            return
        state = optuna_state(status, values)
        if reason:
            storage.set_trial_user_attr(of, "reason", reason)
        for limit, value in self.violations(metrics).items():
            Trial(self.study, of).set_constraint(limit, value)
        if step and len(values) == 1 and math.isfinite(values[0]):
            storage.set_trial_intermediate_value(of, step, values[0])
        self._tell(number, state, values if state is TrialState.COMPLETE else None)

    def close(self, reason: str) -> None:
        """End every trial that is still RUNNING: what follows is in a new study."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
            self._tell(trial.number, TrialState.FAIL)

    def _tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        try:
            self.study.tell(number, values, state=state)
        except RuntimeError as error:
            # The grid's sampler ends Optuna's own loop after its last point; here is none.
            if "stop" not in str(error):
                raise

    def _add(
        self,
        suggestion: Mapping[str, Any],
        status: str,
        step: int,
        values: Sequence[float],
        attributes: Mapping[str, str],
        limits: Mapping[str, float],
    ) -> None:
        state = optuna_state(status, values)
        ended = state is not TrialState.RUNNING  # until then there is no value
        reported = ended and step and len(values) == 1 and math.isfinite(values[0])
        # What is pruned has the value of its last report, as Optuna gives it when it is told.
        valued = state is TrialState.COMPLETE or (state is TrialState.PRUNED and reported)
        try:
            trial = _trial(
                self.space,
                suggestion,
                state=state,
                values=list(values) if valued else None,
                user_attrs=dict(attributes),
                intermediate_values={step: values[0]} if reported else {},
                # A grid of this search covers all its points, whatever earlier ones tried.
                system_attrs={}
                if attributes.get("name") == WARM
                else self._place_in_grid(suggestion),
                constraints=dict(limits) if ended else {},
            )
        except (ValueError, TypeError) as error:
            what = f"the event log of {self.study.study_name}: {attributes.get('name', 'refused')}"
            raise InputError(
                f"{what} has a value that is none of the space's",
                got=" ".join(str(error).split())[:120],
            ) from None
        self.study.add_trial(trial)

    def _place_in_grid(self, suggestion: Mapping[str, Any]) -> dict[str, Any]:
        """What the grid's sampler writes to the trials that it suggests, to know its points."""
        sampler = self.study.sampler
        if not isinstance(sampler, GridSampler):
            return {}
        point = tuple(suggestion.get(key) for key in sampler._param_names)
        if point not in sampler._all_grids:
            return {}
        place = sampler._all_grids.index(point)
        return {"search_space": sampler._search_space, "grid_id": place}

    @property
    def exhausted(self) -> bool:
        """Whether all points of a grid have been suggested."""
        sampler = self.study.sampler
        if not isinstance(sampler, GridSampler):
            return False
        known = {t.system_attrs.get("grid_id") for t in self.study.get_trials(deepcopy=False)}
        return len(known - {None}) == len(sampler._all_grids)


def _trial(space: SearchSpace, suggestion: Mapping[str, Any], **more: Any) -> FrozenTrial:
    """A trial of Optuna's with the values of this space that the suggestion holds."""
    known: dict[str, BaseDistribution] = {
        parameter.key: parameter.distribution
        for parameter in space.parameters
        if parameter.key in suggestion
    }
    return create_trial(params={key: suggestion[key] for key in known}, distributions=known, **more)


def _fresh(path: Path | None) -> BaseStorage:
    if path is None:
        return InMemoryStorage()
    for old in path.parent.glob(f"{path.name}*"):  # with Optuna's lock beside it
        old.unlink()
    return JournalStorage(JournalFile(path))


class JournalFile(JournalFileBackend):
    """Optuna's file, written without Optuna's lock and syncs.

    The search's driver is its only writer, and what is lost of it, is in the event log.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write events of Optuna's, a line each."""
        lines = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
