"""Suggestions: Ray's OptunaSearch, corrected in what it tells Optuna about a trial's end.

What the base class gets wrong, and what is told here instead:

* A value that is NaN, infinite or missing left the Optuna trial RUNNING for ever. It is an answer
  of the configuration: PRUNED, without an intermediate value, with the reason.
* A trial that the scheduler stopped was told as COMPLETE with its low-fidelity value. It is
  PRUNED after reporting that value. The trainable's last report carries ``finished``; only it
  makes a trial COMPLETE.
* FAIL is kept for faults of the machine, which Ray has retried in vain.
* Each Optuna trial carries the id of its Ray trial.
* A suggestion that the configuration or a limit refuses starts no trial. It is PRUNED with the
  reason, and another one is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from dtsinn.core.errors import RunError

MOST_REFUSED = 200
"""Suggestions in a row that may be refused (uncited)."""
OBJECTIVE = "best_psnr"
"""What a search maximises: the highest validation PSNR of a trial so far, dB."""


class StudySearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch over one objective that tells Optuna the truth.

    Args:
        refuse: Says why no trial should be started with a suggestion, or nothing.
        more: What OptunaSearch takes.
    """

    def __init__(self, refuse: Callable[[Mapping[str, Any]], str], **more: Any) -> None:
        super().__init__(**more)
        self._refuse = refuse

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next configuration, as dotted keys; the Optuna trial is marked with its Ray id.

        Raises:
            RunError: One suggestion after the other is refused.
        """
        for _ in range(MOST_REFUSED):
            suggestion: dict[str, Any] = super().suggest(trial_id)
            trial = self._ot_trials[trial_id]
            reason = self._refuse(suggestion)
            if not reason:
                self._mark(trial, "ray_trial_id", trial_id)
                return suggestion
            self._mark(trial, "reason", reason)
            self._ot_study.tell(trial, state=TrialState.PRUNED)
            del self._ot_trials[trial_id]
        raise RunError(
            f"{MOST_REFUSED} suggestions in a row were refused",
            got=reason,
            hint="other constraints, or a space that holds more within them",
        )

    def _mark(self, trial: optuna.Trial, name: str, value: str) -> None:
        self._ot_study._storage.set_trial_user_attr(trial._trial_id, name, value)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report a finite intermediate value at its optimiser step."""
        value = result.get(OBJECTIVE)
        if _is_finite(value) and trial_id not in self._completed_trials:
            self._ot_trials[trial_id].report(value, int(result["step"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended; a second call changes nothing."""
        if trial_id in self._completed_trials:
            return
        trial = self._ot_trials[trial_id]
        result = result or {}
        value = result.get(OBJECTIVE)
        if error:
            trial.set_user_attr("reason", "machine fault")
            self._ot_study.tell(trial, state=TrialState.FAIL)
        elif result.get("reason") or not _is_finite(value):
            trial.set_user_attr("reason", result.get("reason") or f"{OBJECTIVE} is {value}")
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        elif result.get("finished"):
            self._ot_study.tell(trial, value)
        else:
            trial.set_user_attr("reason", "stopped by the scheduler")
            if int(result["step"]) not in _steps(self._ot_study, trial):
                trial.report(value, int(result["step"]))
            self._ot_study.tell(trial, state=TrialState.PRUNED)
        self._completed_trials.add(trial_id)


def close_study(study: optuna.Study, reason: str) -> int:
    """End every trial that is still RUNNING; returns how many were.

    What such a trial had reported teaches the sampler (PRUNED); without a report it is FAIL.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        told = TrialState.PRUNED if trial.intermediate_values else TrialState.FAIL
        study.tell(trial.number, state=told)
    return len(running)


def _steps(study: optuna.Study, trial: optuna.Trial) -> set[int]:
    return set(study._storage.get_trial(trial._trial_id).intermediate_values)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
