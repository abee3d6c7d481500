"""The search that every method gets: Optuna's TPE over learning rate and width.

A suggestion depends on the number of the trial and on the results before it alone, so that a
search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import create_trial

SEED = 12
"""Of the sampler; the same for every method, so that all begin with the same points."""
STARTUP = 4
"""Trials that are drawn without a look at the results before."""
LOST = -100.0
"""What a trial counts that gave no finite answer, dB."""
FACTORS = (0.5, 0.75, 1.0, 1.5)
"""Widths to choose from, relative to the method's own default."""
MULTIPLE = 4
"""Widths are rounded to multiples of it."""
LEARNING_RATE = FloatDistribution(5e-4, 1.6e-2, log=True)
WIDTH = IntDistribution(0, len(FACTORS) - 1)
"""Place in :data:`FACTORS`."""

Space = Mapping[str, BaseDistribution]
Parameters = Mapping[str, float]


def width_of(default: int, place: float) -> int:
    """The width at a place of :data:`FACTORS`."""
    return max(MULTIPLE, MULTIPLE * round(default * FACTORS[int(place)] / MULTIPLE))


def suggest(
    space: Space, past: Sequence[tuple[Parameters, float | None]], number: int
) -> dict[str, float]:
    """Parameters of trial ``number``.

    Args:
        space: Distributions by name.
        past: Parameters and validation PSNR in dB of the trials before, in their order; None
            where there was no finite answer.
        number: Of the trial, from 0.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = TPESampler(seed=SEED + number, n_startup_trials=STARTUP)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    for parameters, value in past:
        trial = create_trial(
            params=dict(parameters),
            distributions=dict(space),
            value=LOST if value is None else value,
        )
        study.add_trial(trial)
    return dict(study.ask(dict(space)).params)
