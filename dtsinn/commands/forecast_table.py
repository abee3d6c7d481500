"""What ``dtsinn search --dry-run`` says: the space, some samples of it, and the cost."""

from __future__ import annotations

import os

from dtsinn.core.display import duration, value_text
from dtsinn.data.store import Store
from dtsinn.search.forecast import forecast
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.constraints import MiB
from dtsinn.search.space.space import describe
from dtsinn.workflows import console


def say_forecast(plan: SearchPlan, store: Store) -> None:
    """The space, its size, some samples, and what the search will cost."""
    console.say_table(["parameter", "range"], [list(line) for line in describe(plan.space)])
    fitting = max(1, int((os.cpu_count() or 1) / (plan.cpus_per_trial * plan.workers_per_trial)))
    at_a_time = plan.concurrent or fitting
    told = forecast(plan, store, at_a_time)
    size = "a range is continuous" if told.size is None else f"{told.size:,}"
    console.say(f"different suggestions: {size}")
    if told.refused:
        console.say(f"refused before a trial starts: about {100 * told.refused:.0f} %")
    rows = [
        [
            ", ".join(f"{key}={value_text(value)}" for key, value in sample.suggestion.items()),
            f"{sample.takes.parameters:,}" if sample.takes else "0",
            f"{sample.takes.total / MiB:.0f}" if sample.takes else "0",
            f"{1000 * sample.step_seconds:.0f}",
        ]
        for sample in told.samples
    ]
    console.say_table(["samples", "parameters", "MiB", "ms a step"], rows)
    if told.seconds:
        stops = f", about {told.expected_steps:,} with {plan.scheduler}'s stops"
        console.say(
            f"{plan.trials} trials: at most {told.steps:,} training steps"
            f"{stops if told.expected_steps < told.steps else ''}; about "
            f"{duration(told.seconds)} of training, {at_a_time} at a time on this machine's cores"
        )
