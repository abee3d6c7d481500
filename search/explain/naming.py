"""How a report writes objectives, values and times."""

from __future__ import annotations

from dtsinn.search.objective import METRICS, Objective

TITLES = {
    "psnr": ("validation PSNR", "dB"),
    "step_seconds": ("time of a step", "s"),
    "seconds": ("wall time", "s"),
    "cpu_seconds": ("CPU time", "s"),
    "parameters": ("parameters", ""),
    "round_trip_error": ("round-trip error", ""),
}
"""Objectives in words, and their units."""


def title_of(objective: Objective) -> str:
    """An objective in words, with its unit: ``validation PSNR, dB``."""
    title, unit = TITLES.get(objective.metric, (objective.metric.replace("_", " "), ""))
    return f"{title}, {unit}" if unit else title


def with_unit(value: float, objective: Objective) -> str:
    """A value with its unit: ``31.42 dB``."""
    unit = TITLES.get(objective.metric, ("", ""))[1]
    text = f"{value:.2f}" if objective.metric == "psnr" else f"{value:.4g}"
    return f"{text} {unit}".rstrip()


def metric_key(objective: Objective) -> str:
    """Its key in a report."""
    return METRICS[objective.metric]


def percent(share: float) -> str:
    """A part of the whole: ``41 %``."""
    return f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A time as people write it: ``41 s``, ``12.5 min``, ``3.2 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
