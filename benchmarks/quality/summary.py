"""Numbers of the tables: means and intervals over subjects, the seeds of a method averaged.

Shape letters: R run (seed), S subject, K tracer (2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality.contest import Done
from dtsinn.evaluation.metrics import Interval, bootstrap_interval, paired_difference

Floats = npt.NDArray[np.float64]


def scored(runs: Sequence[Done]) -> list[list[dict[str, Any]]]:
    """Scores by run and subject, of the runs that gave finite answers."""
    return [result["test"] for _, result in runs if result["test"]]


def values(runs: Sequence[Done], metric: str) -> Floats:
    """A metric [R, S], or [R, S, K] where it is one of each tracer."""
    return np.array([[one[metric] for one in run] for run in scored(runs)], dtype=np.float64)


def psnr_by_subject(runs: Sequence[Done]) -> list[float]:
    """PSNR by subject, mean over seeds and tracers, dB."""
    return [float(value) for value in values(runs, "psnr").mean(axis=(0, 2))]


def interval(runs: Sequence[Done], metric: str, tracer: int | None = None) -> Interval | None:
    """Mean over seeds and subjects, and its interval over subjects; None without a finite run.

    Args:
        runs: Of one method.
        metric: A field of the scores.
        tracer: Which one; None is the mean of both, or a metric that is not by tracer.
    """
    if not scored(runs):
        return None
    value_RS = values(runs, metric)
    if value_RS.ndim == 3:
        value_RS = value_RS.mean(axis=2) if tracer is None else value_RS[:, :, tracer]
    return bootstrap_interval([float(value) for value in value_RS.mean(axis=0)])


def difference(first: Sequence[Done], second: Sequence[Done]) -> Interval | None:
    """PSNR of first - second, paired by subject, dB; None where one gave nothing finite."""
    if not scored(first) or not scored(second):
        return None
    return paired_difference(psnr_by_subject(first), psnr_by_subject(second))


def shown(found: Interval | None, digits: int = 2, *, sign: bool = False) -> str:
    """An interval as text."""
    if found is None:
        return "not finite"
    form = f"{'+' if sign else ''}.{digits}f"
    if found.low is None or found.high is None:
        return f"{found.mean:{form}}, {found.range_text(digits)}"
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"
